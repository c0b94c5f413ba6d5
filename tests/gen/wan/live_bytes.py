"""Most bytes of tensors alive at once, counted operation by operation.

Works on the meta device too, so that a network of full size is counted without computing anything;
what kernels take for themselves is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make, while they are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        old = {x.untyped_storage()._cdata for x in self._tensors((args, kwargs))}
        out = func(*args, **(kwargs or {}))
        for x in self._tensors(out):
            storage = x.untyped_storage()
            if storage._cdata in old or storage._cdata in self._seen:
                continue
            self._seen.add(storage._cdata)
            self.now += storage.nbytes()
            weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return out

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size

    @staticmethod
    def _tensors(tree: Any) -> list[torch.Tensor]:
        return [x for x in tree_leaves(tree) if isinstance(x, torch.Tensor)]


def live_bytes(call: Callable[[], object]) -> int:
    """Peak of a call without gradients."""
    with torch.no_grad(), LiveBytes() as counter:
        call()
    return counter.peak
