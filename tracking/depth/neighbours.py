"""Which views are compared with one: those nearest in the order of the camera's path."""

from __future__ import annotations

import numpy as np

from fourreal.cameras import camera_centres

_VIEWS = 12  # from which on a path may come back to where it began ...
_GAP = 1.5  # ... with no more than so many usual steps between its last view and its first


def neighbours(w2c: np.ndarray, count: int) -> list[list[int]]:
    """Of every one of the cameras w2c [V, 4, 4], the ``count`` views nearest in order, sorted.

    Where the path comes back to where it began, its last views are next to the first.
    """
    views, around = len(w2c), comes_around(w2c)

    def nearest(view: int) -> list[int]:
        def apart(v: int) -> tuple[int, int]:
            steps = abs(v - view)
            return (min(steps, views - steps) if around else steps), v

        return sorted(sorted((v for v in range(views) if v != view), key=apart)[:count])

    return [nearest(view) for view in range(views)]


def comes_around(w2c: np.ndarray) -> bool:
    """Whether the last of many cameras [V, 4, 4] is as near to the first as neighbours are, in
    place and direction."""
    if len(w2c) < _VIEWS:
        return False

    def near(x: np.ndarray) -> bool:
        steps = np.linalg.norm(np.diff(x, axis=0), axis=1)
        return bool(np.linalg.norm(x[-1] - x[0]) <= _GAP * np.median(steps))

    return near(camera_centres(w2c)) and near(w2c[:, 2, :3])
