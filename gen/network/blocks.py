"""The transformer block of the clip model, and what it is told besides its tokens.

Shape legend: B clips, F frames, S patches a frame, N = F*S tokens, D width, L text tokens, h heads,
d values a head.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gen.network.params import DiTParams
from gen.network.rope import Rope, apply_rope


class Context(NamedTuple):
    """Everything a block needs besides its tokens."""

    cond_BD: Tensor  # embedding of sigma, mode and pooled text
    mod_B6D: Tensor | None  # the shared modulation; None when every block projects its own
    text_BLD: Tensor
    text_mask_BL: Tensor  # True where there is a word
    rope: Rope
    sees: Tensor | None = None  # [F, seen]: the frames whose tokens a frame's see; None: all

    def repeat(self, times: int) -> Context:
        """The same context for `times` clips per batch entry (clips of one entry are adjacent)."""

        def rep(x: Tensor) -> Tensor:
            return x.repeat_interleave(times, 0)

        mod = None if self.mod_B6D is None else rep(self.mod_B6D)
        return self._replace(
            cond_BD=rep(self.cond_BD),
            mod_B6D=mod,
            text_BLD=rep(self.text_BLD),
            text_mask_BL=rep(self.text_mask_BL),
        )

    def part(self, clips: slice) -> Context:
        """The context of some of the clips."""
        return self._replace(
            cond_BD=self.cond_BD[clips],
            mod_B6D=None if self.mod_B6D is None else self.mod_B6D[clips],
            text_BLD=self.text_BLD[clips],
            text_mask_BL=self.text_mask_BL[clips],
        )


def rms_norm(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """x / rms(x) over the last axis, optionally scaled."""
    return F.rms_norm(x, x.shape[-1:], weight, eps=1e-6)


def attend_among_frames(q: Tensor, k: Tensor, v: Tensor, sees: Tensor) -> Tensor:
    """Attention of each frame's tokens to the frames it sees: [B, h, N, d] -> [B, N, D].

    sees: [F, seen], the frames whose keys are gathered, so that nothing is computed only to be
    masked.
    """
    frames = len(sees)

    def seen(x: Tensor) -> Tensor:
        by_frame = x.unflatten(2, (frames, -1)).transpose(1, 2)  # [B, F, h, S, d]
        return by_frame[:, sees].transpose(2, 3).flatten(3, 4).flatten(0, 1)

    one = q.unflatten(2, (frames, -1)).transpose(1, 2)
    y = F.scaled_dot_product_attention(one.flatten(0, 1), seen(k), seen(v))
    return y.transpose(1, 2).flatten(2).reshape(len(q), -1, q.shape[1] * q.shape[3])


class SelfAttention(nn.Module):
    """Attention among the tokens of one clip, QK-normalised, with rotary positions."""

    def __init__(self, params: DiTParams):
        super().__init__()
        d = params.width
        self.heads = params.heads
        # Separate matrices rather than one fused qkv: Muon orthogonalises each on its own.
        self.q, self.k, self.v = (nn.Linear(d, d, bias=False) for _ in range(3))
        self.out = nn.Linear(d, d, bias=False)
        self.q_norm = nn.Parameter(torch.ones(params.head_dim))
        self.k_norm = nn.Parameter(torch.ones(params.head_dim))

    def forward(self, x_BND: Tensor, rope: Rope, sees: Tensor | None = None) -> Tensor:
        q, k, v = (m(x_BND).unflatten(-1, (self.heads, -1)) for m in (self.q, self.k, self.v))
        q = apply_rope(rms_norm(q, self.q_norm), rope).transpose(1, 2)
        k = apply_rope(rms_norm(k, self.k_norm), rope).transpose(1, 2)
        v = v.transpose(1, 2)
        if sees is not None:
            return self.out(attend_among_frames(q, k, v, sees))
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Attention from frame tokens to the words of the prompt."""

    def __init__(self, params: DiTParams):
        super().__init__()
        d = params.width
        self.heads = params.heads
        self.norm = nn.Parameter(torch.ones(d))
        self.q = nn.Linear(d, d, bias=False)
        self.k = nn.Linear(params.text_width, d, bias=False)
        self.v = nn.Linear(params.text_width, d, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        self.q_norm = nn.Parameter(torch.ones(params.head_dim))
        self.k_norm = nn.Parameter(torch.ones(params.head_dim))

    def forward(self, x_BND: Tensor, text_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q = rms_norm(split(self.q(rms_norm(x_BND, self.norm))), self.q_norm)
        k = rms_norm(split(self.k(text_BLD)), self.k_norm)
        v = split(self.v(text_BLD))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_BL[:, None, None, :])
        return self.out(y.transpose(1, 2).flatten(2))


class SwiGLU(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """y = x + Delta(x): one transformer block (Eq. 4), modulated by sigma, mode and pooled text."""

    def __init__(self, params: DiTParams):
        super().__init__()
        d = params.width
        self.attn = SelfAttention(params)
        self.cross = CrossAttention(params)
        self.mlp = SwiGLU(d, params.mlp_hidden)
        if params.shared_adaln:
            self.mod_bias = nn.Parameter(torch.zeros(6, d))
        else:
            self.mod = nn.Linear(d, 6 * d)
            nn.init.zeros_(self.mod.weight)
            nn.init.zeros_(self.mod.bias)

    def modulation(self, ctx: Context) -> Tensor:
        if ctx.mod_B6D is not None:
            return ctx.mod_B6D + self.mod_bias
        cond_BD = F.silu(ctx.cond_BD).to(self.mod.weight.dtype)
        return self.mod(cond_BD).unflatten(-1, (6, -1))

    def forward(self, x_BND: Tensor, ctx: Context) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(ctx)[
            :, :, None
        ].unbind(1)
        # Gates are offset by one rather than zero-initialised: the zero head already makes the
        # untrained network output a constant, and open gates learn faster from the first step.
        x = x_BND
        a = self.attn(rms_norm(x) * (1 + scale_a) + shift_a, ctx.rope, ctx.sees)
        x = x + (1 + gate_a) * a
        x = x + self.cross(x, ctx.text_BLD, ctx.text_mask_BL)
        m = self.mlp(rms_norm(x) * (1 + scale_m) + shift_m)
        return x + (1 + gate_m) * m
