"""Points carried by nodes that move rigidly, and how far they turn with them.

Legend: N points, M nodes. Node k stands at n_k, moves by u_k and turns by R_k; a point p that
follows nodes with weights w_k moves by

    dp = sum_k w_k ((R_k - I) (p - n_k) + u_k),

and turns by the weighted mean of their quaternions. On a CPU kernels do it, elsewhere torch.
"""

from __future__ import annotations

import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon.motion.spread import Rows, Spreader, product, rows_of
from recon.raster.kernels.threads import run_threaded, take

_CHUNK = 2048  # points taken at once


class NodeTurns:
    """Nodes' places n [M, 3], and their turns R - I as rows [M, 9]; both constant in a gradient."""

    def __init__(self, places_M3: Tensor, turns_M9: Tensor) -> None:
        self.places_M3, self.turns_M9 = places_M3, turns_M9


def carried(points_N3: Tensor, offsets_M3: Tensor, spread: Spreader, nodes: NodeTurns) -> Tensor:
    """dp [N, 3] of points; gradients reach the points and the offsets."""
    return _Carried.apply(points_N3, offsets_M3, spread, nodes)


class _Carried(torch.autograd.Function):
    @staticmethod
    def forward(ctx, points, offsets, spread, nodes):  # type: ignore[override]
        ctx.spread, ctx.nodes = spread, nodes
        if points.is_cuda:
            return _carried_by_torch(points, offsets, spread, nodes)
        return carried_by(spread.rows, points.detach(), offsets.detach(), nodes)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[override]
        spread, turns = ctx.spread, ctx.nodes.turns_M9
        v_offsets = spread.product(spread.transposed, grad)
        if grad.is_cuda:
            blend = spread.product(spread.matrix, turns).unflatten(1, (3, 3))
            return (blend.transpose(1, 2) @ grad[..., None])[..., 0], v_offsets, None, None
        v_points = torch.empty(grad.shape, dtype=grad.dtype)
        arrays = (v.contiguous().numpy() for v in (turns, grad, v_points))
        run_threaded(torch.get_num_threads(), _carry_back, *spread.rows, *arrays)
        return v_points, v_offsets, None, None


def carried_by(rows: Rows, points_N3: Tensor, offsets_M3: Tensor, nodes: NodeTurns) -> Tensor:
    """dp [N, 3] of points on a CPU, without gradients."""
    out = torch.empty(points_N3.shape, dtype=points_N3.dtype)
    given = (points_N3, offsets_M3, nodes.places_M3, nodes.turns_M9, out)
    arrays = (v.contiguous().numpy() for v in given)
    run_threaded(torch.get_num_threads(), _carry, *rows, *arrays)
    return out


def carried_along(
    points_N3: Tensor,
    offsets_M3: Tensor,
    index_NK: Tensor,
    weights_NK: Tensor,
    nodes: NodeTurns,
    turns_M4: Tensor,
) -> tuple[Tensor, Tensor]:
    """dp [N, 3] and unit quaternions [N, 4] of points that follow nodes, without gradients."""
    if points_N3.is_cuda:
        spread = Spreader(index_NK, weights_NK, len(offsets_M3))
        moved = _carried_by_torch(points_N3, offsets_M3, spread, nodes)
        return moved, unit_or_none(spread.product(spread.matrix, turns_M4))
    rows = rows_of(index_NK, weights_NK)
    moved = carried_by(rows, points_N3, offsets_M3, nodes)
    return moved, unit_or_none(product(rows, turns_M4))


def _carried_by_torch(
    points: Tensor, offsets: Tensor, spread: Spreader, nodes: NodeTurns
) -> Tensor:
    turns = nodes.turns_M9.unflatten(1, (3, 3))
    own = offsets - (turns @ nodes.places_M3[..., None])[..., 0]
    blend = spread.product(spread.matrix, torch.cat([nodes.turns_M9, own], 1))
    return (blend[:, :9].unflatten(1, (3, 3)) @ points[..., None])[..., 0] + blend[:, 9:]


@njit(nogil=True, cache=True, error_model="numpy")
def _carry(counter, start, column, weight, points, offsets, places, turns, out):
    """`out` [N,3]: the offsets of `points` [N,3]."""
    count = len(points)
    while True:
        begin = take(counter) * _CHUNK
        if begin >= count:
            break
        for i in range(begin, min(begin + _CHUNK, count)):
            for c in range(3):
                out[i, c] = 0
            for e in range(start[i], start[i + 1]):
                k, w = column[e], weight[e]
                x = points[i, 0] - places[k, 0]
                y = points[i, 1] - places[k, 1]
                z = points[i, 2] - places[k, 2]
                for c in range(3):
                    turned = turns[k, 3 * c] * x + turns[k, 3 * c + 1] * y + turns[k, 3 * c + 2] * z
                    out[i, c] += w * (turned + offsets[k, c])


