"""What a clip shows was seen in its first frame: every pixel may be copied from there, displaced.

A small network draws each frame anew from its tokens, a patch through a few numbers, and loses legs
and grain that its first frame has.  So a second head says, for every 2 x 2 pixels of a frame, where
in the first frame they were and how far to trust that; the rest is drawn.  Ours, not in the paper
(views that are warped, occlusions that are drawn: as in first-order motion models,
arXiv:2003.00196).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gen.network.patches import unpatchify
from gen.warp import pixel_places, sample

CELL = 2  # pixels of a side that share a displacement
PIXELS = 8.0  # displacement that an output of 1 stands for
_START = -1.0  # logit of the share that is copied, before training
_DRAWN = 0.1  # what a frame that copies nothing counts where two are averaged: this share
_SURER = 4  # power of the share: how far the surer of two frames decides


class CopyHead(nn.Module):
    """Tokens -> displacement and share of what is copied from the first frame."""

    def __init__(self, width: int, patch: int):
        """ValueError when a patch does not split into cells."""
        super().__init__()
        if patch % CELL:
            raise ValueError(f"patch {patch} must be a multiple of {CELL}")
        self.side = patch // CELL
        self.out = nn.Linear(width, self.side * self.side * 3)

    def reset_parameters(self) -> None:
        """Nothing is displaced, a quarter is copied."""
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            self.out.bias.view(-1, 3)[:] = torch.tensor([0.0, 0.0, _START])

    def forward(self, tok_BND: Tensor, frames: int, height: int, width: int) -> Tensor:
        """[B, F, H, W, 3]: x and y of the place in the first frame relative to the pixel's own, in
        pixels, and the share 0..1 that is copied."""
        out = self.out(tok_BND)
        cells = unpatchify(out, self.side, frames, height // CELL, width // CELL).flatten(0, 1)
        maps = interpolate(cells.permute(0, 3, 1, 2), size=(height, width), mode="bilinear")
        maps = torch.cat([maps[:, :2] * PIXELS, maps[:, 2:].sigmoid()], dim=1)
        return maps.permute(0, 2, 3, 1).unflatten(0, (-1, frames))


def displaced(first_BHWC: Tensor, by_BFHW2: Tensor) -> Tensor:
    """The first frame as every frame sees it [B, F, H, W, C]; beyond its border, the border."""
    _, f, h, w, _ = by_BFHW2.shape
    places = pixel_places(h, w).to(by_BFHW2) + by_BFHW2
    # Frames of a clip below each other: one picture a clip is sampled once.
    seen = sample(first_BHWC.permute(0, 3, 1, 2), places.flatten(1, 2), "bicubic")
    return seen.permute(0, 2, 3, 1).unflatten(1, (f, h))


def copied_share(maps_BFHW3: Tensor, given_B: Tensor) -> Tensor:
    """Share of every pixel that is copied [B, F, H, W, 1]: nothing in clips whose first frame is
    not given."""
    return maps_BFHW3[..., 2:] * given_B[:, None, None, None, None]


def mix_copied(
    drawn_BFHWC: Tensor, first_BHWC: Tensor, maps_BFHW3: Tensor, given_B: Tensor
) -> Tensor:
    """Drawn frames with their copied share put in, in clips whose first frame is given."""
    share = copied_share(maps_BFHW3, given_B)
    return drawn_BFHWC + share * (displaced(first_BHWC, maps_BFHW3[..., :2]) - drawn_BFHWC)


def surer_mean(one: Tensor, other: Tensor, share_of_one: Tensor, share_of_other: Tensor) -> Tensor:
    """Two frames of one cell [..., C] as one: where they differ, mostly that which copies more
    (shares [..., 1] as in `CopyHead`).  A mean would show what both copied, twice."""
    a, b = (share_of_one + _DRAWN) ** _SURER, (share_of_other + _DRAWN) ** _SURER
    return other + a / (a + b) * (one - other)
