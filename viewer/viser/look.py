"""How a moment of a scene is shown: colouring, points, picking, traces. Knows no server.

Lengths come out in units of ``scale`` times the scene's (viser likes scenes of a few units).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.cameras import Camera, camera_centres
from recon.gaussians import Gaussians
from recon.raster.rasterize import rasterize
from recon.scene import Scene4D
from viewer.viser.splats import Splats

COLOURINGS = ("colour", "motion", "depth")
SHAPES = ("Gaussians", "points")
_POINT_RADIUS = 0.0035  # of the distance of the scene's centre
_SOLID = 0.4  # a point fainter than this cannot be picked


@dataclass(frozen=True)
class Look:
    """What the controls say: see ``COLOURINGS`` and ``SHAPES``; factor on the size of things."""

    colouring: str = "colour"
    shape: str = "Gaussians"
    threshold: float = 0.0
    size: float = 1.0


def splats_at(
    scene: Scene4D,
    t: float,
    look: Look,
    scale: float,
    distance: float,
    camera: NDArray[np.float64] | None = None,
    compensation: float = 0.0,
) -> Splats:
    """The Gaussians of ``scene`` at time ``t`` as they are to be drawn.

    Args:
        distance: of the scene's centre from the cameras, scene units (size of drawn points).
        camera: world-to-camera [4,4] in scene units, for the view compensation.
    """
    with torch.no_grad():
        pose = None if camera is None else torch.as_tensor(camera)
        g = scene.at(t, pose, compensation)
        means, colors = g.means.cpu().numpy(), g.colors.cpu().numpy()
        opacities, radii = g.opacities.cpu().numpy(), g.scales.cpu().numpy()
        if look.colouring == "motion":
            colors = _ramp(scene.displacement(t).norm(dim=-1).cpu().numpy())
        elif look.colouring == "depth":
            eye = camera_centres(scene.w2c.cpu().numpy())[0]
            colors = _ramp(1 / np.maximum(np.linalg.norm(means - eye, axis=1), 1e-6))
    keep = opacities >= max(look.threshold, 1 / 255)
    keep[:1] = True  # viser wants at least one
    shape: tuple = ()
    if look.shape == "points":
        radii = np.full_like(radii, _POINT_RADIUS * distance)
        opacities = np.ones_like(opacities)
    elif g.stretch is not None and g.rotations is not None:
        shape = (g.stretch.cpu().numpy()[keep], g.rotations.cpu().numpy()[keep])
    return Splats(
        (means[keep] * scale).astype(np.float32),
        (radii[keep] * scale * look.size).astype(np.float32),
        colors[keep],
        opacities[keep],
        *shape,
    )


def _ramp(value: NDArray[np.floating]) -> NDArray[np.float32]:
    """False colours [N,3] of values [N], dark to bright between their 2 % and 98 % quantiles."""
    low, high = np.quantile(value, [0.02, 0.98])
    share = np.clip((value - low) / max(high - low, 1e-9), 0, 1)
    wheel = cv2.applyColorMap((share * 255).astype(np.uint8)[:, None], cv2.COLORMAP_INFERNO)
    return wheel[:, 0, ::-1].astype(np.float32) / 255


def picture(
    splats: Splats,
    w2c: NDArray[np.float64],
    fov_y: float,
    size: tuple[int, int],
    background: NDArray[np.floating],
) -> NDArray[np.float32]:
    """RGB [H,W,3] of ``splats`` from a camera in their units; ``fov_y`` in radians."""
    height, width = size
    focal = 0.5 * height / np.tan(0.5 * fov_y)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    means, radii, colors, opacities, stretch, rotations = (
        None if v is None else torch.as_tensor(np.ascontiguousarray(v, np.float32)) for v in splats
    )
    assert means is not None and radii is not None
    assert colors is not None and opacities is not None
    back = torch.as_tensor(np.asarray(background, np.float32))
    gaussians = Gaussians(means, radii, opacities, colors, stretch, rotations)
    with torch.no_grad():
        drawn = rasterize(gaussians, Camera(w2c, K, size), back)
    return drawn.rgb.clamp(0, 1).numpy()


def pick(
    scene: Scene4D, t: float, origin: NDArray[np.floating], direction: NDArray[np.floating]
) -> int | None:
    """Index of the nearest solid Gaussian along a ray (scene units); None if it meets none."""
    g = scene.at(t)
    means, radii = g.means.cpu().numpy(), g.scales.cpu().numpy()
    along = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    relative = means - np.asarray(origin)
    reach = relative @ along
    aside = np.linalg.norm(relative - reach[:, None] * along, axis=1)
    hit = (reach > 0) & (aside < np.maximum(2 * radii, 0.004 * reach))
    hit &= g.opacities.cpu().numpy() > _SOLID
    if not hit.any():
        return None
    return int(np.flatnonzero(hit)[reach[hit].argmin()])


def traces(scene: Scene4D, points: NDArray[np.integer]) -> NDArray[np.float32]:
    """Positions [P,T,3] of some Gaussians at every stored time, scene units."""
    chosen = torch.as_tensor(np.asarray(points), device=scene.means.device)
    small = scene.keep(chosen)
    path = small.means[None] + small.offsets()
    return path.permute(1, 0, 2).cpu().numpy()


def moving_points(scene: Scene4D, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Up to ``count`` Gaussians spread over what moves most and can be seen."""
    travel = scene.offsets().norm(dim=-1).max(0).values.cpu().numpy()
    solid = torch.sigmoid(scene.opacity_logits).cpu().numpy() > _SOLID
    far = np.flatnonzero(solid & (travel > max(0.3 * float(travel.max(initial=0)), 1e-6)))
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(far, min(count, len(far)), replace=False))
