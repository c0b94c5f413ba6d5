"""A scene in nerfstudio's world: z up, what is looked at in the origin, cameras within 1.

nerfstudio's viewer turns about +z and starts on the side of (1, 1, 1) looking at the origin; the
middle input camera is put on that side, and ``start_view`` says where a viewer should begin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from fourreal.cameras import camera_centres, look_at
from recon.scene import Scene4D
from viewer.camera_paths import scene_centre

_START_AZIMUTH = np.pi / 4
_STEP_BACK = 1.4  # times the middle camera's distance
_OPENGL = np.diag([1.0, -1.0, -1.0])  # OpenCV camera axes <-> OpenGL camera axes


@dataclass(frozen=True)
class Similarity:
    """x -> scale * (rotation @ x + translation): rotation [3,3], translation [3]."""

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]
    scale: float

    def scene(self, scene: Scene4D) -> Scene4D:
        """The same scene in the new world; it draws the same pictures, depths times ``scale``."""
        turn = torch.as_tensor(self.rotation, dtype=torch.float64)
        shift = torch.as_tensor(self.translation, dtype=torch.float64)

        def vectors(values: Tensor) -> Tensor:
            return (self.scale * values.double() @ turn.to(values.device).T).to(values)

        w2c = scene.w2c.double().clone()
        w2c[:, :3, :3] = w2c[:, :3, :3] @ turn.to(w2c).T
        w2c[:, :3, 3] = self.scale * (w2c[:, :3, 3] - w2c[:, :3, :3] @ shift.to(w2c))
        moved = self.scale * (scene.means.double() @ turn.to(w2c).T + shift.to(w2c))
        sheen, seen_from = self._sheen(scene)
        return replace(
            scene,
            means=moved.to(scene.means),
            log_scales=scene.log_scales + float(np.log(self.scale)),
            node_offsets=vectors(scene.node_offsets),
            node_slopes=None if scene.node_slopes is None else vectors(scene.node_slopes),
            node_turns=None if scene.node_turns is None else vectors(scene.node_turns) / self.scale,
            view_offsets=vectors(scene.view_offsets),
            w2c=w2c.to(scene.w2c),
            rotations=None if scene.rotations is None else self._turned(scene.rotations),
            sheen=sheen,
            sheen_from=seen_from,
        )

    def _sheen(self, scene: Scene4D) -> tuple[Tensor | None, Tensor | None]:
        """The slopes of colours and where directions are counted from, turned with the world."""
        if scene.sheen is None or scene.sheen_from is None:
            return None, None
        turn = torch.as_tensor(self.rotation, dtype=torch.float64).to(scene.sheen.device)
        shift = torch.as_tensor(self.translation, dtype=torch.float64).to(scene.sheen.device)
        middle, mean, reach = scene.sheen_from.double().split((3, 3, 1))
        origin = torch.cat([self.scale * (turn @ middle + shift), turn @ mean, reach])
        slopes = torch.einsum("ak,nkc->nac", turn, scene.sheen.double())
        return slopes.to(scene.sheen), origin.to(scene.sheen_from)

    def _turned(self, quaternions: Tensor) -> Tensor:
        """Quaternions w, x, y, z [N,4] of axes that turn with the world."""
        own = Rotation.from_quat(np.roll(quaternions.cpu().numpy(), -1, axis=1))
        turned = (Rotation.from_matrix(self.rotation) * own).as_quat()
        return torch.as_tensor(np.roll(turned, 1, axis=1)).to(quaternions)


def nerfstudio_space(scene: Scene4D) -> Similarity:
    """The similarity that takes ``scene`` to nerfstudio's world."""
    w2c = scene.w2c.cpu().double().numpy()
    middle = len(w2c) // 2
    focus = scene_centre(w2c[middle], scene.means.cpu().numpy())
    up = -w2c[:, 1, :3].mean(0)
    up /= np.linalg.norm(up)
    towards = camera_centres(w2c)[middle] - focus
    side = np.cross(up, towards)
    if np.linalg.norm(side) < 1e-6 * np.linalg.norm(towards):  # looking straight down
        side = w2c[middle, 0, :3] - (w2c[middle, 0, :3] @ up) * up
    side /= np.linalg.norm(side)
    upright = np.stack([np.cross(side, up), side, up])  # the middle camera's azimuth is 0
    c, s = np.cos(_START_AZIMUTH), np.sin(_START_AZIMUTH)
    rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ upright
    reach = np.linalg.norm(camera_centres(w2c) - focus, axis=1).max()
    return Similarity(rotation, -rotation @ focus, 1.0 / max(float(reach), 1e-9))


def start_view(scene: Scene4D) -> tuple[NDArray[np.float64], float]:
    """Where to look from first: position [3] and vertical field of view in radians.

    ``scene`` is in nerfstudio's world, and what to look at is its origin. A little behind the
    middle input camera: in the camera itself its own frustum would hide the scene.
    """
    middle = len(scene.w2c) // 2
    centre = camera_centres(scene.w2c.cpu().double().numpy())[middle]
    focal = float(scene.K[middle, 1, 1])
    return _STEP_BACK * centre, float(2 * np.arctan(scene.size[0] / 2 / focal))


def start_camera(
    scene: Scene4D, size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """World-to-camera [4,4] and K [3,3] of what a page of ``size`` (height, width) shows first."""
    height, width = size
    position, fov_y = start_view(scene)
    focal = height / 2 / np.tan(fov_y / 2)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return np.asarray(look_at(position, np.zeros(3), up=(0.0, 0.0, 1.0)), np.float64), K


def opengl_c2w(w2c_V44: NDArray[np.floating]) -> NDArray[np.float64]:
    """OpenCV world-to-camera [V,4,4] -> OpenGL camera-to-world [V,3,4], as nerfstudio has it."""
    c2w = np.linalg.inv(np.asarray(w2c_V44, np.float64))[:, :3]
    c2w[:, :, :3] = c2w[:, :, :3] @ _OPENGL
    return c2w


def opencv_w2c(c2w_34: Tensor) -> Tensor:
    """OpenGL camera-to-world [3,4] -> OpenCV world-to-camera [4,4], float64."""
    c2w = torch.eye(4, dtype=torch.float64)
    c2w[:3] = c2w_34.detach().cpu().double()
    c2w[:3, :3] = c2w[:3, :3] @ torch.as_tensor(_OPENGL)
    return torch.linalg.inv(c2w)
