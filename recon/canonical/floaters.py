"""Removing boundary floaters (paper supplement 3): only opacities are optimised.

Every freeze-time frame is drawn in its own coordinates, x_i = R_i p + t_i + e_i, which are known
from the tracks, so an error of the cameras does not count against a point. Points that end up
transparent are removed, except where a pixel would be left uncovered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fourreal.console import progress
from recon.config import FloaterConfig
from recon.fit.adam import Adam
from recon.fit.photometric import photometric_loss
from recon.gaussians import Gaussians
from recon.raster.rasterize import RasterOutput, rasterize
from recon.scene import Scene4D

_COVERED = 0.5


def remove_floaters(
    scene: Scene4D,
    frames_VHW3: Tensor,
    config: FloaterConfig,
    seed: int = 0,
    views: Sequence[int] | None = None,
    ignored_VHW: Tensor | None = None,
) -> Scene4D:
    """The static ``scene`` without the points that the freeze-time frames make transparent.

    Args:
        scene: canonical scene, with its view-dependent offsets.
        frames_VHW3: freeze-time column, float32 in 0..1.
        views: those that count; all by default.
        ignored_VHW: bool, pixels that are no part of the scene.
    """
    views = list(range(len(frames_VHW3)) if views is None else views)
    places = {v: scene.means + scene.view_offsets[v] for v in views}
    logits = scene.opacity_logits.clone().requires_grad_(True)
    optimiser = Adam([{"params": [logits], "lr": config.lr}])
    rng = np.random.default_rng(seed)
    queue: list[int] = []
    for _ in progress(range(config.steps), "removing floaters"):
        if not queue:
            queue = rng.permutation(views).tolist()
        v = queue.pop()
        image = _draw(scene, places[v], torch.sigmoid(logits), v).rgb
        if ignored_VHW is not None:
            image = torch.where(ignored_VHW[v, ..., None], frames_VHW3[v], image)
        loss = photometric_loss(image, frames_VHW3[v])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    opacity = torch.sigmoid(logits.detach())
    keep = opacity >= config.prune
    keep |= _needed(scene, places, torch.sigmoid(scene.opacity_logits), opacity, keep)
    # a point kept only to cover a pixel gets its first opacity back
    restored = keep & (opacity < config.prune)
    final = torch.where(restored, scene.opacity_logits, logits.detach())
    return replace(scene, opacity_logits=final).keep(keep)


def _draw(scene: Scene4D, means: Tensor, opacity: Tensor, v: int) -> RasterOutput:
    gaussians = Gaussians(means, torch.exp(scene.log_scales), opacity, scene.colors)
    return rasterize(gaussians, scene.camera(v), scene.background)


@torch.no_grad()
def _needed(
    scene: Scene4D, places: dict[int, Tensor], before: Tensor, after: Tensor, keep: Tensor
) -> Tensor:
    """Pruned points [N] over pixels that were covered and no longer would be."""
    needed = torch.zeros_like(keep)
    height, width = scene.size
    for v, means in places.items():
        full = _draw(scene, means, before, v).alpha
        left = _draw(scene, means, after * keep, v).alpha
        hole = (full >= _COVERED) & (left < _COVERED)
        if not hole.any():
            continue
        w2c, K = scene.w2c[v], scene.K[v]
        p = means @ w2c[:3, :3].T + w2c[:3, 3]
        z = p[:, 2].clamp_min(1e-9)
        x = (K[0, 0] * p[:, 0] / z + K[0, 2]).floor()
        y = (K[1, 1] * p[:, 1] / z + K[1, 2]).floor()
        inside = (p[:, 2] > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
        x, y = (torch.where(inside, c, torch.zeros_like(c)).long() for c in (x, y))
        needed |= inside & hole[y, x] & ~keep
    return needed
