"""How Gaussians turn with what they sit on: turns of nodes, handed on to the shapes of points.

A turn by an angle about a unit axis is kept as its Gibbs vector g = axis * tan(angle / 2), which
is the quaternion (1, g) but for its length. So no turn is 0, turns of several nodes are blended by
weighted sums, as their offsets are, and nothing has to be normalised; half a turn is out of reach.
Legend: N Gaussians, T time stamps, M nodes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourreal.kernel_threads import run_threaded, take
from fourreal.kernels import njit

_CHUNK = 2048  # rows taken at once


def turned(rotations_N4: Tensor, turns_N3: Tensor) -> Tensor:
    """Quaternions [N,4] (w, x, y, z) turned by Gibbs vectors [N,3]; their length may be any."""
    if rotations_N4.is_cuda:
        return _by_torch(rotations_N4, turns_N3)
    return _Turned.apply(rotations_N4, turns_N3)


def _by_torch(rotations_N4: Tensor, turns_N3: Tensor) -> Tensor:
    real, imaginary = rotations_N4[:, :1], rotations_N4[:, 1:]
    w = real - (turns_N3 * imaginary).sum(1, keepdim=True)
    xyz = imaginary + real * turns_N3 + torch.linalg.cross(turns_N3, imaginary, dim=1)
    return torch.cat([w, xyz], 1)


class _Turned(torch.autograd.Function):
    """By kernels: a step of a fit would spend more time on the many small tensors."""

    @staticmethod
    def forward(ctx, rotations, turns):  # type: ignore[override]
        ctx.save_for_backward(rotations, turns)
        given = [v.detach().contiguous() for v in (rotations, turns)]
        out = torch.empty_like(given[0])
        _run(turn_rows, *given, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[override]
        given = [v.detach().contiguous() for v in ctx.saved_tensors]
        out = [torch.empty_like(v) for v in given]
        _run(turn_rows_backward, *given, grad.contiguous(), *out)
        return tuple(out)


def _run(kernel: Callable, *tensors: Tensor) -> None:
    run_threaded(torch.get_num_threads(), kernel, *(v.numpy() for v in tensors))


@njit(nogil=True, forceinline=True)
def turn_forth(quaternion, turn):
    """The product (1, g) q."""
    w, x, y, z = quaternion
    a, b, c = turn
    return (
        w - a * x - b * y - c * z,
        x + w * a + b * z - c * y,
        y + w * b + c * x - a * z,
        z + w * c + a * y - b * x,
    )


@njit(nogil=True, forceinline=True)
def turn_back(quaternion, turn, slopes):
    """What slopes of `turn_forth` are for the quaternion and for the turn."""
    w, x, y, z = quaternion
    a, b, c = turn
    p, q, r, s = slopes
    of_quaternion = (
        p + a * q + b * r + c * s,
        q - a * p + c * r - b * s,
        r - b * p + a * s - c * q,
        s - c * p + b * q - a * r,
    )
    return of_quaternion, (
        w * q - x * p + y * s - z * r,
        w * r - y * p + z * q - x * s,
        w * s - z * p + x * r - y * q,
    )


@njit(nogil=True, cache=True, error_model="numpy")
def turn_rows(counter, rotations, turns, out):
    """`out` [N,4]: the products (1, g) q of quaternions."""
    count = len(rotations)
    while True:
        begin = take(counter) * _CHUNK
        if begin >= count:
            break
        for i in range(begin, min(begin + _CHUNK, count)):
            q = rotations[i, 0], rotations[i, 1], rotations[i, 2], rotations[i, 3]
            now = turn_forth(q, (turns[i, 0], turns[i, 1], turns[i, 2]))
            for k in range(4):
                out[i, k] = now[k]


@njit(nogil=True, cache=True, error_model="numpy")
def turn_rows_backward(counter, rotations, turns, grad, to_rotations, to_turns):
    """What `grad` [N,4] of the products is for the quaternions [N,4] and the turns [N,3]."""
    count = len(rotations)
    while True:
        begin = take(counter) * _CHUNK
        if begin >= count:
            break
        for i in range(begin, min(begin + _CHUNK, count)):
            q = rotations[i, 0], rotations[i, 1], rotations[i, 2], rotations[i, 3]
            slopes = grad[i, 0], grad[i, 1], grad[i, 2], grad[i, 3]
            turn = turns[i, 0], turns[i, 1], turns[i, 2]
            of_quaternion, of_turn = turn_back(q, turn, slopes)
            for k in range(4):
                to_rotations[i, k] = of_quaternion[k]
            for k in range(3):
                to_turns[i, k] = of_turn[k]


def composed(then_3: Tensor, first_3: Tensor) -> Tensor:
    """The turn ``then`` after ``first``, Gibbs vectors [..., 3], as one; not of half a turn."""
    lost = 1 - (then_3 * first_3).sum(-1, keepdim=True)
    return (then_3 + first_3 + torch.linalg.cross(then_3, first_3, dim=-1)) / lost


def turn_between(from_4: Tensor, to_4: Tensor) -> Tensor:
    """Gibbs vectors [..., 3] that turn quaternions into others [..., 4] (w, x, y, z).

    Less than half a turn apart; the sign and the length of quaternions do not matter.
    """
    w, xyz = from_4[..., :1], from_4[..., 1:]
    real = (from_4 * to_4).sum(-1, keepdim=True)
    rest = w * to_4[..., 1:] - to_4[..., :1] * xyz - torch.linalg.cross(to_4[..., 1:], xyz, dim=-1)
    return rest / real
