"""What nodes do, handed on to the points that follow them (N points, M nodes, K nodes a point)."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from fourreal.kernel_threads import run_threaded, take
from fourreal.kernels import njit

_CHUNK = 2048  # rows taken at once


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, spreader):  # type: ignore[override]
        ctx.spreader = spreader
        return spreader.product(spreader.matrix, values)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):  # type: ignore[override]
        return ctx.spreader.product(ctx.spreader.transposed, grad), None


class Spreader:
    """Interpolates node values [M, C] to points [N, C]; linear, differentiable in the values.

    Sparse matrix products, on a CPU by a kernel that is quick about points that follow no node.
    """

    def __init__(self, index_NK: Tensor, weights_NK: Tensor, nodes: int) -> None:
        n, k = index_NK.shape
        rows = torch.arange(n, device=index_NK.device).repeat_interleave(k)
        used = weights_NK.reshape(-1) != 0
        place = torch.stack([rows, index_NK.reshape(-1)])[:, used]
        values = weights_NK.reshape(-1)[used]
        with warnings.catch_warnings():  # torch calls its CSR products beta, once per process
            warnings.simplefilter("ignore", UserWarning)
            matrix = torch.sparse_coo_tensor(place, values, (n, nodes)).coalesce()
            self.matrix = matrix.to_sparse_csr()
            self.transposed = matrix.t().coalesce().to_sparse_csr()

    def __call__(self, values_MC: Tensor) -> Tensor:
        return _Spread.apply(values_MC, self)

    def follow(self, nodes_M: Tensor) -> NDArray[np.bool_]:
        """Which points [N] follow one of these nodes, bool [M]."""
        share = self.product(self.matrix, nodes_M.to(self.matrix.values()).contiguous()[:, None])
        return np.asarray(share[:, 0].cpu() > 0)

    def product(self, matrix: Tensor, values: Tensor) -> Tensor:
        """One of the two matrices times [., C]."""
        if values.is_cuda:
            return matrix @ values.contiguous()
        parts = matrix.crow_indices(), matrix.col_indices(), matrix.values()
        out = values.new_empty(matrix.shape[0], values.shape[1])
        run_threaded(
            torch.get_num_threads(), sparse_product, *(p.numpy() for p in parts),
            values.detach().contiguous().numpy(), out.numpy(),
        )  # fmt: skip
        return out


@njit(nogil=True, cache=True, error_model="numpy")
def sparse_product(counter, start, column, value, dense, out):
    """`out` [R,C]: a matrix of R sparse rows (entries start[r] .. start[r + 1]) times `dense`."""
    count, width = out.shape
    while True:
        begin = take(counter) * _CHUNK
        if begin >= count:
            break
        for r in range(begin, min(begin + _CHUNK, count)):
            for c in range(width):
                out[r, c] = 0
            for k in range(start[r], start[r + 1]):
                weight, row = value[k], column[k]
                for c in range(width):
                    out[r, c] += weight * dense[row, c]
