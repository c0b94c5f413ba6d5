"""Pictures of a scene by our rasterizer, and the camera that other programs can have too."""

import numpy as np
import torch

from fourreal.cameras import Camera
from recon.gaussians import Gaussians
from recon.raster.rasterize import rasterize
from recon.render import render_scene
from viewer.export.moments import Moment


def square_camera(scene, view: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """w2c [4,4] of an input view, and its K [3,3] with square pixels and a middle."""
    height, width = scene.size
    K = scene.K[view].double().numpy().copy()
    K[1, 1] = K[0, 0]
    K[:2, 2] = width / 2, height / 2
    return scene.w2c[view].double().numpy(), K


def ours(scene, t: float, w2c, K) -> np.ndarray:
    """Our picture [H,W,3] in 0..1, view compensation off."""
    return render_scene(scene, t, w2c, K, None, 0.0).rgb.clamp(0, 1).numpy()


def drawn(moment: Moment, scene, w2c, K, background=None) -> np.ndarray:
    """Our picture of what another program read."""

    def tensor(values) -> torch.Tensor:
        return torch.as_tensor(np.array(values, np.float32))

    radii = np.exp(moment.log_axes)
    gaussians = Gaussians(
        *(tensor(moment.means), tensor(radii[:, 0]), tensor(moment.opacities)),
        *(tensor(moment.colors), tensor(radii / radii[:, :1]), tensor(moment.rotations)),
    )
    camera = Camera(w2c, K, scene.size)
    behind = scene.background if background is None else tensor(background)
    return rasterize(gaussians, camera, behind).rgb.clamp(0, 1).numpy()
