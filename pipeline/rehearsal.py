"""A tiny scene, tracked and fitted for the sake of the compiled kernels that it leaves behind.

    python -m pipeline.rehearsal estimated|given tracks [scene]

A process of its own (``pipeline.compile_ahead``): it says on stdout which stage it has compiled,
one word a line, and ends when its stdin is closed, so that it never outlives the command.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator

import numpy as np

VIEWS, HEIGHT, WIDTH = 4, 64, 96
PLACES = (0, 2, 26, 28)  # of the board at each time; flow does not follow the jump
STEP = 0.25  # from camera to camera
FAR, NEAR = 5.0, 2.5  # of a textured wall, and of a textured board before it that moves


def footage() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A wall and a board that moves and jumps before it, from cameras side by side.

    Returns frames [V, T, H, W, 3] in 0..1, K [V, 3, 3], w2c [V, 4, 4] (OpenCV).
    """
    random = np.random.default_rng(0)
    wall, board = (
        random.random((height // 4, width // 4, 3), np.float32).repeat(4, 0).repeat(4, 1)
        for height, width in ((HEIGHT, 2 * WIDTH), (HEIGHT // 2, WIDTH // 3 // 4 * 4))
    )
    frames = np.empty((VIEWS, len(PLACES), HEIGHT, WIDTH, 3), np.float32)
    for v in range(VIEWS):
        far, near = (round(v * WIDTH * STEP / depth) for depth in (FAR, NEAR))
        for t, place in enumerate(PLACES):
            left = 30 + place - near
            frames[v, t] = wall[:, far : far + WIDTH]
            frames[v, t, 20 : 20 + len(board), left : left + board.shape[1]] = board
    K = np.array([[WIDTH, 0, WIDTH / 2], [0, WIDTH, HEIGHT / 2], [0, 0, 1.0]])
    w2c = np.tile(np.eye(4), (VIEWS, 1, 1))
    w2c[:, 0, 3] = -STEP * np.arange(VIEWS)
    return frames, np.tile(K, (VIEWS, 1, 1)), w2c


def rehearse(given: bool, fit: bool) -> Iterator[str]:
    """Compile what tracking, and ``fit``ting, need; yields the name of each stage when it has.

    given: as for footage that comes with cameras; else they are estimated.
    """
    from gen.grid import VideoGrid
    from recon.config import preset
    from recon.reconstruct import fit_scene
    from tracking.backends.table import Choice
    from tracking.backends.with_any import track_with

    frames, K, w2c = footage()
    grid = VideoGrid(frames, K=K if given else None, w2c=w2c if given else None)
    column = track_with(grid.freeze_time, Choice(allow_stand_in=True), K=grid.K, w2c=grid.w2c)
    yield "tracks"
    if fit:
        fit_scene(grid, column, preset("debug"))
        yield "scene"


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # until the command closes it, or has ended
    os._exit(1)


def main(case: str, *stages: str) -> None:
    """Rehearse, and say on stdout how far it is; what the stages say is not for anybody."""
    told = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for stage in rehearse(case == "given", "scene" in stages):
        os.write(told, f"{stage}\n".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
