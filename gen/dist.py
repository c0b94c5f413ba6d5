"""Distributed training through torchrun; every function is a no-op when RANK is not set.

A batch is drawn for all processes together and each takes its share of the items, so the same
command trains the same model on any number of processes.  Parameters are either whole on every
process (DDP) or sharded (`fully_shard`, on CUDA and on CPU through gloo alike); `full` and
`copy_into` are the only places that know which.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel

from fourreal import console

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor
    from typing_extensions import TypeIs

# The group in which rendered data is exchanged: a thread may draw the next batch while gradients
# travel through the main group.  None without processes.
_data_group: dist.ProcessGroup | None = None


def setup() -> tuple[int, int, torch.device]:
    """(rank, world size, device); joins the process group that torchrun describes, if any."""
    global _data_group
    cuda = torch.cuda.is_available()
    if "RANK" not in os.environ:
        return 0, 1, torch.device("cuda" if cuda else "cpu")
    device = torch.device("cpu")
    if cuda:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo")
    _data_group = dist.new_group(backend="gloo")
    return dist.get_rank(), dist.get_world_size(), device


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def say(message: str) -> None:
    """Print a line, from the first process alone."""
    if rank() == 0:
        console.say(message)


def warn(message: str) -> None:
    """Print a warning, from the first process alone."""
    if rank() == 0:
        console.warn(message)


def share(count: int) -> range:
    """This process's items of a batch of `count`; ValueError unless the processes divide it."""
    if count % world():
        raise ValueError(f"a batch of {count} does not split evenly over {world()} processes")
    each = count // world()
    return range(rank() * each, (rank() + 1) * each)


RENDER_PARTS = 8


def render_shared(n: int, shape: Iterable[int], draw: Callable[[slice], Tensor]) -> Tensor:
    """uint8 [n, *shape] of which every process draws some parts and then holds all.

    The (at most 8) parts are the same for any number of processes, so the result is too, bit for
    bit.  All processes must call this together.
    """
    out = torch.zeros(n, *shape, dtype=torch.uint8)
    size = -(-n // RENDER_PARTS)
    for number, start in enumerate(range(0, n, size)):
        if number % world() == rank():
            out[start : start + size] = draw(slice(start, start + size)).cpu()
    if dist.is_initialized():
        dist.all_reduce(out, group=_data_group)
    return out


def wrap(module: nn.Module) -> nn.Module:
    """`module` under DDP when a process group exists, else itself."""
    if not dist.is_initialized():
        return module
    return DistributedDataParallel(module)


def shard(module: nn.Module, blocks: Iterable[nn.Module]) -> nn.Module:
    """Shard the parameters of `module` over the processes, in place, each block on its own.

    Parameters become DTensors: make optimisers afterwards.  A no-op without a process group.
    """
    if not dist.is_initialized():
        return module
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (world(),))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    # The root is resharded too: else weights swapped in for sampling would not be seen.
    fully_shard(module, mesh=mesh, reshard_after_forward=True)
    return module


@contextmanager
def without_gradient_sync(model: nn.Module) -> Iterator[None]:
    """Gradients of backward passes inside stay on their process (all but the last piece of a
    batch that is computed piece by piece)."""
    if isinstance(model, DistributedDataParallel):
        with model.no_sync():
            yield
    elif is_sharded(model):
        from torch.distributed.fsdp import FSDPModule

        assert isinstance(model, FSDPModule)
        model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            model.set_requires_gradient_sync(True)
    else:
        yield


def is_sharded(module: nn.Module) -> bool:
    return any(_is_shard(p) for p in module.parameters())


def _is_shard(value: object) -> TypeIs[DTensor]:
    """Whether it is a DTensor; while their module, which takes a second to load, is not, there is
    none."""
    loaded = sys.modules.get("torch.distributed.tensor")
    return isinstance(value, getattr(loaded, "DTensor", ()))


def full(value: Any) -> Any:
    """The whole tensor of a shard; anything else as it is, looked for inside dicts and lists.

    All processes must call this together.
    """
    if _is_shard(value):
        return value.full_tensor().detach()
    if isinstance(value, dict):
        return {k: full(v) for k, v in value.items()}
    if isinstance(value, list):
        return [full(v) for v in value]
    return value


def like(whole: Tensor, other: Tensor) -> Tensor:
    """`whole`, sharded as `other` is; all processes must call this together."""
    if not _is_shard(other):
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole.to(other.device), other.device_mesh, other.placements)


@torch.no_grad()
def copy_into(target: Tensor, whole: Tensor) -> None:
    """Set a parameter, sharded or not, to a whole tensor; ValueError when the shapes differ."""
    if target.shape != whole.shape:
        raise ValueError(f"got {list(whole.shape)}, expected {list(target.shape)}")
    target.copy_(like(whole, target))


def mean_over_ranks(value: Tensor) -> Tensor:
    """Average of a scalar over the processes."""
    if not dist.is_initialized():
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value / dist.get_world_size()


def any_rank(flag: bool, device: torch.device) -> bool:
    """True when it is true on some process (so that all of them stop together)."""
    if not dist.is_initialized():
        return flag
    value = torch.tensor(float(flag), device=device)
    dist.all_reduce(value)
    return bool(value > 0)


def cleanup() -> None:
    """Leave the process group, if there is one."""
    global _data_group
    _data_group = None
    if dist.is_initialized():
        dist.destroy_process_group()
