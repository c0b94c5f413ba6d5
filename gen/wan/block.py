"""One Wan transformer block over the tokens of a clip, told its noise level frame by frame.

The library's own block takes one noise level a clip, or one a token: 37 kB a token at 1.3 B, more
than everything else together.  Known latents are clean and the others are not, so we need one a
*frame*: the sub-modules of the library's block are therefore called here, in its order.  A contract
test holds this against the library's forward.

Shape legend: B clips, F frames (latents) of a clip, S tokens a frame, N = F*S, D width, h heads,
d values a head, L text tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gen.network.blocks import attend_among_frames

ADAPTED = ("to_q", "to_k", "to_v", "to_out")  # the matrices of self-attention


class WanContext(NamedTuple):
    """What a clip's blocks are told besides its tokens."""

    mod_BF6D: Tensor  # float32: shift, scale and gate of attention, then of the feed-forward part
    text_BLD: Tensor
    rotation: Tensor  # complex [N, d/2]
    adapt: bool = False  # with the column stream's low-rank matrices
    sees: Tensor | None = None  # [F, seen]: the frames whose tokens a frame's see; None: all

    def part(self, clips: slice) -> WanContext:
        """The context of some of the clips."""
        return self._replace(mod_BF6D=self.mod_BF6D[clips], text_BLD=self.text_BLD[clips])


class LowRank(nn.Module):
    """x -> up(down(x)), to be added to a frozen matrix; starts at 0."""

    def __init__(self, width: int, rank: int):
        super().__init__()
        self.down = nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=False)
        nn.init.normal_(self.down.weight, std=rank**-0.5)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x))


class FrameBlock(nn.Module):
    """A library block (`WanTransformerBlock`), kept as it is, and our low-rank matrices."""

    def __init__(self, block: Any, width: int, lora_rank: int = 0):
        """lora_rank: of the matrices added to self-attention where `ctx.adapt`; 0: none."""
        super().__init__()
        self.block = block
        self.lora = nn.ModuleDict()
        if lora_rank:
            self.lora.update({name: LowRank(width, lora_rank) for name in ADAPTED})

    def _project(self, name: str, x: Tensor, adapt: bool) -> Tensor:
        layer = getattr(self.block.attn1, name)
        y = (layer[0] if name == "to_out" else layer)(x)
        return y + self.lora[name](x) if adapt and name in self.lora else y

    def self_attention(self, x_BND: Tensor, ctx: WanContext) -> Tensor:
        """Self-attention of the block among a clip's tokens."""
        attn = self.block.attn1
        q, k, v = (self._project(name, x_BND, ctx.adapt) for name in ADAPTED[:3])
        q, k, v = (
            x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for x in (attn.norm_q(q), attn.norm_k(k), v)
        )
        q, k = (rotate(x, ctx.rotation).to(v.dtype) for x in (q, k))
        if ctx.sees is not None:
            y = attend_among_frames(q, k, v, ctx.sees)
        else:
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self._project("to_out", y, ctx.adapt)

    def forward(self, x_BND: Tensor, ctx: WanContext) -> Tensor:
        """x + Delta(x): tokens [B, N, D] in, tokens out."""
        block, dtype = self.block, x_BND.dtype
        frames = ctx.mod_BF6D.shape[1]
        mod = block.scale_shift_table.float() + ctx.mod_BF6D.float()
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = mod[:, :, None].unbind(3)  # [B,F,1,D]

        def by_frame(x: Tensor) -> Tensor:
            return x.float().unflatten(1, (frames, -1))

        x = x_BND
        a = (by_frame(block.norm1(x.float())) * (1 + scale_a) + shift_a).flatten(1, 2).to(dtype)
        a = self.self_attention(a, ctx)
        x = (x.float() + (by_frame(a) * gate_a).flatten(1, 2)).to(dtype)
        x = x + block.attn2(block.norm2(x.float()).to(dtype), ctx.text_BLD, None, None)
        m = (by_frame(block.norm3(x.float())) * (1 + scale_m) + shift_m).flatten(1, 2).to(dtype)
        return (x.float() + (by_frame(block.ffn(m)) * gate_m).flatten(1, 2)).to(dtype)


def rotate(x_BhNd: Tensor, rotation: Tensor) -> Tensor:
    """Turn neighbouring pairs of values by the complex factors [N, d/2]; float32 out."""
    pairs = torch.view_as_complex(x_BhNd.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * rotation).flatten(-2)
