"""The one place where Wan's way of writing the diffusion path meets ours.

Both go from data at sigma = 0 to noise at sigma = 1 along x = (1 - sigma) clean + sigma noise.
Wan's network is told 1000 sigma and predicts the velocity noise - clean; our samplers
(`gen.flow.samplers`) want the clean prediction.
"""

from __future__ import annotations

from torch import Tensor

TIMESTEPS = 1000.0


def timestep(sigma: Tensor) -> Tensor:
    """What the network is told of a noise level."""
    return TIMESTEPS * sigma


def velocity_target(clean: Tensor, noise: Tensor) -> Tensor:
    """What the network is to predict."""
    return noise - clean


def clean_from_velocity(x: Tensor, velocity: Tensor, sigma_B: Tensor) -> Tensor:
    """The clean latents that a predicted velocity implies."""
    return x - sigma_B.reshape(-1, *[1] * (x.dim() - 1)) * velocity
