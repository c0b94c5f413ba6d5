"""CPU rasterizer: the numba kernels on a few threads, as a torch.autograd.Function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourreal.cameras import Camera
from fourreal.kernel_threads import run_threaded
from recon.gaussians import Gaussians
from recon.raster.cpu import anisotropic, blend, project
from recon.raster.inputs import raise_not_finite

_MAX_WIDTH, _MAX_HEIGHT = 255 * project.TILE_W, 255 * project.TILE_H
_ONE_THREAD_PIXELS = 36 * 64  # waking a second thread costs more than it saves below this


def _aligned_rows(count: int) -> np.ndarray:
    """Float32 [count, ROW] starting on a cache line."""
    flat = np.empty(count * project.ROW + 16, np.float32)
    skip = (-flat.ctypes.data % 64) // 4
    return flat[skip : skip + count * project.ROW].reshape(count, project.ROW)


@dataclass
class Plan:
    """Prepared Gaussians, sorted into tiles: what drawing and its way back share."""

    threads: int
    keys: np.ndarray
    slots: np.ndarray
    pairs: tuple[np.ndarray, ...]
    pair_slot: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        return self.pairs[0]


def sorted_into_tiles(
    kernel: Callable,
    n: int,
    camera: np.ndarray,
    threads: int,
    *inputs: Any,
    cull: Callable[[np.ndarray, np.ndarray], None] | None = None,
) -> Plan:
    """Run a `prepare` kernel on its `inputs` and sort the (Gaussian, tile) pairs front to back.

    cull: is given `keys` and `bits` before, to leave out what need not be drawn.
    """
    width, height = int(camera[4]), int(camera[5])
    rows = _aligned_rows(n)
    bits = rows.view(np.int32)
    keys, rects = np.empty(n, np.uint32), np.empty(n, np.uint32)
    not_finite = np.zeros(4, np.int64)
    run_threaded(threads, kernel, camera, *inputs, rows, bits, keys, rects, not_finite)
    raise_not_finite(not_finite)
    if cull is not None:
        cull(keys, bits)

    tiles_x, tiles_y = -(-width // project.TILE_W), -(-height // project.TILE_H)
    slots = np.empty(n + 1, np.int32)
    tile_starts = np.empty(tiles_x * tiles_y + 1, np.int32)
    visible, pair_count = project.count_pairs(keys, rects, tiles_x, slots, tile_starts)
    if pair_count >= 2**31:
        raise ValueError(
            f"{visible} Gaussians touch {pair_count} tiles in all, more than 2^31; "
            "got scales far larger than the scene?"
        )
    pair_gaussian, pair_slot = np.empty((2, pair_count), np.int32)
    project.bin_pairs(keys, rects, visible, tiles_x, slots, tile_starts, pair_gaussian, pair_slot)
    return Plan(threads, keys, slots, (rows, bits, tile_starts, pair_gaussian), pair_slot)


def drawn(plan: Plan, camera: np.ndarray, background: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """rgb [H,W,3], alpha [H,W], depth [H,W]."""
    width, height = int(camera[4]), int(camera[5])
    rgb = torch.empty(height, width, 3)
    alpha, depth = torch.empty(height, width), torch.empty(height, width)
    images = [v.numpy() for v in (rgb, alpha, depth)]
    run_threaded(
        plan.threads, blend.forward, *plan.pairs, background.detach().contiguous().numpy(), *images
    )
    return rgb, alpha, depth


def slot_sums(plan: Plan, images: Sequence[Tensor], slopes: Sequence[Tensor]) -> np.ndarray:
    """What every (Gaussian, tile) pair contributes to the gradients."""
    sums = _aligned_rows(int(plan.slots[-1]))
    drawn = [v.detach().numpy() for v in images]
    back = [v.contiguous().numpy() for v in slopes]
    run_threaded(plan.threads, blend.backward, *plan.pairs, plan.pair_slot, *drawn, *back, sums)
    return sums


def _empty_like(*values: Tensor) -> list[Tensor]:
    return [torch.empty_like(v, memory_format=torch.contiguous_format) for v in values]


def _arrays(*values: Tensor) -> list[np.ndarray]:
    return [v.detach().contiguous().numpy() for v in values]


def _background_slope(needed: bool, v_rgb: Tensor, alpha: Tensor) -> Tensor | None:
    return (v_rgb * (1 - alpha)[..., None]).sum((0, 1)) if needed else None


class _Rasterize(torch.autograd.Function):
    """Isotropic Gaussians: projected by the kernels too."""

    @staticmethod
    def forward(ctx, means, scales, opacities, colors, w2c, camera, background, threads):  # type: ignore[override]
        inputs = _arrays(w2c, means, scales, opacities, colors)
        plan = sorted_into_tiles(project.prepare, len(means), camera, threads, *inputs)
        images = drawn(plan, camera, background)
        ctx.save_for_backward(means, scales, opacities, colors, *images)
        ctx.plan, ctx.view = plan, (camera, inputs[0])
        return images

    @staticmethod
    @once_differentiable
    def backward(ctx, v_rgb, v_alpha, v_depth):  # type: ignore[override]
        means, scales, opacities, colors, *images = ctx.saved_tensors
        plan = ctx.plan
        sums = slot_sums(plan, images, (v_rgb, v_alpha, v_depth))
        grads = _empty_like(means, scales, opacities, colors)
        run_threaded(
            plan.threads,
            project.gather,
            *ctx.view,
            *_arrays(means, scales, opacities),
            *(plan.rows, plan.keys, plan.slots, sums),
            *[g.numpy() for g in grads],
        )
        v_background = _background_slope(ctx.needs_input_grad[6], v_rgb, images[1])
        return *grads, None, None, v_background, None


class _RasterizeAnisotropic(torch.autograd.Function):
    """Gaussians of three radii and a rotation."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx, means, scales, opacities, colors, stretch, rotations, w2c, camera, background, threads
    ):
        view = camera, *_arrays(w2c)
        shape = _arrays(means, scales, stretch, rotations)
        splats = np.empty((len(means), 6), np.float32)
        not_finite = np.zeros(4, np.int64)
        run_threaded(threads, anisotropic.project_anisotropic, *view, *shape, splats, not_finite)
        raise_not_finite(not_finite)
        inputs = splats, *_arrays(opacities, colors)
        plan = sorted_into_tiles(project.prepare_splats, len(means), camera, threads, *inputs)
        images = drawn(plan, camera, background)
        saved = means, scales, stretch, rotations, opacities, colors, w2c
        ctx.save_for_backward(*saved, *images)
        ctx.plan, ctx.view = plan, view
        return images

    @staticmethod
    @once_differentiable
    def backward(ctx, v_rgb, v_alpha, v_depth):  # type: ignore[override]
        means, scales, stretch, rotations, opacities, colors, w2c, *images = ctx.saved_tensors
        plan, count = ctx.plan, len(means)
        sums = slot_sums(plan, images, (v_rgb, v_alpha, v_depth))
        v_splats = np.empty((count, 6), np.float32)
        v_opacities, v_colors = _empty_like(opacities, colors)
        run_threaded(
            plan.threads, project.gather_splats, *_arrays(opacities), plan.rows, plan.keys,
            plan.slots, sums, v_splats, v_opacities.numpy(), v_colors.numpy(),
        )  # fmt: skip
        slopes = _empty_like(means, scales, stretch, rotations)
        v_pose = np.zeros((-(-count // anisotropic.CHUNK), 3, 4))
        run_threaded(
            plan.threads, anisotropic.project_anisotropic_back, *ctx.view,
            *_arrays(means, scales, stretch, rotations), v_splats, ctx.needs_input_grad[6],
            *[v.numpy() for v in slopes], v_pose,
        )  # fmt: skip
        v_w2c = torch.zeros_like(w2c)
        v_w2c[:3] = torch.from_numpy(v_pose.sum(0)).to(w2c)
        v_background = _background_slope(ctx.needs_input_grad[8], v_rgb, images[1])
        v_means, v_scales, v_stretch, v_rotations = slopes
        return (
            v_means, v_scales, v_opacities, v_colors, v_stretch, v_rotations, v_w2c,
            None, v_background, None,
        )  # fmt: skip


def lens_of(camera: Camera) -> np.ndarray:
    """What the kernels call ``camera``: float32 [6], fx, fy, cx, cy, width, height."""
    (fx, _, cx), (_, fy, cy), _ = camera.K.tolist()
    height, width = camera.size
    return np.array([fx, fy, cx, cy, width, height], np.float32)


def rasterize_cpu(
    gaussians: Gaussians,
    camera: Camera,
    background: Tensor | None = None,
    threads: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Render rgb [H,W,3], alpha [H,W] and expected depth [H,W] on the CPU.

    Arguments as in `recon.raster.rasterize.rasterize`; float32. Gradients reach the Gaussians, the
    background [3] and w2c; K is a constant. `threads` defaults to torch.get_num_threads(); the
    result does not depend on it, bit for bit. Raises ValueError for a non-finite input or a too
    large image.
    """
    height, width = camera.size
    if width > _MAX_WIDTH or height > _MAX_HEIGHT:
        raise ValueError(
            f"image must be at most {_MAX_WIDTH}x{_MAX_HEIGHT} pixels, got {width}x{height}"
        )
    if threads is None:
        threads = torch.get_num_threads()
    if width * height <= _ONE_THREAD_PIXELS:
        threads = 1
    w2c, lens = camera.w2c, lens_of(camera)
    if background is None:
        background = torch.zeros(3)
    g = gaussians
    means, rest = g.means, (g.scales, g.opacities, g.colors)
    if g.stretch is not None and g.rotations is not None:
        shape = g.stretch, g.rotations
        return _RasterizeAnisotropic.apply(means, *rest, *shape, w2c, lens, background, threads)
    if w2c.requires_grad:  # the kernels take the pose as given: let torch move the means instead
        means = means @ w2c[:3, :3].T + w2c[:3, 3]
        w2c = torch.eye(4)
    return _Rasterize.apply(means, *rest, w2c, lens, background, threads)
