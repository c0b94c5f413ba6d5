"""Where a Gaussian is and how it looks: Eq. 11, in one place.

For view i at time t the paper's Eq. 11 adds two offsets to a canonical point p,

    x = R_i (p + dp_t) + t_i + e_i,

dp_t from the motion over time, e_i from the view-dependent compensation. Kept is d_i = R_i^T e_i,
so that in world axes, where everything here is, a point stands at p + dp_t + d_i. The joint fit
(`recon.fit.scene_fit`) and the scene (`recon.scene.Scene4D.at`, and through it every export) draw
what ``place`` returns; the kernels by which steps of a fit go on a CPU (`recon.fit.drawn`) and the
page's worker are tested against it. Legend: N Gaussians.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon.gaussians import Gaussians
from recon.motion.turning import turned


@dataclass
class Moment:
    """What is different at one time. None: as at the canonical time.

    moved [N,3]: dp_t. turns [N,3]: Gibbs vectors of how shapes turn (``recon.motion.turning``);
    round ones do not. shade [N]: factor on the colours. visibility [N]: factor on the opacities.
    """

    moved: Tensor | None = None
    turns: Tensor | None = None
    shade: Tensor | None = None
    visibility: Tensor | None = None


@dataclass
class Sight:
    """What is different from one camera. None: as for any camera.

    turn [3,3]: takes dp_t to the world's axes, for offsets that are in the camera's (Eq. 11 as
    printed). offset [N,3]: d_i, the view-dependent compensation. sheen [N,3]: factor on the colours
    (``recon.sheen``).
    """

    turn: Tensor | None = None
    offset: Tensor | None = None
    sheen: Tensor | None = None


def place(canonical: Gaussians, moment: Moment, sight: Sight) -> Gaussians:
    """The ``canonical`` Gaussians as they are at a moment, for who sees them."""
    means, colors, opacities = canonical.means, canonical.colors, canonical.opacities
    rotations = canonical.rotations
    shift = moment.moved
    if shift is not None and sight.turn is not None:
        shift = shift @ sight.turn.T
    for step in (shift, sight.offset):
        means = means if step is None else means + step
    if moment.turns is not None and rotations is not None:
        rotations = turned(rotations, moment.turns)
    if moment.shade is not None:
        colors = brightened(colors, moment.shade[:, None])
    if sight.sheen is not None:
        colors = brightened(colors, sight.sheen)
    if moment.visibility is not None:
        opacities = opacities * moment.visibility
    return replace(canonical, means=means, colors=colors, opacities=opacities, rotations=rotations)


def brightened(colors: Tensor, shade: Tensor) -> Tensor:
    """``colors`` [N,3] times ``shade`` [N,1] or [N,3], within 0..1."""
    return (colors * shade).clamp(0, 1)


def literal_turn(w2c: Tensor, canonical_w2c: Tensor) -> Tensor:
    """The ``turn`` [3,3] of a camera [4,4] for Eq. 11 as printed.

    There dp_t, which the canonical camera shows in its own axes, is added in the axes of the
    camera that looks without being rotated into them.
    """
    return w2c[:3, :3].T @ canonical_w2c[:3, :3]


def view_weights(w2c_V44: Tensor, camera: Tensor, points: Tensor) -> Tensor:
    """Weights [V] of the input views for a camera [4,4]: 1 at an input view, summing to 1.

    Inverse distance to the fourth power, where distance is that of the centres plus the turn
    between the axes times the median distance of the camera to the ``points`` [., 3].
    """
    centres = -(w2c_V44[:, :3, :3].transpose(1, 2) @ w2c_V44[:, :3, 3:])[..., 0]
    camera = camera.to(w2c_V44)
    centre = -camera[:3, :3].T @ camera[:3, 3]
    reach = (points - centre.to(points)).norm(dim=1)
    radius = reach.median().to(w2c_V44) if len(reach) else w2c_V44.new_tensor(1.0)
    cosine = ((w2c_V44[:, :3, :3] * camera[:3, :3]).sum((1, 2)) - 1) / 2
    turn = torch.arccos(cosine.clamp(-1, 1))
    distance = (centres - centre).norm(dim=1) + radius * turn
    relative = distance / radius.clamp_min(1e-9)
    weight = 1 / (relative + 1e-4) ** 4
    return (weight / weight.sum()).to(points)