@njit(nogil=True, cache=True, error_model="numpy")
def _carry_back(counter, start, column, weight, turns, grad, out):
    """`out` [N,3]: what the gradient of the offsets is for the points."""
    count = len(grad)
    while True:
        begin = take(counter) * _CHUNK
        if begin >= count:
            break
        for i in range(begin, min(begin + _CHUNK, count)):
            for c in range(3):
                out[i, c] = 0
            for e in range(start[i], start[i + 1]):
                k, w = column[e], weight[e]
                for c in range(3):
                    for r in range(3):
                        out[i, c] += w * turns[k, 3 * r + c] * grad[i, r]


def unit_or_none(mean_N4: Tensor) -> Tensor:
    """Weighted means of quaternions [N, 4] made unit length; where there is none, no turn."""
    still = (mean_N4.square().sum(1, keepdim=True) < 1e-12).to(mean_N4)
    turn = torch.nn.functional.pad(still, (0, 3))
    return torch.nn.functional.normalize(mean_N4 + turn, dim=1)


def quaternions(rotations_M33: Tensor) -> Tensor:
    """Unit quaternions [M, 4] (w, x, y, z; w >= 0) of rotation matrices (Shepperd's method)."""
    R = rotations_M33
    xx, yy, zz = R[:, 0, 0], R[:, 1, 1], R[:, 2, 2]
    squares = torch.stack(
        [1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz], 1
    )
    a, b, c = R[:, 2, 1] - R[:, 1, 2], R[:, 0, 2] - R[:, 2, 0], R[:, 1, 0] - R[:, 0, 1]
    d, e, f = R[:, 1, 0] + R[:, 0, 1], R[:, 0, 2] + R[:, 2, 0], R[:, 2, 1] + R[:, 1, 2]
    w, x, y, z = squares.unbind(1)
    rows = torch.stack([w, a, b, c, a, x, d, e, b, d, y, f, c, e, f, z], 1).unflatten(
        1, (4, 4)
    )  # each row is the quaternion times one of its own numbers
    best = rows[torch.arange(len(R), device=R.device), squares.argmax(1)]
    best = best * torch.where(best[:, :1] < 0, -1.0, 1.0)
    return torch.nn.functional.normalize(best, dim=1)


def rotation_rows(quaternions_M4: Tensor) -> Tensor:
    """R - I [M, 9], row after row, of unit quaternions."""
    w, x, y, z = quaternions_M4.unbind(1)
    rows = (
        *(-2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), -2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), -2 * (x * x + y * y)),
    )
    return torch.stack(rows, 1)


def unbroken(quaternions_TM4: Tensor, start: int) -> Tensor:
    """The same turns with the signs that make them change least from stamp ``start`` on."""
    out = quaternions_TM4.clone()
    for times in (range(start + 1, len(out)), range(start - 1, -1, -1)):
        step = 1 if len(times) and times[0] > start else -1
        for t in times:
            along = (out[t] * out[t - step]).sum(1, keepdim=True)
            out[t] = torch.where(along < 0, -out[t], out[t])
    return out


def multiplied(first_N4: Tensor, second_N4: Tensor) -> Tensor:
    """Quaternion products [N, 4]: turn by ``second``, then by ``first``; a gradient reaches
    ``second``."""
    return _Multiplied.apply(first_N4, second_N4)


class _Multiplied(torch.autograd.Function):
    @staticmethod
    def forward(ctx, first, second):  # type: ignore[override]
        ctx.first = first
        return _product(first, second, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[override]
        return None, _product(ctx.first, grad, -1)


def _product(first: Tensor, second: Tensor, sign: int) -> Tensor:
    """first (sign 1) or its conjugate (-1) times second."""
    if not first.is_cuda:
        out = torch.empty(first.shape, dtype=first.dtype)
        arrays = (v.detach().contiguous().numpy() for v in (first, second, out))
        run_threaded(torch.get_num_threads(), _multiply, *arrays, sign)
        return out
    a, b, c, d = (first * first.new_tensor([1.0, sign, sign, sign])).unbind(1)
    w, x, y, z = second.unbind(1)
    parts = (
        *(a * w - b * x - c * y - d * z, a * x + b * w + c * z - d * y),
        *(a * y - b * z + c * w + d * x, a * z + b * y - c * x + d * w),
    )
    return torch.stack(parts, 1)


@njit(nogil=True, cache=True, error_model="numpy")
def _multiply(counter, first, second, out, sign):
    """`out` [N,4]: quaternions `first`, conjugated if `sign` is -1, times `second`."""
    count = len(first)
    while True:
        begin = take(counter) * _CHUNK
        if begin >= count:
            break
        for i in range(begin, min(begin + _CHUNK, count)):
            a, b = first[i, 0], sign * first[i, 1]
            c, d = sign * first[i, 2], sign * first[i, 3]
            w, x, y, z = second[i, 0], second[i, 1], second[i, 2], second[i, 3]
            out[i, 0] = a * w - b * x - c * y - d * z
            out[i, 1] = a * x + b * w + c * z - d * y
            out[i, 2] = a * y - b * z + c * w + d * x
            out[i, 3] = a * z + b * y - c * x + d * w
