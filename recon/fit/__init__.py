"""The joint fit: scene parameters, losses, optimiser, checkpoints."""
