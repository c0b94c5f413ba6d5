"""What cell (v, t) is by rules without learning: the answers that completion starts from.

A hidden cell stands almost entirely in what is given: the column shows its viewpoint, the row its
time.  The rules put the two together in different ways; where one fails, another is often right.

Shape legend: V views, T times, H W pixels, K candidates, N cells.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gen.completion.flow import to_first
from gen.warp import pixel_places, sample

# Row, column, additive, row seen from v, the same with motion, column moved to t, and the column
# with what time changed in the row, seen from v.
CANDIDATES = 7
HINTS = 7  # where time changes the row, the same seen from v, how far flow is off, displacements


def copy_nearest(grid_VTHWC: NDArray) -> NDArray:
    """Cell (v, t) = row 0 at t or column 0 at v, whichever is fewer steps away."""
    out = grid_VTHWC.copy()
    for v in range(1, out.shape[0]):
        for t in range(1, out.shape[1]):
            out[v, t] = out[0, t] if v <= t else out[v, 0]
    return out


def additive(grid_VTHWC: NDArray) -> NDArray:
    """Cell (v, t) = row + column - corner, clamped to 0..1."""
    grid = grid_VTHWC
    out = np.clip(grid[:1] + grid[:, :1] - grid[:1, :1], 0, 1)
    out[0], out[:, 0] = grid[0], grid[:, 0]
    return out


def candidates(
    row_T3HW: Tensor, column_V3HW: Tensor, to_view0_VHW2: Tensor, to_time0_THW2: Tensor,
    cells_N2: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """What the rules say of cells (v, t), [N, K, 3, H, W], and hints whom to trust [N, J, H, W].

    row, column: frames (any range); to_view0: of a pixel of column frame v, its displacement to
    the same point in frame 0; to_time0: the same for row frame t.
    """
    v, t = cells_N2.unbind(1)
    row, column = row_T3HW[t], column_V3HW[v]
    corner = column_V3HW[:1].expand_as(row)
    here = pixel_places(*row.shape[-2:])
    d = to_view0_VHW2[v]
    # Time's displacement of what stands here, looked up where view 0 shows it at time t; then the
    # view's displacement of that very thing, looked up where it stood at time 0.
    e = sample(to_time0_THW2[t].permute(0, 3, 1, 2), here + d).permute(0, 2, 3, 1)
    d_moved = sample(d.permute(0, 3, 1, 2), here + e).permute(0, 2, 3, 1)
    row_seen, corner_seen = sample(torch.cat([row, corner], 1), here + d).split(3, 1)
    said = [
        row,
        column,
        row + column - corner,
        row_seen,
        sample(row, here + d_moved),
        sample(column, here + e),
        column + row_seen - corner_seen,
    ]
    changes = [row - corner, row_seen - corner_seen, column - corner_seen]
    hints = [x.abs().amax(1, keepdim=True) for x in changes]
    width = row.shape[-1]
    hints += [x.permute(0, 3, 1, 2) * (8 / width) for x in (e, d_moved)]
    return torch.stack(said, 1), torch.cat(hints, 1)


def _moved(grid_VTHWC: NDArray, which: int) -> NDArray:
    """One of the candidates that follow displacements, for every hidden cell."""
    out = grid_VTHWC.copy()
    clips = [np.clip(c * 255 + 0.5, 0, 255).astype(np.uint8) for c in (out[0], out[:, 0])]
    row, column = (torch.from_numpy(c).permute(0, 3, 1, 2).float() / 255 for c in clips)
    cells = hidden_cells(*out.shape[:2])
    time_flow, view_flow = (to_first(c, careful=True) for c in clips)
    said, _ = candidates(row, column, view_flow, time_flow, cells)
    out[cells[:, 0], cells[:, 1]] = said[:, which].permute(0, 2, 3, 1).clamp(0, 1).numpy()
    return out


def row_moved(grid_VTHWC: NDArray) -> NDArray:
    """Cell (v, t) = row 0 at t, moved as column 0 moves from view 0 to v."""
    return _moved(grid_VTHWC, 4)


def column_moved(grid_VTHWC: NDArray) -> NDArray:
    """Cell (v, t) = column 0 at v, moved as row 0 moves from time 0 to t."""
    return _moved(grid_VTHWC, 5)


def hidden_cells(views: int, times: int) -> Tensor:
    """(v, t) of every cell outside row 0 and column 0, [N, 2]."""
    v, t = torch.meshgrid(torch.arange(1, views), torch.arange(1, times), indexing="ij")
    return torch.stack([v.flatten(), t.flatten()], 1)
