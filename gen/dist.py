"""Distributed training through torchrun; every function is a no-op when RANK is not set."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def setup() -> tuple[int, int, torch.device]:
    """(rank, world size, device); joins the process group that torchrun describes, if any."""
    cuda = torch.cuda.is_available()
    if "RANK" not in os.environ:
        return 0, 1, torch.device("cuda" if cuda else "cpu")
    dist.init_process_group("nccl" if cuda else "gloo")
    device = torch.device("cpu")
    if cuda:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    return dist.get_rank(), dist.get_world_size(), device


def wrap(module: nn.Module) -> nn.Module:
    """`module` under DDP when a process group exists, else itself."""
    if not dist.is_initialized():
        return module
    return DistributedDataParallel(module)


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
    if dist.is_initialized():
        dist.destroy_process_group()
