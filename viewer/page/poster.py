"""The picture that a page shows until its scene is there: the first moment from the first view."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from fourreal.cameras import Camera, scale_intrinsics
from recon.gaussians import Gaussians
from recon.raster.rasterize import rasterize
from viewer.export.moments import moment_at
from viewer.player_scene import PlayerScene

_WIDTH = 640  # pixels at most
_QUALITY = 70


def poster(player: PlayerScene) -> bytes:
    """A WebP picture of the first input view at the first time, at most 640 pixels wide."""
    m = moment_at(player, float(player.times[0]))
    radii = np.exp(m.log_axes)

    def tensor(values: object) -> torch.Tensor:
        return torch.as_tensor(np.array(values, np.float32))

    gaussians = Gaussians(
        *(tensor(m.means), tensor(radii[:, 0]), tensor(m.opacities), tensor(m.colors)),
        *(tensor(radii / radii[:, :1]), tensor(m.rotations)),
    )
    height, width = player.size
    share = min(1.0, _WIDTH / width)
    size = (max(1, round(height * share)), max(1, round(width * share)))
    camera = Camera(player.w2c[0], scale_intrinsics(player.K[0], player.size, size), size)
    with torch.no_grad():
        rgb = rasterize(gaussians, camera, tensor(player.background)).rgb
    pixels = np.rint(rgb.clamp(0, 1).numpy() * 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "WEBP", quality=_QUALITY, method=4)
    return out.getvalue()
