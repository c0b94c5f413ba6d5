"""The base clip model: pixel-space diffusion transformer, text encoder, weights on disk."""
