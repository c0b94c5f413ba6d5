"""How Gaussians turn with what they sit on: turns of nodes, handed on to the shapes of points.

A turn by an angle about a unit axis is kept as its Gibbs vector g = axis * tan(angle / 2), which
is the quaternion (1, g) but for its length. So no turn is 0, turns of several nodes are blended by
weighted sums, as their offsets are, and nothing has to be normalised; half a turn is out of reach.
Legend: N Gaussians, T time stamps, M nodes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def turned(rotations_N4: Tensor, turns_N3: Tensor) -> Tensor:
    """Quaternions [N,4] (w, x, y, z) turned by Gibbs vectors [N,3]; their length may be any."""
    real, imaginary = rotations_N4[:, :1], rotations_N4[:, 1:]
    w = real - (turns_N3 * imaginary).sum(1, keepdim=True)
    xyz = imaginary + real * turns_N3 + torch.linalg.cross(turns_N3, imaginary, dim=1)
    return torch.cat([w, xyz], 1)


def composed(then_3: Tensor, first_3: Tensor) -> Tensor:
    """The turn ``then`` after ``first``, Gibbs vectors [..., 3], as one; not of half a turn."""
    lost = 1 - (then_3 * first_3).sum(-1, keepdim=True)
    return (then_3 + first_3 + torch.linalg.cross(then_3, first_3, dim=-1)) / lost


def turn_between(from_4: Tensor, to_4: Tensor) -> Tensor:
    """Gibbs vectors [..., 3] that turn quaternions into others [..., 4] (w, x, y, z).

    Less than half a turn apart; the sign and the length of quaternions do not matter.
    """
    w, xyz = from_4[..., :1], from_4[..., 1:]
    real = (from_4 * to_4).sum(-1, keepdim=True)
    rest = w * to_4[..., 1:] - to_4[..., :1] * xyz - torch.linalg.cross(to_4[..., 1:], xyz, dim=-1)
    return rest / real
