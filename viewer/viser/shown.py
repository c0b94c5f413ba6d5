"""A live viewer as its parts see it: the scene, the server, the state of its controls."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from recon.scene import Scene4D
from viewer.viser.look import Look


class Shown(Protocol):
    """A scene on a running server. Handles of controls have a ``value``."""

    scene: Scene4D
    server: Any
    unit: float  # viser units in one of the scene's
    distance: float  # of the scene's centre from the middle camera
    time: Any
    compensation: Any
    record: Any

    def look(self) -> Look:
        """How the scene is shown now."""
        ...


def client_w2c(client: Any) -> NDArray[np.float64]:
    """World-to-camera [4,4] (OpenCV axes) of a browser, in viser's units."""
    camera = client.camera
    out = np.eye(4)
    out[:3, :3] = Rotation.from_quat(np.roll(camera.wxyz, -1)).as_matrix().T
    out[:3, 3] = -out[:3, :3] @ np.asarray(camera.position)
    return out
