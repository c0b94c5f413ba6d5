"""Scoring a reconstruction against ground-truth grids: held-out cells, times and views.

Legend: V' and T' count input and held-out views and times together; input ones come first.
Cameras and depth of the ground truth score, they are not shown to the method.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.cameras import camera_centres, invert, pixel_grid, project, transform, unproject
from fourreal.errors import UserError
from fourreal.image_metrics import psnr, ssim
from gen.data.world.grid import scene_truth
from gen.data.world.scene_sampling import sample_scenes
from gen.grid import VideoGrid
from recon.render import render_scene
from recon.scene import Scene4D

FloatArray = NDArray[np.floating]


@dataclass
class TrueTracks:
    """Surface points followed exactly: xyz [T',N,3] world, visible bool [V',T',N]."""

    xyz: FloatArray
    visible: NDArray[np.bool_]


@dataclass
class TruthGrid:
    """A rendered scene with its ground truth, in the layout of ``scripts/render_procedural.py``.

    rgb float32 [V',T',H,W,3]; depth [V',T',H,W] (NaN: background); K [V',3,3]; w2c [V',4,4];
    times [T']; views and steps: how many of V' and T' are input. The depth of a pixel is that of
    the point ``depth_shift`` pixels to the right of and below its middle.
    """

    name: str
    rgb: FloatArray
    depth: FloatArray
    K: FloatArray
    w2c: FloatArray
    times: FloatArray
    views: int
    steps: int
    depth_shift: float = 0.0
    tracks: TrueTracks | None = None
    _seen: dict[tuple[int, int], NDArray[np.bool_]] = field(default_factory=dict, repr=False)

    @classmethod
    def procedural(
        cls, seed: int, size: tuple[int, int], views: int = 8, steps: int = 8
    ) -> TruthGrid:
        """A ray-traced scene of that seed on a camera arc, two views and three times held out."""
        generator = torch.Generator().manual_seed(seed)
        scene = sample_scenes(1, generator, camera_move=("arc_left", "arc_right"))
        truth = scene_truth(
            scene, views, steps, size, heldout_views=2, heldout_times=3, points=16, seed=seed
        )
        depth = np.where(np.isfinite(truth.depth), truth.depth, np.nan).astype(np.float32)
        rgb = (np.rint(truth.rgb * 255) / 255).astype(np.float32)
        name = f"procedural{seed:03d}"
        return cls(name, rgb, depth, truth.K, truth.w2c, truth.times, views, steps)

    @classmethod
    def load(cls, folder: Path, size: tuple[int, int]) -> TruthGrid:
        """Read ``grid_HxW.npz`` and ``cameras.json`` of one scene folder.

        Without a file of that size the smallest larger one is reduced: colours by area, depth by
        its nearest pixel, intrinsics along. The file itself, smaller than its cameras say by n,
        holds every n-th depth of the fine render, n // 2 pixels from the corner.
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
            tracks = _read_tracks(folder / "tracks.npz")
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"{folder} is no ground-truth grid ({error})") from error
        depth = np.where(raw == 65535, np.nan, raw / np.float32(4000)).astype(np.float32)
        shift = _sampled_at(cameras["height"] // rgb.shape[2])
        factor = rgb.shape[2] // height
        shift = _sampled_at(factor) + shift / factor
        if factor > 1:
            shape = (*rgb.shape[:2], height, factor, width, factor)
            rgb = rgb.reshape(*shape, 3).mean((3, 5))
            depth = np.ascontiguousarray(depth.reshape(shape)[:, :, :, factor // 2, :, factor // 2])
        K = np.broadcast_to(stored, (len(w2c), 3, 3)).copy()
        K[:, 0] *= width / cameras["width"]
        K[:, 1] *= height / cameras["height"]
        return cls(folder.name, rgb, depth, K, w2c, times, views, steps, shift, tracks)

    def depth_intrinsics(self, view: int) -> FloatArray:
        """K [3, 3] whose pixel centres are where the depth of a view was sampled."""
        K = self.K[view].copy()
        K[:2, 2] -= self.depth_shift
        return K

    def grid(self, known: NDArray[np.bool_] | None = None, cameras: bool = False) -> VideoGrid:
        """The input grid; cells that are not ``known`` [V, T] are hidden."""
        V, T = self.views, self.steps
        known = np.ones((V, T), bool) if known is None else known
        frames = self.rgb[:V, :T] * known[:, :, None, None, None]
        K, w2c = (self.K[:V], self.w2c[:V]) if cameras else (None, None)
        return VideoGrid(frames, known=known, times=self.times[:T], K=K, w2c=w2c)

    def seen(self, view: int, time: int) -> NDArray[np.bool_]:
        """Pixels [H, W] of a cell whose surface some input view sees at that time.

        By true depth and cameras, the depth of one of the input view's four pixels around the
        point agreeing within 3 %. Background without depth counts as seen.
        """
        if (view, time) not in self._seen:
            self._seen[view, time] = self._find_seen(view, time)
        return self._seen[view, time]

    def _find_seen(self, view: int, time: int, tolerance: float = 0.03) -> NDArray[np.bool_]:
        H, W = self.rgb.shape[2:4]
        z = self.depth[view, time].reshape(-1).astype(np.float64)
        empty = ~np.isfinite(z)
        uv = pixel_grid(H, W).reshape(-1, 2)
        camera = unproject(uv, np.where(empty, 1.0, z), self.depth_intrinsics(view))
        world = transform(invert(self.w2c[view]), camera)
        found = empty.copy()
        for v in range(self.views):
            p, depth = project(transform(self.w2c[v], world), self.depth_intrinsics(v))
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


def _read_tracks(file: Path) -> TrueTracks | None:
    """The exact tracks of a scene folder; None: it has none."""
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as data:
        if not {"xyz", "visible"} <= set(data.files):
            return None
        return TrueTracks(data["xyz"], data["visible"])


def _sampled_at(factor: int) -> float:
    """Where pixel factor // 2 of ``factor`` fine ones lies, in coarse pixels from the middle."""
    return (factor // 2 + 0.5) / factor - 0.5


@dataclass
class Similarity:
    """x' = scale * rotation @ x + shift between two worlds."""

    scale: float
    rotation: FloatArray
    shift: FloatArray

    def points(self, xyz: FloatArray) -> FloatArray:
        """Points [..., 3] of the first world, in the second."""
        return self.scale * xyz @ self.rotation.T + self.shift

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


class Drawing(Protocol):
    """Something that answers with pictures [H, W, 3]: a reconstruction or a baseline."""

    def input_view(self, view: int, t: float) -> FloatArray:
        """What an input view shows at time t in 0..1."""

    def free_view(self, w2c: FloatArray, K: FloatArray, t: float) -> FloatArray:
        """What a camera of the ground truth's world shows at time t."""


class SceneDrawing:
    """A scene seen from its own input cameras, and from true cameras by Sim(3) on the inputs."""

    def __init__(self, scene: Scene4D, truth: TruthGrid) -> None:
        self.scene = scene
        self.world = align_cameras(truth.w2c[: truth.views], scene.w2c.double().cpu().numpy())
        self.zoom = float(np.mean(scene.K[:, 0, 0].cpu().numpy() / truth.K[: truth.views, 0, 0]))

    def input_view(self, view: int, t: float) -> FloatArray:
        return _draw(self.scene, t, self.scene.w2c[view], self.scene.K[view])

    def free_view(self, w2c: FloatArray, K: FloatArray, t: float) -> FloatArray:
        zoomed = K.copy()
        zoomed[0, 0], zoomed[1, 1] = K[0, 0] * self.zoom, K[1, 1] * self.zoom
        return _draw(self.scene, t, self.world.camera(w2c), zoomed)


def _mean(values: list[float]) -> float | None:
    finite = [v for v in values if np.isfinite(v)]
    return round(float(np.mean(finite)), 3) if finite else None


def _draw(scene: Scene4D, t: float, w2c, K) -> FloatArray:
    return render_scene(scene, float(t), w2c, K).rgb.clamp(0, 1).cpu().numpy()


def score_cells(
    drawing: Drawing, truth: TruthGrid, cells: list[tuple[int, int]], name: str
) -> dict[str, float | None]:
    """psnr_NAME and ssim_NAME over cells (view, time) of the input views."""
    quality: dict[str, list[float]] = {"psnr": [], "ssim": []}
    for v, t in cells:
        image = drawing.input_view(v, float(truth.times[t]))
        quality["psnr"].append(psnr(image, truth.rgb[v, t]))
        quality["ssim"].append(ssim(image, truth.rgb[v, t]))
    return {f"{k}_{name}": _mean(values) for k, values in quality.items()}


def score_views(drawing: Drawing, truth: TruthGrid) -> dict[str, float | None]:
    """Held-out views at the input times, masked to what input views see, and unmasked (_full)."""
    masked, full, structure, coverage = [], [], [], []
    for v in range(truth.views, len(truth.w2c)):
        for t in range(truth.steps):
            image = drawing.free_view(truth.w2c[v], truth.K[v], float(truth.times[t]))
            target, mask = truth.rgb[v, t], truth.seen(v, t)
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
        K = scene.K[v].clone()  # drawn where the true depth was sampled
        K[:2, 2] -= truth.depth_shift
        out = render_scene(scene, float(truth.times[t]), scene.w2c[v], K)
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
