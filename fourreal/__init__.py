"""The ground floor: errors, console, guard, run folder, cameras, video, image metrics.

Imports no other floor.
"""

import os

# Read once, when torch loads its OpenMP runtime: by default its idle workers spin for
# milliseconds after every parallel operation and take the core the rasterizer's own threads
# need (a fit iteration on 2 cores: 35 ms spinning, 23 ms passive; 138 and 38 on a busy machine).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
