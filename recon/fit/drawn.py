"""The photometric loss of a cell from the parameters of a fit: one differentiable step on a CPU.

What `JointFit` draws through `recon.place`, `recon.raster` and `recon.fit.photometric` is done
here by two passes over the Gaussians and without torch in between, which is a third of the time of
a step on few points. The loss is taken where something may be drawn: before a plain backdrop most
of a frame has no slopes. Tests hold value and slopes to those of the long way. N Gaussians, M
nodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourreal.cameras import Camera
from fourreal.kernel_threads import run_threaded
from recon.fit import drawn_kernels as kernels
from recon.fit.parameters import Parameters
from recon.fit.photometric import loss_and_slopes, loss_threads
from recon.fit.photometric_kernels import RADIUS
from recon.motion.spread import Spreader
from recon.raster.cpu.function import drawn, lens_of, slot_sums, sorted_into_tiles

_NONE = torch.zeros(0)
_LEAST = 6  # pixels of a side that SSIM needs


@dataclass
class Drawn:
    """What is drawn, beside what.

    means [N,3] and colors [N,3]: the parameters, or made from them. values [M,C]: what nodes hand
    on by ``spread``, offsets or offsets and turns (C = 3 or 6). shade [N]: added to a brightness of
    1. visibility [N]: factor on opacities. target [H,W,3]; ignored bool [H,W]: pixels of it that
    do not count; past [H,W]: what opacity costs in a pixel; only bool [N]: the Gaussians whose
    slopes are asked for: those of others are not right, and no pixel is drawn but around these.
    """

    means: Tensor
    colors: Tensor
    camera: Camera
    background: Tensor
    target: Tensor
    values: Tensor | None = None
    spread: Spreader | None = None
    shade: Tensor | None = None
    visibility: Tensor | None = None
    ignored: Tensor | None = None
    past: Tensor | None = None
    only: np.ndarray | None = None


def drawn_loss(parameters: Parameters, what: Drawn, ssim_weight: float) -> Tensor:
    """`photometric_loss` of what is drawn where something may be, and the cost of opacity there.

    Slopes reach the parameters, ``values``, ``shade`` and the pose of the camera.

    Raises:
        NotFinite: a value is not finite.
    """
    p, means = parameters, what.means
    shape: tuple[Tensor, Tensor] = means.new_zeros(0, 3), means.new_zeros(0, 4)
    if p.log_stretch is not None and p.rotations is not None:
        shape = p.log_stretch, p.rotations
    values = means.new_zeros(0, 0) if what.values is None else what.values
    shade = _NONE if what.shade is None else what.shade
    return _DrawnLoss.apply(
        means, p.log_scales, p.opacity_logits, what.colors, *shape, values, shade,
        what.camera.w2c, what, ssim_weight,
    )  # fmt: skip


class _DrawnLoss(torch.autograd.Function):
    """Value and gradient in one go: the loss is a scalar, so backward only scales."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx, means, log_scales, logits, colors, log_stretch, rotations, values, shade, w2c, what,
        ssim_weight,
    ):  # fmt: skip
        threads, count, spread = torch.get_num_threads(), len(means), what.spread
        view = lens_of(what.camera), _array(w2c)
        given = _arrays(
            means, torch.exp(log_scales), torch.sigmoid(logits), colors, torch.exp(log_stretch),
            rotations,
        )  # fmt: skip
        moved = _arrays(*_rows(spread), values)
        after = _arrays(shade, _NONE if what.visibility is None else what.visibility)
        placed = np.empty((count, kernels.PLACED), np.float32)
        box = _Box(what.only, what.camera.size)
        plan = sorted_into_tiles(
            kernels.place_gaussians, count, view[0], threads,
            view[1], *given, *moved, *after, placed, cull=box.drawn_around,
        )  # fmt: skip
        images = drawn(plan, view[0], what.background)
        value, v_rgb = _loss(images[0].numpy(), what, box, ssim_weight)
        v_alpha = v_depth = torch.zeros(images[1].shape)
        if what.past is not None:
            v_alpha = what.past
            value += float((images[1] * what.past).sum())
        sums = slot_sums(plan, images, (torch.from_numpy(v_rgb), v_alpha, v_depth))
        slopes = [
            torch.empty_like(v, memory_format=torch.contiguous_format)
            for v in (means, log_scales, logits, colors, log_stretch, rotations)
        ]
        channels = values.shape[1]
        v_moved, v_shade = torch.empty(count, channels), torch.empty_like(shade)
        v_pose = np.zeros((-(-count // kernels.CHUNK), 3, 4))
        run_threaded(
            threads, kernels.slopes_of_gaussians, *view, *given, channels, *after, placed,
            plan.rows, plan.keys, plan.slots, sums, ctx.needs_input_grad[8],
            *(v.numpy() for v in (*slopes, v_moved, v_shade)), v_pose,
        )  # fmt: skip
        v_values = spread.product(spread.transposed, v_moved) if channels else None
        v_w2c = None
        if ctx.needs_input_grad[8]:
            v_w2c = torch.zeros_like(w2c)
            v_w2c[:3] = torch.from_numpy(v_pose.sum(0)).to(w2c)
        ctx.slopes = *slopes, v_values, v_shade if len(shade) else None, v_w2c
        return means.new_tensor(value)

    @staticmethod
    @once_differentiable
    def backward(ctx, v_loss):  # type: ignore[override]
        share, slopes = float(v_loss), ctx.slopes
        ctx.slopes = None  # what nobody else holds becomes a gradient without being copied
        if share != 1.0:
            slopes = tuple(None if s is None else s * share for s in slopes)
        return *slopes, None, None


class _Box:
    """The part of a picture of this size that is drawn: around what ``only`` [N] names, or all."""

    def __init__(self, only: np.ndarray | None, size: tuple[int, int]) -> None:
        self.only, self.size = only, size
        self.rows = self.columns = slice(0, 0)

    def drawn_around(self, keys: np.ndarray, bits: np.ndarray) -> None:
        """Find it; what reaches nothing of it is culled."""
        height, width = self.size
        # twice what a window reaches: so the pixels that count know nothing of the border
        margin = 2 * RADIUS
        if self.only is None:
            x0, x1, y0, y1 = kernels.drawn_box(keys, bits)
            x0, x1, y0, y1 = x0 - margin, x1 + margin, y0 - margin, y1 + margin
        else:
            x0, x1, y0, y1 = kernels.cull_away_from(keys, bits, self.only, margin, width, height)
        self.rows, self.columns = _within(y0, y1, height), _within(x0, x1, width)


def _loss(
    image: np.ndarray, what: Drawn, box: _Box, ssim_weight: float
) -> tuple[float, np.ndarray]:
    """The loss where something may be drawn, and its slopes [H,W,3], which are 0 elsewhere."""
    target = what.target.numpy()
    inside = box.rows, box.columns
    shown, wanted = (np.ascontiguousarray(v[inside]) for v in (image, target))
    ignored = None if what.ignored is None else what.ignored.numpy()[inside]
    if ignored is not None:
        shown = np.where(ignored[..., None], wanted, shown)
    value, slopes = loss_and_slopes(
        shown, wanted, ssim_weight, loss_threads(shown.size), image.size
    )
    if ignored is not None:
        slopes[ignored] = 0
    if slopes.shape == image.shape:
        return value, slopes
    out = np.zeros(image.shape, np.float32)
    out[inside] = slopes
    return value, out


def _within(first: int, last: int, length: int) -> slice:
    """The part of a range that is inside, at least ``_LEAST`` long."""
    first, last = max(0, first), min(length, last)
    last = max(last, min(first + _LEAST, length))
    return slice(max(0, min(first, last - _LEAST)), last)


def _rows(spread: Spreader | None) -> tuple[Tensor, ...]:
    """Start, node and weight of the sparse rows of points that follow nodes."""
    if spread is None:
        nothing = torch.zeros(0, dtype=torch.int64)
        return nothing, nothing, _NONE
    m = spread.matrix
    return m.crow_indices(), m.col_indices(), m.values()


def _array(value: Tensor) -> np.ndarray:
    array: np.ndarray = value.detach().contiguous().numpy()
    return array


def _arrays(*values: Tensor) -> list[np.ndarray]:
    return [_array(v) for v in values]
