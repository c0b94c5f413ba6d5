"""The completion network: per pixel, how much to trust which rule, and what all of them miss.

A small convolutional U-Net over one cell's candidates, hints and the corner frame.  It answers with
weights for the candidates and a small correction, so what it has never seen passes through: colours
are mixed from what is given, not remembered.

Shape legend: N cells, K candidates, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gen.completion.rules import CANDIDATES, HINTS

FACTOR = 8  # sides must be multiples of it; `CompletionNet.forward` pads
PRIOR = (-2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)  # of the candidates' weights, before training


@dataclass(frozen=True)
class CompletionParams:
    """Channels at a half, a quarter and an eighth of the size; residual blocks at each."""

    widths: tuple[int, int, int] = (48, 96, 144)
    blocks: int = 1

    def __post_init__(self) -> None:
        if len(self.widths) != 3 or any(w % 8 or not 8 <= w <= 2048 for w in self.widths):
            raise ValueError(f"got widths {self.widths}, expected three multiples of 8 up to 2048")
        if not 1 <= self.blocks <= 32:
            raise ValueError(f"got {self.blocks} blocks, expected 1..32")


class Residual(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x))))))."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class Everywhere(nn.Module):
    """Self-attention over all places of the coarsest level."""

    def __init__(self, width: int, heads: int = 4):
        super().__init__()
        self.norm, self.heads = nn.GroupNorm(8, width), heads
        self.qkv, self.out = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        q, k, v = (
            self.qkv(self.norm(x)).reshape(n, 3, self.heads, -1, h * w).transpose(3, 4).unbind(1)
        )
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(2, 3).reshape(n, c, h, w))


class CompletionNet(nn.Module):
    """Candidates of cells -> the cells."""

    def __init__(self, params: CompletionParams | None = None):
        super().__init__()
        self.params = params or CompletionParams()
        a, b, c = self.params.widths
        n = self.params.blocks
        channels = 3 * (CANDIDATES + 1) + HINTS + 2

        def blocks(width: int) -> nn.Sequential:
            return nn.Sequential(*(Residual(width) for _ in range(n)))

        self.enter = nn.Conv2d(4 * channels, a, 3, padding=1)
        self.down1, self.to2 = blocks(a), nn.Conv2d(a, b, 3, stride=2, padding=1)
        self.down2, self.to3 = blocks(b), nn.Conv2d(b, c, 3, stride=2, padding=1)
        self.middle = nn.Sequential(blocks(c), Everywhere(c), blocks(c))
        self.from3, self.up2 = nn.Conv2d(c, 4 * b, 1), blocks(b)
        self.from2, self.up1 = nn.Conv2d(b, 4 * a, 1), blocks(a)
        self.leave = nn.Conv2d(a, 4 * (CANDIDATES + 3), 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]
        # What a single pixel tells, without the way through the levels.
        self.glance = nn.Sequential(
            nn.Conv2d(channels, 32, 1), nn.SiLU(), nn.Conv2d(32, CANDIDATES, 1)
        )
        self.prior: Tensor
        self.register_buffer("prior", torch.tensor(PRIOR)[:, None, None], persistent=False)

    def weigh(
        self, candidates_NK3HW: Tensor, hints_NJHW: Tensor, corner_3HW: Tensor, place_N2: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Trust in the candidates [N, K, H, W], summing to 1, and a correction [N, 3, H, W].

        candidates in [-1, 1] and hints as `rules.candidates` gives them; corner: the frame that
        row and column share, one for all cells or one each; place: (v, t) of the cells as shares
        of the window, 0..1.
        """
        n, k, _, height, width = candidates_NK3HW.shape
        corner = corner_3HW.expand(n, 3, height, width)
        place = place_N2[:, :, None, None].expand(n, 2, height, width)
        parts = [candidates_NK3HW.flatten(1, 2), corner, hints_NJHW, place.to(corner.dtype)]
        x = torch.cat(parts, 1)
        glance = self.glance(x)
        x = F.pad(x, (0, -width % FACTOR, 0, -height % FACTOR), mode="replicate")
        x1 = self.down1(self.enter(F.pixel_unshuffle(x, 2)))
        x2 = self.down2(self.to2(x1))
        x3 = self.middle(self.to3(x2))
        x2 = self.up2(x2 + F.pixel_shuffle(self.from3(x3), 2))
        x1 = self.up1(x1 + F.pixel_shuffle(self.from2(x2), 2))
        out = F.pixel_shuffle(self.leave(F.silu(x1)), 2)[..., :height, :width]
        return (4 * (out[:, :k] + glance) + self.prior).softmax(1), out[:, k:]

    def forward(
        self, candidates_NK3HW: Tensor, hints_NJHW: Tensor, corner_3HW: Tensor, place_N2: Tensor
    ) -> Tensor:
        """Cells [N, 3, H, W] in about [-1, 1]; arguments as of `weigh`."""
        trust, correction = self.weigh(candidates_NK3HW, hints_NJHW, corner_3HW, place_N2)
        return mix(candidates_NK3HW, trust, correction)


def _like(x_NChw: Tensor, other: Tensor) -> Tensor:
    """Maps at the size of others."""
    if x_NChw.shape[-2:] == other.shape[-2:]:
        return x_NChw
    return F.interpolate(x_NChw, other.shape[-2:], mode="bilinear", align_corners=False)


def mix(candidates_NK3HW: Tensor, trust_NKhw: Tensor, correction_N3hw: Tensor) -> Tensor:
    """Candidates of any size [N, K, 3, H, W] mixed by trust of the same or a smaller one."""
    trust, correction = (_like(x, candidates_NK3HW) for x in (trust_NKhw, correction_N3hw))
    return (trust[:, :, None] * candidates_NK3HW).sum(1) + correction


def spread(candidates_NK3HW: Tensor, trust_NKhw: Tensor) -> Tensor:
    """Mean absolute distance of the candidates from their mixture, by trust: [N, 1, H, W]."""
    trust = _like(trust_NKhw, candidates_NK3HW)
    mean = (trust[:, :, None] * candidates_NK3HW).sum(1, keepdim=True)
    far = (candidates_NK3HW - mean).abs().mean(2)
    return (trust * far).sum(1, keepdim=True)
