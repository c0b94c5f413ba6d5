"""Colours that change evenly with where one looks from: the view-dependent compensation in colour.

Gloss, and shading where the light turns with the camera (a turntable under a lamp: n l of a turning
normal is a constant plus its cosine and sine), are told by one slope for each axis and channel:
spherical harmonics of the first degree, of all points as one place sees the camera. Beyond the
directions of the input views nothing is known, so colours stay what they are at the last of them.

Legend: N Gaussians, V views.
"""

from __future__ import annotations

import torch
from torch import Tensor


def seen_from(means_N3: Tensor, w2c_V44: Tensor) -> Tensor:
    """What directions are counted from [7]: the middle of the scene, the mean direction of the
    views from there, and how far the farthest of them is from that mean."""
    middle = means_N3.median(0).values.to(w2c_V44)
    towards = torch.stack([_towards(middle, w2c) for w2c in w2c_V44])
    mean = towards.mean(0)
    reach = (towards - mean).norm(dim=1).max()
    return torch.cat([middle, mean, reach[None]]).float()


def direction(origin_7: Tensor, w2c: Tensor) -> Tensor:
    """Where a camera [4, 4] is seen, less the mean of the views, in units of their reach [3]: its
    length is 1 at the farthest view, and never more."""
    off = _towards(origin_7[:3].to(w2c), w2c) - origin_7[3:6].to(w2c)
    off = off / origin_7[6].to(w2c).clamp_min(1e-9)
    return (off / off.norm().clamp_min(1.0)).to(origin_7)


def factors(sheen_N33: Tensor, direction_3: Tensor) -> Tensor:
    """What colours are multiplied by [N, 3], of slopes [N, axis, channel]."""
    return 1 + torch.einsum("nkc,k->nc", sheen_N33, direction_3)


def _towards(middle_3: Tensor, w2c: Tensor) -> Tensor:
    to = -(w2c[:3, :3].T @ w2c[:3, 3]) - middle_3
    return to / to.norm().clamp_min(1e-12)
