"""Numbers of the image formation that the CPU kernels share; gsplat's "classic" one."""

from __future__ import annotations

import numpy as np

TILE_W, TILE_H = 64, 16  # pixels of a tile
ALPHA_MAX = np.float32(0.999)
ALPHA_MIN = np.float32(1.0 / 255.0)
T_MIN = np.float32(1e-4)  # transmittance below which a pixel is finished
BLUR = np.float32(0.3)  # square pixels added to every 2-D covariance
FINITE_MAX = np.float32(3.4028235e38)
