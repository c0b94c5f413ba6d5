"""Rectified flow: x_sigma = (1 - sigma) clean + sigma noise, so sigma = 1 is pure noise.

The network predicts the clean frames; the loss is taken on the velocity noise - clean, which
weights the clean error with 1 / max(sigma, 0.05)^2.  Schedules are pure functions.  Known frames
stay clean in the input and carry no loss.

Shape legend: B clips, F frames, H W pixels, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

SIGMA_FLOOR = 0.05


def add_noise(clean_BFHWC: Tensor, noise_BFHWC: Tensor, sigma_B: Tensor) -> Tensor:
    """The point of the straight path at noise level `sigma_B`."""
    s = sigma_B.reshape(-1, *[1] * (clean_BFHWC.dim() - 1))
    return (1 - s) * clean_BFHWC + s * noise_BFHWC


def keep_known(x: Tensor, clean: Tensor, known: Tensor) -> Tensor:
    """`clean` where `known`, else `x`; `known` has the axes before H, W, C."""
    return torch.where(known[..., None, None, None], clean, x)


def velocity_from_clean(x: Tensor, clean: Tensor, sigma: Tensor) -> Tensor:
    """Velocity dx/dsigma = noise - clean that a clean prediction implies; `sigma` broadcasts."""
    return (x - clean) / sigma.clamp(min=SIGMA_FLOOR)


def sample_sigma(
    n: int, generator: torch.Generator, *, mean: float = 0.8, std: float = 1.0, device=None
) -> Tensor:
    """Training noise levels [n]: logit-normal, leaning to noise for mean > 0."""
    z = torch.randn(n, generator=generator) * std + mean
    return torch.sigmoid(z).to(device)


def velocity_loss(
    predicted_BFHWC: Tensor,
    clean_BFHWC: Tensor,
    sigma_B: Tensor,
    known_BF: Tensor,
    weight_BFHW: Tensor | None = None,
) -> Tensor:
    """Mean squared velocity error over the unknown frames of each clip, then over clips.

    `weight_BFHW` weights pixels (mean about 1).  A clip whose frames are all known counts nothing.
    """
    error = (predicted_BFHWC - clean_BFHWC).square().mean(-1)
    if weight_BFHW is not None:
        error = error * weight_BFHW
    per_frame = error.mean((-2, -1))
    unknown = (~known_BF).to(per_frame.dtype)
    per_clip = (per_frame * unknown).flatten(1).sum(1) / unknown.flatten(1).sum(1).clamp(min=1)
    return (per_clip / sigma_B.clamp(min=SIGMA_FLOOR).square()).mean()


def vivid_weights(clean_BFHWC: Tensor, strength: float) -> Tensor:
    """Pixel weights [B, F, H, W] of mean 1 a clip that grow with saturation (coloured objects)."""
    weight = 1 + strength * (clean_BFHWC.amax(-1) - clean_BFHWC.amin(-1))
    return weight / weight.mean((1, 2, 3), keepdim=True)


def shift_sigmas(sigmas: Tensor, shift: float) -> Tensor:
    """Move levels towards noise (shift > 1): s sigma / (1 + (s - 1) sigma); 0 and 1 stay."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def linear_sigmas(steps: int, shift: float = 1.0) -> Tensor:
    """`steps` + 1 levels from 1 to 0, evenly spaced before the shift; ValueError if steps < 1."""
    if steps < 1:
        raise ValueError(f"got {steps} steps, expected at least 1")
    return shift_sigmas(torch.linspace(1.0, 0.0, steps + 1), shift)
