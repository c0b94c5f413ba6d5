"""Pixel-space diffusion transformer over one clip of frames; the base model of both streams.

A clip is either a fixed-view video (frames run over time) or a freeze-time video (frames run
over viewpoints); which one it is, is told by a learned context embedding (paper 3.1), never by
position.  The network is usable whole (`DiT.forward`) and block by block (`embed`, `condition`,
`blocks[l]`, `frames`), so that `gen.sync.two_stream` runs the same weights over rows and columns.

Shape legend: B clips, F frames, S patches a frame, N = F*S tokens, D width, L text tokens,
H W pixels, C channels.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gen.network.blocks import Block, Context, rms_norm
from gen.network.copying import CopyHead, mix_copied
from gen.network.params import DiTParams
from gen.network.patches import patchify, unpatchify
from gen.network.rope import Rope, rope_table


class Mode(IntEnum):
    """What the frames of a clip run over: the learned context of paper 3.1."""

    DYNAMIC = 0  # fixed viewpoint, time runs (a row of the grid)
    FREEZE_TIME = 1  # frozen time, the viewpoint moves (a column of the grid)


PLACE_FEATURES = 16


def place_features(index_F: Tensor) -> Tensor:
    """Sinusoidal features [F, 16] of a frame's place in its clip, 0 at the first frame."""
    freq = math.pi * 2.0 ** -torch.arange(PLACE_FEATURES // 2, device=index_F.device)
    angle = index_F[:, None].float() * freq
    return torch.cat([angle.cos() - 1, angle.sin()], dim=-1)


def sigma_features(sigma_B: Tensor, dim: int) -> Tensor:
    """Sinusoidal features of the noise level in [0, 1]: [B] -> [B, dim]."""
    freq = torch.exp(torch.linspace(0.0, math.log(1000.0), dim // 2, device=sigma_B.device))
    angle = sigma_B[:, None].float() * freq
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class DiT(nn.Module):
    """Predicts the clean frames of a clip from noisy ones, a text and some clean known frames."""

    def __init__(self, params: DiTParams):
        super().__init__()
        self.params = params
        d, p = params.width, params.patch
        in_dim = p * p * (3 + 1 + params.extra_channels)
        self.patch_in = nn.Linear(in_dim, params.bottleneck, bias=False)
        self.patch_out = nn.Linear(params.bottleneck, d)
        if params.reference:
            self.reference_in = nn.Linear(p * p * 4, params.bottleneck, bias=False)
        if params.frame_place:
            self.place = nn.Linear(PLACE_FEATURES, d, bias=False)
        self.sigma_mlp = nn.Sequential(nn.Linear(128, d), nn.SiLU(), nn.Linear(d, d))
        self.mode = nn.Embedding(len(Mode), d)
        self.text_pool = nn.Linear(params.text_width, d, bias=False)
        if params.shared_adaln:
            self.mod = nn.Linear(d, 6 * d)
        self.blocks = nn.ModuleList(Block(params) for _ in range(params.depth))
        self.head_mod = nn.Linear(d, 2 * d)
        self.head_out = nn.Linear(d, p * p * 3)
        if params.copies:
            self.copy = CopyHead(d, p)
        self.gradient_checkpointing = False
        self.block_dtype: torch.dtype | None = None  # None: as everything else
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier-like matrices; modulation and head start at zero."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.mode.weight, std=0.02)
        zero: list[Any] = [self.head_mod, self.head_out]
        zero += [self.reference_in] if self.params.reference else []
        zero += [self.place] if self.params.frame_place else []
        zero += [self.mod] if self.params.shared_adaln else [b.mod for b in self.blocks]
        for linear in zero:
            nn.init.zeros_(linear.weight)
        if self.params.copies:
            self.copy.reset_parameters()
        for block in self.blocks:
            assert isinstance(block, Block)
            for linear in (block.attn.out, block.cross.out, block.mlp.down):
                with torch.no_grad():
                    linear.weight.mul_(1.0 / math.sqrt(2 * self.params.depth))

    def embed(
        self,
        x_BFHWC: Tensor,
        known_BF: Tensor,
        index_F: Tensor | None = None,
        extra_BFHWC: Tensor | None = None,
    ) -> Tensor:
        """Frames in [-1, 1] (clean where `known`, noisy elsewhere) -> tokens [B, F*S, D].

        index_F: place of each frame in its clip; None: 0 for all.
        Raises ValueError when the channels do not match `params.extra_channels`.
        """
        extra = 0 if extra_BFHWC is None else extra_BFHWC.shape[-1]
        if extra != self.params.extra_channels:
            raise ValueError(f"got {extra} extra channels, expected {self.params.extra_channels}")
        b, f, h, w, _ = x_BFHWC.shape
        mask = known_BF.to(x_BFHWC.dtype)[:, :, None, None, None].expand(b, f, h, w, 1)
        parts = [x_BFHWC, mask] if extra_BFHWC is None else [x_BFHWC, mask, extra_BFHWC]
        tok = self.patch_in(patchify(torch.cat(parts, dim=-1), self.params.patch))
        if self.params.reference:
            # A clip of one frame has nothing to refer to (but the layer stays in use, for DDP).
            given_B = known_BF[:, 0] & (f > 1)
            seen = given_B[:, None, None, None, None].to(x_BFHWC.dtype).expand(b, 1, h, w, 1)
            first = torch.cat([x_BFHWC[:, :1] * seen, seen], dim=-1)
            given = self.reference_in(patchify(first, self.params.patch))
            tok = tok + given.repeat(1, f, 1)
        tok = self.patch_out(tok)
        if self.params.frame_place and index_F is not None:
            place_FD = self.place(place_features(index_F).to(tok.dtype))
            tok = tok + place_FD.repeat_interleave(tok.shape[1] // f, 0)
        return self._for_blocks(tok)

    def _for_blocks(self, x: Tensor) -> Tensor:
        return x if self.block_dtype is None else x.to(self.block_dtype)

    def run_blocks_in(self, dtype: torch.dtype) -> None:
        """Inference with the blocks' weights and tokens in `dtype` (bfloat16).

        Embedding, noise level and head stay in float32: bfloat16 has fewer steps than 8-bit colour.
        """
        self.blocks.to(dtype)
        self.block_dtype = dtype

    def compile_blocks(self, **options: Any) -> None:
        """`torch.compile` every block in place (the names of the weights stay); first calls are
        slow, and need a C++ compiler on a CPU."""
        for block in self.blocks:
            block.compile(**options)

    def condition(
        self,
        sigma_B: Tensor,
        mode_B: Tensor,
        text_BLD: Tensor,
        text_mask_BL: Tensor,
        rope: Rope,
    ) -> Context:
        """Gather what the blocks need: noise level, mode (a `Mode` each) and text."""
        weight = text_mask_BL.to(text_BLD.dtype)[..., None]
        pooled = (text_BLD * weight).sum(1) / weight.sum(1).clamp(min=1)
        feats = sigma_features(sigma_B, 128).to(text_BLD.dtype)
        cond = self.sigma_mlp(feats) + self.mode(mode_B) + self.text_pool(pooled)
        mod = None
        if self.params.shared_adaln:
            mod = self._for_blocks(self.mod(F.silu(cond)).unflatten(-1, (6, -1)))
        return Context(cond, mod, self._for_blocks(text_BLD), text_mask_BL, rope)

    def frames(
        self, tok_BND: Tensor, ctx: Context, frames: int, first_BHWC: Tensor, given_B: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens -> clean frames [B, F, H, W, 3] in about [-1, 1], drawn, and in part copied from
        the first frame where it is given; and what is copied, as in `predict`."""
        if self.block_dtype is not None:
            tok_BND = tok_BND.to(self.head_out.weight.dtype)
        scale, shift = self.head_mod(F.silu(ctx.cond_BD))[:, None].chunk(2, dim=-1)
        tok = rms_norm(tok_BND) * (1 + scale) + shift
        size = first_BHWC.shape[1:3]
        drawn = unpatchify(self.head_out(tok), self.params.patch, frames, *size)
        if not self.params.copies:
            return drawn, None
        maps = self.copy(tok, frames, *size)
        return mix_copied(drawn, first_BHWC, maps, given_B), maps

    def run_block(self, index: int, tok_BND: Tensor, ctx: Context) -> Tensor:
        """Block `index`, under gradient checkpointing when that is switched on."""
        block = self.blocks[index]
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, tok_BND, ctx, use_reentrant=False)
        return block(tok_BND, ctx)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Clean-frame prediction [B, F, H, W, 3] of what `predict` takes."""
        return self.predict(*args, **kwargs)[0]

    def predict(
        self,
        x_BFHWC: Tensor,
        known_BF: Tensor,
        sigma_B: Tensor,
        mode_B: Tensor,
        text_BLD: Tensor,
        text_mask_BL: Tensor,
        index_F: Tensor | None = None,
        extra_BFHWC: Tensor | None = None,
        picture_width: float | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Clean-frame prediction [B, F, H, W, 3], and what it copies of the first frame
        [B, F, H, W, 3] (see `CopyHead`; None without `params.copies`).

        x_BFHWC: frames in [-1, 1], clean where `known_BF`, else (1 - sigma) clean + sigma noise.
        index_F: place of each frame in its clip, 0..F-1 when left out.
        extra_BFHWC: the further conditioning channels of `params.extra_channels`.
        picture_width: see `rope_table`.
        """
        _, f, h, w, _ = x_BFHWC.shape
        if index_F is None:
            index_F = torch.arange(f, device=x_BFHWC.device)
        rope = rope_table(self.params, index_F, h, w, picture_width)
        ctx = self.condition(sigma_B, mode_B, text_BLD, text_mask_BL, rope)
        tok = self.embed(x_BFHWC, known_BF, index_F, extra_BFHWC)
        for index in range(len(self.blocks)):
            tok = self.run_block(index, tok, ctx)
        return self.frames(tok, ctx, f, x_BFHWC[:, 0], known_BF[:, 0])
