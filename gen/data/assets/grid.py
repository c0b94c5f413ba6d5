"""One animated asset as a complete view x time grid with its ground truth.

The recipe of the paper's animated-Objaverse data (Sec. 3.3): cameras on a circle around the asset,
still while the clip plays. Legend: V' views and T' times, input cells first, then held-out ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourreal.errors import UserError
from gen.data.assets.bake import BakedAsset, Placement, bake
from gen.data.assets.cameras import Circle, circle_cameras, intrinsics
from gen.data.assets.render import DEPTH_SAMPLES, AssetRenderer, at_pixel_centres
from gen.data.assets.tracks import CANDIDATES, SurfacePoints, follow, sample_surface, visible_from
from gen.data.gltf.animation import Clip
from gen.data.gltf.asset import Asset
from gen.data.world.grid import GroundTruth


@dataclass(frozen=True)
class AssetShot:
    """How an asset is filmed.

    Attributes:
        size: (height, width).
        views, times: input cells; heldout_views, heldout_times: more cells between them.
        circle: where the cameras stand.
        seconds: length of the stretch of the clip, from its start; None: all of it.
        samples: colour samples per pixel along each axis.
        background: sRGB 0..1.
        cull: hide the back faces of single-sided materials.
        points: number of tracks.
        seed: of the tracks' sampling.
    """

    size: tuple[int, int] = (144, 256)
    views: int = 8
    times: int = 8
    heldout_views: int = 0
    heldout_times: int = 0
    circle: Circle = field(default_factory=Circle)
    seconds: float | None = None
    samples: int = 3
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    cull: bool = False
    points: int = 4096
    seed: int = 0


def clip_times(clip: Clip, shot: AssetShot) -> NDArray[np.float64]:
    """Seconds [T'] of the frames: even over the clip, then held-out ones half-way between.

    A clip mostly loops, its end being its start again: T frames stand at 0, 1/T, 2/T … of it.
    """
    length = clip.seconds if shot.seconds is None else min(shot.seconds, clip.seconds)
    step = length / shot.times
    left = np.linspace(0, shot.times - 2, shot.heldout_times + 2)[1:-1].round()
    return clip.start + step * np.concatenate([np.arange(shot.times), left + 0.5])


def render_cells(
    context: Any,
    baked: BakedAsset,
    images: dict[int, NDArray[np.uint8]],
    w2c: NDArray[np.float64],
    K: NDArray[np.float64],
    shot: AssetShot,
    points: SurfacePoints,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Colours [V', T', H, W, 3] in 0..1, depth [V', T', H, W] (inf: background), and which points
    every cell sees [V', T', N]."""
    V, T = len(w2c), len(baked.seconds)
    rgb = np.empty((V, T, *shot.size, 3), np.float32)
    depth = np.empty((V, T, *shot.size), np.float32)
    visible = np.empty((V, T, points.xyz.shape[1]), bool)
    fine_K = np.diag([DEPTH_SAMPLES, DEPTH_SAMPLES, 1.0]) @ K
    renderer = AssetRenderer(
        context, baked, images, shot.size,
        samples=shot.samples, background=shot.background, cull=shot.cull,
    )  # fmt: skip
    try:
        for t in range(T):
            renderer.set_time(t)
            for v in range(V):
                rgb[v, t] = renderer.colours(w2c[v], K)
                fine = renderer.fine_depth(w2c[v], K)
                depth[v, t] = at_pixel_centres(fine)
                visible[v, t] = visible_from(points, t, fine, w2c[v], fine_K)
    finally:
        renderer.release()
    return rgb, depth, visible


def asset_truth(
    context: Any, asset: Asset, clip: Clip, shot: AssetShot, prompt: str
) -> tuple[GroundTruth, Placement, NDArray[np.float64]]:
    """Film one clip of an asset; also the placement of the asset and the seconds [T'] of frames.

    Raises:
        UserError: nothing to draw, or nothing of it can be seen.
    """
    if clip.seconds <= 0:
        raise UserError(f"{asset.name}: the clip {clip.name!r} is a still pose")
    seconds = clip_times(clip, shot)
    baked = bake(asset, clip, seconds)
    height, width = shot.size
    K = intrinsics(shot.circle, height, width)
    w2c = circle_cameras(
        shot.circle, baked.points(), K, height, width, shot.views, shot.heldout_views
    )
    rng = np.random.default_rng(shot.seed)
    points = sample_surface(baked, CANDIDATES * shot.points, rng)
    rgb, depth, visible = render_cells(context, baked, asset.images, w2c, K, shot, points)
    if not np.isfinite(depth).any():
        raise UserError(f"{asset.name}: nothing of it can be seen (is it fully transparent?)")
    span = seconds[shot.times - 1] - seconds[0]
    truth = GroundTruth(
        rgb=rgb,
        depth=depth,
        K=np.broadcast_to(K, (len(w2c), 3, 3)).copy(),
        w2c=w2c,
        times=((seconds - seconds[0]) / span).astype(np.float32),
        tracks=follow(points, visible, w2c, K, shot.points),
        views=shot.views,
        steps=shot.times,
        prompt=prompt,
    )
    return truth, baked.placement, seconds
