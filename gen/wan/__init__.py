"""The two streams over an open pre-trained video model, Wan (needs the extra `[wan]`); docs/WAN.md.

Wan's latents take the place of frames: a lattice of V views x L latent times, on which rows and
columns run through the same pre-trained blocks, with the mixers of `gen.sync.mixers` after each.
"""
