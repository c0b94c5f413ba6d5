"""Run a nogil numba kernel on several threads that share one work counter.

A kernel takes the counter (int64 [1]) first and asks `take(counter)` for the number of its next
piece of work until the pieces run out. Which thread did a piece never shows in the result, so
results are the same for any number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_pools: dict[int, ThreadPoolExecutor] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)  # threads do not survive a fork


@intrinsic
def take(typingctx, counter):
    """Atomically return counter[0] and add one to it."""

    def codegen(context, builder, signature, args):
        array = cgutils.create_struct_proxy(signature.args[0])(context, builder, args[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), codegen


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cores() -> int:
    """Threads that compiled loops use when nothing else is said: those cores, at most 8."""
    return min(8, usable_cores())


def run_threaded(threads: int, kernel: Callable, *args: Any) -> None:
    """Run `kernel(counter, *args)` on the calling thread and up to `threads` - 1 others.

    Workers that have not started when the caller runs out of work are cancelled: on a busy
    machine nobody waits for a thread that is not being scheduled.
    """
    counter = np.zeros(1, np.int64)
    futures = []
    if threads > 1:
        pool = _pools.get(threads)
        if pool is None:
            pool = _pools[threads] = ThreadPoolExecutor(threads - 1, "kernel")
        futures = [pool.submit(kernel, counter, *args) for _ in range(threads - 1)]
    kernel(counter, *args)
    for future in futures:
        if not future.cancel():
            future.result()
