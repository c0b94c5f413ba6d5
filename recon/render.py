"""Draw a Scene4D: one camera, one time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fourreal.cameras import Camera
from recon.place import Moment, Sight, place
from recon.raster.rasterize import RasterOutput, rasterize
from recon.scene import Scene4D


@torch.no_grad()
def render_scene(
    scene: Scene4D,
    t: float,
    w2c: ArrayLike | Tensor,
    K: ArrayLike | Tensor,
    size: tuple[int, int] | None = None,
    compensation: float = 1.0,
) -> RasterOutput:
    """Image of the scene at time ``t`` in 0..1 from camera ``w2c`` [4,4], ``K`` [3,3].

    ``size`` (height, width) defaults to that of the input frames; ``compensation`` as in
    ``Scene4D.at``.
    """
    pose = torch.as_tensor(np.asarray(w2c), dtype=torch.float64)
    lens = torch.as_tensor(np.asarray(K), dtype=torch.float32)
    gaussians = scene.at(t, pose, compensation)
    return rasterize(
        gaussians, Camera(pose, lens, size or scene.size), scene.background.to(scene.means)
    )


@torch.no_grad()
def render_canonical(scene: Scene4D, view: int, background: Tensor | None = None) -> RasterOutput:
    """What an input view shows of the scene at its canonical time, sheen left out."""
    gaussians = place(scene.canonical(), Moment(), Sight(offset=scene.view_offsets[view]))
    return rasterize(gaussians, scene.camera(view), background)


def render_cells(scene: Scene4D, compensation: float = 1.0) -> NDArray[np.float32]:
    """All cells of the input grid as the scene draws them: float32 [V, T, H, W, 3] in 0..1."""
    V, T = len(scene.w2c), len(scene.times)
    out = np.zeros((V, T, *scene.size, 3), np.float32)
    for v in range(V):
        for t, stamp in enumerate(scene.times.tolist()):
            rgb = render_scene(scene, stamp, scene.w2c[v], scene.K[v], None, compensation).rgb
            out[v, t] = rgb.clamp(0, 1).cpu().numpy()
    return out
