"""Scoring a reconstruction against ground-truth grids: held-out cells, times and views.

Legend: V' and T' count input and held-out views and times together; input ones come first.
Cameras and depth of the ground truth score, they are not shown to the method.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gen.cameras import camera_centres, invert, pixel_grid, project, transform, unproject
from gen.errors import UserError
from gen.grid import VideoGrid
from recon.metrics import psnr, ssim
from recon.render import render_scene
from recon.scene import Scene4D

FloatArray = NDArray[np.floating]


@dataclass
class TruthGrid:
    """A rendered scene with its ground truth, in the layout of ``scripts/render_procedural.py``.

    rgb float32 [V',T',H,W,3]; depth [V',T',H,W] (NaN: background); K [V',3,3]; w2c [V',4,4];
    times [T']; views and steps: how many of V' and T' are input.
    """

    name: str
    rgb: FloatArray
    depth: FloatArray
    K: FloatArray
    w2c: FloatArray
    times: FloatArray
    views: int
    steps: int

    @classmethod
    def load(cls, folder: Path, size: tuple[int, int]) -> TruthGrid:
        """Read ``grid_HxW.npz`` and ``cameras.json`` of one scene folder.

        Without a file of that size the smallest larger one is reduced: colours by area, depth by
        its nearest pixel, intrinsics along.
        """
        height, width = size
        try:
            cameras = json.loads((folder / "cameras.json").read_text())
            found = {
                tuple(int(n) for n in p.stem.removeprefix("grid_").split("x")): p
                for p in folder.glob("grid_*x*.npz")
            }
            usable = sorted(s for s in found if s[0] % height == 0 and s[1] % width == 0)
            if not usable:
                raise UserError(f"{folder} has no grid of {height}x{width} or a multiple of it")
            with np.load(found[usable[0]], allow_pickle=False) as data:
                rgb = data["rgb"].astype(np.float32) / 255
                raw = data["depth_u16"]
            views, steps = len(cameras["input_views"]), len(cameras["input_times"])
            stored = np.array(cameras["K"], np.float64)
            w2c = np.array(cameras["w2c"], np.float64)
            times = np.array(cameras["time_normalised"], np.float32)
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"{folder} is no ground-truth grid ({error})") from error
        depth = np.where(raw == 65535, np.nan, raw / np.float32(4000)).astype(np.float32)
        factor = rgb.shape[2] // height
        if factor > 1:
            shape = (*rgb.shape[:2], height, factor, width, factor)
            rgb = rgb.reshape(*shape, 3).mean((3, 5))
            depth = np.ascontiguousarray(depth.reshape(shape)[:, :, :, factor // 2, :, factor // 2])
        K = np.broadcast_to(stored, (len(w2c), 3, 3)).copy()
        K[:, 0] *= width / cameras["width"]
        K[:, 1] *= height / cameras["height"]
        return cls(folder.name, rgb, depth, K, w2c, times, views, steps)

    def grid(self, known: NDArray[np.bool_] | None = None, cameras: bool = False) -> VideoGrid:
        """The input grid; cells that are not ``known`` [V, T] are hidden."""
        V, T = self.views, self.steps
        known = np.ones((V, T), bool) if known is None else known
        frames = self.rgb[:V, :T] * known[:, :, None, None, None]
        K, w2c = (self.K[:V], self.w2c[:V]) if cameras else (None, None)
        return VideoGrid(frames, known=known, times=self.times[:T], K=K, w2c=w2c)

    def seen(self, view: int, time: int, tolerance: float = 0.03) -> NDArray[np.bool_]:
        """Pixels [H, W] of a cell whose surface some input view sees at that time.

        By true depth and cameras, the depth of the input view's four pixels around the point
        agreeing within ``tolerance``. Background without depth counts as seen.
        """
        H, W = self.rgb.shape[2:4]
        z = self.depth[view, time].reshape(-1).astype(np.float64)
        empty = ~np.isfinite(z)
        uv = pixel_grid(H, W).reshape(-1, 2)
        camera = unproject(uv, np.where(empty, 1.0, z), self.K[view])
        world = transform(invert(self.w2c[view]), camera)
        found = empty.copy()
        for v in range(self.views):
            p, depth = project(transform(self.w2c[v], world), self.K[v])
            corner = np.floor(np.nan_to_num(p) - 0.5).astype(np.int64)
            surface = self.depth[v, time]
            for dx in (0, 1):
                for dy in (0, 1):
                    x, y = corner[:, 0] + dx, corner[:, 1] + dy
                    ok = (depth > 0) & (x >= 0) & (x < W) & (y >= 0) & (y < H)
                    there = surface[np.where(ok, y, 0), np.where(ok, x, 0)]
                    with np.errstate(invalid="ignore"):
                        found |= ok & (np.abs(depth - there) < tolerance * there)
        return found.reshape(H, W)


@dataclass
class Similarity:
    """x' = scale * rotation @ x + shift between two worlds."""

    scale: float
    rotation: FloatArray
    shift: FloatArray

    def camera(self, w2c: FloatArray) -> FloatArray:
        """The camera [4, 4] of the first world, in the second."""
        centre = self.scale * self.rotation @ camera_centres(w2c) + self.shift
        out = np.eye(4)
        out[:3, :3] = w2c[:3, :3] @ self.rotation.T
        out[:3, 3] = -out[:3, :3] @ centre
        return out


def align_cameras(from_V44: FloatArray, to_V44: FloatArray) -> Similarity:
    """Sim(3) between two reconstructions of the same views, from orientations and centres."""
    u, _, vt = np.linalg.svd(np.einsum("vij,vik->jk", to_V44[:, :3, :3], from_V44[:, :3, :3]))
    rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    a, b = camera_centres(from_V44) @ rotation.T, camera_centres(to_V44)
    da, db = a - a.mean(0), b - b.mean(0)
    scale = float((da * db).sum() / max((da * da).sum(), 1e-12))
    return Similarity(scale, rotation, b.mean(0) - scale * a.mean(0))


def _mean(values: list[float]) -> float | None:
    finite = [v for v in values if np.isfinite(v)]
    return round(float(np.mean(finite)), 3) if finite else None


def _draw(scene: Scene4D, t: float, w2c, K) -> FloatArray:
    return render_scene(scene, float(t), w2c, K).rgb.clamp(0, 1).cpu().numpy()


def score_cells(
    scene: Scene4D, truth: TruthGrid, cells: list[tuple[int, int]], name: str
) -> dict[str, float | None]:
    """psnr_NAME and ssim_NAME over cells (view, time) of the input views."""
    quality: dict[str, list[float]] = {"psnr": [], "ssim": []}
    for v, t in cells:
        image = _draw(scene, truth.times[t], scene.w2c[v], scene.K[v])
        quality["psnr"].append(psnr(image, truth.rgb[v, t]))
        quality["ssim"].append(ssim(image, truth.rgb[v, t]))
    return {f"{k}_{name}": _mean(values) for k, values in quality.items()}


def score_views(scene: Scene4D, truth: TruthGrid) -> dict[str, float | None]:
    """Held-out views at the input times, masked to what input views see, and unmasked (_full)."""
    world = align_cameras(truth.w2c[: truth.views], scene.w2c.double().cpu().numpy())
    zoom = float(np.mean(scene.K[:, 0, 0].cpu().numpy() / truth.K[: truth.views, 0, 0]))
    masked, full, structure, coverage = [], [], [], []
    for v in range(truth.views, len(truth.w2c)):
        K = truth.K[v].copy()
        K[0, 0], K[1, 1] = K[0, 0] * zoom, K[1, 1] * zoom
        camera = world.camera(truth.w2c[v])
        for t in range(truth.steps):
            image, target = _draw(scene, truth.times[t], camera, K), truth.rgb[v, t]
            mask = truth.seen(v, t)
            masked.append(psnr(image, target, mask))
            full.append(psnr(image, target))
            structure.append(ssim(image, target, mask))
            coverage.append(float(mask.mean()))
    return {
        "psnr_heldout_views": _mean(masked),
        "psnr_heldout_views_full": _mean(full),
        "ssim_heldout_views": _mean(structure),
        "coverage": _mean(coverage),
    }


def score_depth(scene: Scene4D, truth: TruthGrid) -> float | None:
    """Median relative error of the drawn depth in the input views at the canonical time."""
    world = align_cameras(truth.w2c[: truth.views], scene.w2c.double().cpu().numpy())
    errors = []
    t = scene.canonical_time
    for v in range(truth.views):
        out = render_scene(scene, float(truth.times[t]), scene.w2c[v], scene.K[v])
        target = truth.depth[v, t] * world.scale
        valid = np.isfinite(target) & (out.alpha.cpu().numpy() > 0.5)
        drawn = out.depth.cpu().numpy()[valid]
        errors.append(np.abs(drawn - target[valid]) / target[valid])
    return _mean([float(np.median(np.concatenate(errors)))])


def baselines(truth: TruthGrid) -> dict[str, float | None]:
    """PSNR on the cells outside row 0 and column 0 of what needs no 3D: given row 0, column 0.

    copy_nearest: the given cell of the same view (t = 0) or of the same time (v = 0), whichever
    is nearer in the grid; additive: row + column - corner.
    """
    copied, added = [], []
    rgb = truth.rgb
    for v in range(1, truth.views):
        for t in range(1, truth.steps):
            near = rgb[v, 0] if t <= v else rgb[0, t]
            copied.append(psnr(near, rgb[v, t]))
            total = np.clip(rgb[v, 0] + rgb[0, t] - rgb[0, 0], 0, 1)
            added.append(psnr(total, rgb[v, t]))
    return {"psnr_unseen_copy_nearest": _mean(copied), "psnr_unseen_additive": _mean(added)}
