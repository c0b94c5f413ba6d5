"""CPU rasterizer: the numba kernels on a few threads, as a torch.autograd.Function."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon import raster_cpu_blend as blend
from recon import raster_cpu_project as project
from recon.kernel_threads import run_threaded

assert (blend.TILE_W, blend.TILE_H) == (project.TILE_W, project.TILE_H)
_MAX_WIDTH, _MAX_HEIGHT = 255 * project.TILE_W, 255 * project.TILE_H
_ONE_THREAD_PIXELS = 36 * 64  # waking a second thread costs more than it saves below this


def _aligned_rows(count: int) -> np.ndarray:
    """Float32 [count, ROW] starting on a cache line."""
    flat = np.empty(count * project.ROW + 16, np.float32)
    skip = (-flat.ctypes.data % 64) // 4
    return flat[skip : skip + count * project.ROW].reshape(count, project.ROW)


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means, scales, opacities, colors, w2c, camera, background, threads):  # type: ignore[override]
        inputs = [v.detach().contiguous().numpy() for v in (means, scales, opacities, colors)]
        n, width, height = len(inputs[0]), int(camera[4]), int(camera[5])
        rows = _aligned_rows(n)
        bits = rows.view(np.int32)
        keys, rects = np.empty(n, np.uint32), np.empty(n, np.uint32)
        not_finite = np.zeros(4, np.int64)
        view = (camera, w2c.contiguous().numpy())
        run_threaded(threads, project.prepare, *view, *inputs, rows, bits, keys, rects, not_finite)
        if not_finite.any():
            names = ("means", "scales", "opacities", "colors")
            bad = [name for name, flag in zip(names, not_finite, strict=True) if flag]
            raise ValueError(f"{' and '.join(bad)} must be finite; got NaN or infinity")

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
        project.bin_pairs(
            keys, rects, visible, tiles_x, slots, tile_starts, pair_gaussian, pair_slot
        )
        background_np = background.detach().contiguous().numpy()
        rgb = torch.empty(height, width, 3)
        alpha, depth = torch.empty(height, width), torch.empty(height, width)
        images = [v.numpy() for v in (rgb, alpha, depth)]
        pairs = (rows, bits, tile_starts, pair_gaussian)
        run_threaded(threads, blend.forward, *pairs, background_np, *images)
        ctx.save_for_backward(means, scales, opacities, colors, background, rgb, alpha, depth)
        ctx.plan = (view, threads, keys, slots, pairs, pair_slot)
        return rgb, alpha, depth

    @staticmethod
    @once_differentiable
    def backward(ctx, v_rgb, v_alpha, v_depth):  # type: ignore[override]
        means, scales, opacities, colors, background, *images = ctx.saved_tensors
        view, threads, keys, slots, pairs, pair_slot = ctx.plan
        sums = _aligned_rows(int(slots[-1]))
        v_images = [v.contiguous().numpy() for v in (v_rgb, v_alpha, v_depth)]
        run_threaded(
            threads,
            blend.backward,
            *pairs,
            pair_slot,
            *[v.detach().numpy() for v in images],
            *v_images,
            sums,
        )
        grads = [
            torch.empty_like(v, memory_format=torch.contiguous_format)
            for v in (means, scales, opacities, colors)
        ]
        run_threaded(
            threads,
            project.gather,
            *view,
            *[v.detach().contiguous().numpy() for v in (means, scales, opacities)],
            pairs[0],
            keys,
            slots,
            sums,
            *[g.numpy() for g in grads],
        )
        v_background = None
        if ctx.needs_input_grad[6]:
            v_background = (v_rgb * (1 - images[1])[..., None]).sum((0, 1))
        return *grads, None, None, v_background, None


def rasterize_cpu(
    means: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    w2c: Tensor,
    K: Tensor,
    width: int,
    height: int,
    background: Tensor | None = None,
    threads: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Render rgb [H,W,3], alpha [H,W] and expected depth [H,W] on the CPU.

    `means` [N,3] world, `scales` [N], `opacities` [N], `colors` [N,3], `w2c` [4,4] (OpenCV),
    `background` [3]; float32. Gradients reach all of them; `K` [3,3] is a constant here.
    `threads` defaults to torch.get_num_threads(); the result does not depend on it, bit for
    bit. Raises ValueError for a non-finite input or a too large image.
    """
    if width > _MAX_WIDTH or height > _MAX_HEIGHT:
        raise ValueError(
            f"image must be at most {_MAX_WIDTH}x{_MAX_HEIGHT} pixels, got {width}x{height}"
        )
    if threads is None:
        threads = torch.get_num_threads()
    if width * height <= _ONE_THREAD_PIXELS:
        threads = 1
    camera = np.array(
        [float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]), width, height], np.float32
    )
    if background is None:
        background = torch.zeros(3)
    if w2c.requires_grad:  # the kernels take the pose as given: let torch move the means instead
        means = means @ w2c[:3, :3].T + w2c[:3, 3]
        w2c = torch.eye(4)
    return _Rasterize.apply(means, scales, opacities, colors, w2c, camera, background, threads)
