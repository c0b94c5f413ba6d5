"""What a column shows that is no part of the scene, and views that are not fitted to.

Legend: V views, T times, H W image.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np

from gen.grid import VideoGrid
from tracking.column import ColumnTracks


def without_moving(column: ColumnTracks, grid: VideoGrid) -> ColumnTracks:
    """The column of a grid of one time, in which what moves on its own is no part of the scene.

    Over several times it may be what the scene is about.
    """
    if grid.T > 1 or column.moving is None:
        return column
    others = column.moving if column.backdrop is None else column.moving | column.backdrop
    return replace(column, backdrop=others)


def without_dropped(grid: VideoGrid, dropped: list[int]) -> VideoGrid:
    """The grid without the cells of views whose camera is a guess; the complete row stays."""
    lost = [v for v in dropped if v != grid.shared[0]]
    kept = copy(grid)  # not built anew: for the fit, the column may have holes
    kept.known = np.array(grid.known)
    kept.known[lost] = False
    return kept
