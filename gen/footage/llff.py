"""`poses_bounds.npy` of LLFF, Neural 3D Video and (`poses_bounds_multipleview.npy`) 4DGaussians.

One row of 17 numbers a camera: a 3x5 matrix, camera-to-world with axes (down, right, backward),
whose last column is height, width and focal length, then near and far. Row k is the k-th image or
view in the order of names character by character (cam10 before cam2), as LLFF sorts them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fourreal.cameras import w2c_from_c2w
from fourreal.npz_file import read_npy
from gen.footage.calibration import Calibration, Camera, sized
from gen.footage.fields import MAX_TEXT, array

NAMES = ("poses_bounds.npy", "poses_bounds_multipleview.npy")


def read_poses_bounds(file: Path) -> Calibration:
    """The cameras of a poses_bounds.npy.

    Raises:
        ValueError: not of this form.
    """
    if file.stat().st_size > MAX_TEXT:
        raise ValueError(f"{file.name} is larger than {MAX_TEXT >> 20} MB")
    try:
        rows = read_npy(file)
    except ValueError as error:
        raise ValueError(f"{file.name} is not a plain array ({error})") from error
    rows = array(rows, (-1, 17), file.name)
    poses = rows[:, :15].reshape(-1, 3, 5)
    w2c = w2c_from_c2w(poses[:, :, :4], "llff")
    cameras = []
    for k, (height, width, focal) in enumerate(poses[:, :, 4]):
        if not (height > 0 and width > 0 and focal > 0):
            raise ValueError(f"{file.name}: height, width and focal length must be above 0")
        K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        size = int(height), int(width)
        cameras.append(Camera("", w2c[k], sized(K, (height, width), file.name), (), size))
    return Calibration(file.name, cameras, lexical=True)
