"""What nerfstudio's page should show, and how like it a picture is."""

from __future__ import annotations

import cv2
import numpy as np

from recon.render import render_scene
from recon.scene import Scene4D
from tests.viewer.toy_scene import psnr
from viewer.nerfstudio_plugin.space import start_camera

_COMPARED_WIDTH = 256  # the viewer sends 512 pixels as JPEG and stretches them to the canvas


def expected(scene: Scene4D, t: float, size: tuple[int, int]) -> np.ndarray:
    """Our rasterizer's picture of a scene in nerfstudio's world from where the viewer starts."""
    w2c, K = start_camera(scene, size)
    return render_scene(scene, t, w2c, K, size, compensation=0.0).rgb.clamp(0, 1).numpy()


def likeness(shown: np.ndarray, want: np.ndarray) -> float:
    """PSNR of two pictures after shrinking both, but for the corner with the page's axes."""
    size = (_COMPARED_WIDTH, round(_COMPARED_WIDTH * want.shape[0] / want.shape[1]))
    small = [cv2.resize(p, size, interpolation=cv2.INTER_AREA) for p in (shown, want)]
    return psnr(*(p[:, _COMPARED_WIDTH // 4 :] for p in small))
