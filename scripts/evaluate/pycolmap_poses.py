"""Cameras of a clip from pycolmap (optional, pip install pycolmap), to compare ours with."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from fourreal.errors import UserError


def pycolmap_cameras(frames: np.ndarray) -> tuple[np.ndarray, float, float]:
    """frames [V, H, W, 3] -> (w2c [V, 4, 4], NaN where not registered; focal in pixels; seconds).

    SIFT, exhaustive matching, incremental mapping; one SIMPLE_PINHOLE camera for all frames.
    """
    try:
        import pycolmap
    except ImportError as error:
        raise UserError("--pycolmap needs pycolmap (pip install pycolmap)") from error
    pycolmap.logging.minloglevel = 3
    w2c = np.full((len(frames), 4, 4), np.nan)
    focal = np.nan
    with tempfile.TemporaryDirectory() as folder:
        images, database = Path(folder) / "images", Path(folder) / "database.db"
        images.mkdir()
        for v, frame in enumerate(frames):
            bgr = (np.clip(frame[..., ::-1], 0, 1) * 255 + 0.5).astype(np.uint8)
            cv2.imwrite(str(images / f"{v:03d}.png"), bgr)
        pycolmap.set_random_seed(0)
        clock = time.perf_counter()
        options = pycolmap.ImageReaderOptions(camera_model="SIMPLE_PINHOLE")
        pycolmap.extract_features(
            database, images, camera_mode=pycolmap.CameraMode.SINGLE, reader_options=options
        )
        pycolmap.match_exhaustive(database)
        models = pycolmap.incremental_mapping(database, images, Path(folder) / "sparse")
        seconds = time.perf_counter() - clock
        if models:
            best = max(models.values(), key=lambda m: m.num_reg_images())
            for image in best.images.values():
                if not image.has_pose:
                    continue
                pose = image.cam_from_world
                pose = pose() if callable(pose) else pose
                w2c[int(Path(image.name).stem)] = np.vstack([pose.matrix(), [0, 0, 0, 1]])
            focal = float(next(iter(best.cameras.values())).params[0])
    return w2c, focal, seconds
