"""One procedural scene as a complete view x time grid with its ground truth.

Depth is z in each camera, inf where background; tracks are numpy arrays named as in
`PointTracks`. Legend: V views, T times, N points, H, W pixels.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gen.data.world.captions import canonical_caption
from gen.data.world.motion import camera_path
from gen.data.world.procedural import render
from gen.data.world.scene import Attributes, SceneBatch
from gen.data.world.scene_sampling import sample_scenes
from gen.data.world.tracks import track_points
from gen.grid import VideoGrid


@dataclass
class GroundTruth:
    """A rendered scene: input cells first, then held-out views and times.

    rgb [V',T',H,W,3] float 0..1, depth [V',T',H,W], K [V',3,3], w2c [V',4,4], times [T'], tracks
    (dict of arrays), views and steps: how many of V' and T' are input.
    """

    rgb: NDArray[np.float32]
    depth: NDArray[np.float32]
    K: NDArray[np.float64]
    w2c: NDArray[np.float64]
    times: NDArray[np.float32]
    tracks: dict[str, NDArray]
    views: int
    steps: int
    prompt: str


def _even(count: int) -> torch.Tensor:
    return torch.linspace(0, 1, count) if count > 1 else torch.zeros(1)


def scene_truth(
    scene: SceneBatch,
    views: int = 8,
    steps: int = 8,
    size: tuple[int, int] = (144, 256),
    *,
    heldout_views: int = 0,
    heldout_times: int = 0,
    points: int = 1024,
    samples: int = 2,
    seed: int = 0,
) -> GroundTruth:
    """Render one scene (a batch of length 1) on an even grid, with held-out cells if asked.

    Held-out views lie half-way between neighbours and 4 degrees higher or lower; held-out times lie
    half-way between neighbours. size is (height, width).
    """
    if len(scene) != 1:
        raise ValueError(f"scene_truth renders one scene; got a batch of {len(scene)}")
    if (heldout_views and views < 2) or (heldout_times and steps < 2):
        raise ValueError("held-out cells lie between neighbours: needs 2 views and 2 times or more")
    height, width = size
    u, t = _even(views), _even(steps)
    between = torch.linspace(0, views - 2, heldout_views + 2)[1:-1].round()
    times = torch.cat([t, _halfway(steps, heldout_times)])
    blocks = [(scene, u)]
    for i, left in enumerate(between):
        camera = scene.camera.clone()
        camera[:, [1, 4]] += math.radians(4.0 if i % 2 == 0 else -4.0)
        blocks.append((dataclasses.replace(scene, camera=camera), (left[None] + 0.5) / (views - 1)))
    out = [render(s, p, times, height, width, want_depth=True, samples=samples) for s, p in blocks]
    w2c = torch.cat([camera_path(s, p[None]) for s, p in blocks], 1)
    tracks = track_points(
        scene, u, times, height, width, points, torch.Generator().manual_seed(seed), w2c=w2c
    )
    return GroundTruth(
        rgb=torch.cat([o.rgb[0] for o in out]).cpu().numpy(),
        depth=torch.cat([o.depth[0] for o in out if o.depth is not None]).cpu().numpy(),
        K=torch.cat([o.K[0] for o in out]).double().cpu().numpy(),
        w2c=w2c[0].double().cpu().numpy(),
        times=times.numpy(),
        tracks={
            f.name: getattr(tracks, f.name)[0].cpu().numpy() for f in dataclasses.fields(tracks)
        },
        views=views,
        steps=steps,
        prompt=canonical_caption(scene),
    )


def _halfway(steps: int, count: int) -> torch.Tensor:
    """`count` times half-way between neighbours of an even grid, spread over its middle."""
    left = torch.linspace(0, steps - 2, count + 2)[1:-1].round().unique()
    return (left + 0.5) / (steps - 1) if count else torch.zeros(0)


def make_grid(
    seed: int,
    V: int = 8,
    T: int = 8,
    size: tuple[int, int] = (144, 256),
    *,
    attributes: Attributes | None = None,
    points: int = 1024,
    samples: int = 2,
) -> tuple[VideoGrid, NDArray[np.float32], dict[str, NDArray]]:
    """A complete grid of a random scene (or one with `attributes`), its depth and its tracks.

    Returns the grid with its cameras and canonical caption, depth [V,T,H,W] (inf for background)
    and the tracks of `points` points. A pure function of its arguments.
    """
    generator = torch.Generator().manual_seed(seed)
    camera = "arc_left" if seed % 2 else "arc_right"
    if attributes is None:
        scene = sample_scenes(1, generator, camera_move=camera)
    else:
        scene = sample_scenes(
            1, generator, objects=attributes.objects or None, relation=attributes.relation,
            floor=attributes.floor, sky=attributes.sky,
            camera_move=attributes.camera_move or camera,
        )  # fmt: skip
    truth = scene_truth(scene, V, T, size, points=points, samples=samples, seed=seed)
    grid = VideoGrid(
        frames=truth.rgb, times=truth.times, K=truth.K, w2c=truth.w2c, prompt=truth.prompt
    )
    return grid, truth.depth, truth.tracks
