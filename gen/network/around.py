"""A network for clips as a sampler wants it, around the frames of a clip that are given."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gen.flow.rectified import keep_known
from gen.flow.samplers import CleanModel
from gen.network.base import BaseModel
from gen.network.dit import Mode


class Given(NamedTuple):
    """What is known: clean [1, ..., H, W, 3] where known [1, ...]."""

    clean: Tensor
    known: Tensor


def clip_model(
    network: BaseModel, given: Given, index_F: Tensor, mode: Mode, text: Tensor, mask: Tensor
) -> CleanModel:
    """Clean frames [1, F, H, W, 3] of one clip; given ones go in and come out as they are."""
    mode_B = torch.full((1,), int(mode), device=network.device)

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        x = keep_known(x, given.clean, given.known)
        out = network.dit(x, given.known, sigma.reshape(1), mode_B, text, mask, index_F)
        return keep_known(out, given.clean, given.known)

    return model
