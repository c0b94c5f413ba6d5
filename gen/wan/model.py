"""diffusers' `WanTransformer3DModel`, reassembled so that its blocks can be run one by one.

What is taken: rope, patch_embedding, condition_embedder, blocks, norm_out, scale_shift_table and
proj_out; the library object itself is left as it was.  Used whole (`WanModel.forward`) it is the
library's model; `gen.wan.two_stream` runs the same blocks over rows and columns.

Shape legend: B clips, F latents of a clip, C channels, H W latent pixels, S tokens a latent,
N = F*S, D width, L text tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gen.wan.block import FrameBlock, WanContext
from gen.wan.params import WanParams


class WanModel(nn.Module):
    """Predicts the velocity (noise - clean) of a clip of latents."""

    def __init__(self, transformer: Any, lora_rank: int = 0):
        """Reassemble a library model; UserError for one of another kind (image-to-video)."""
        super().__init__()
        self.params = WanParams.from_config(transformer.config)
        self.rope = transformer.rope
        self.patch_embedding = transformer.patch_embedding
        self.condition_embedder = transformer.condition_embedder
        self.blocks = nn.ModuleList(
            FrameBlock(block, self.params.width, lora_rank) for block in transformer.blocks
        )
        self.norm_out = transformer.norm_out
        self.proj_out = transformer.proj_out
        self.scale_shift_table = transformer.scale_shift_table
        self.gradient_checkpointing = False

    @property
    def device(self) -> torch.device:
        return self.proj_out.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of tokens and texts; some parts of the weights stay in float32."""
        return self.proj_out.weight.dtype

    def rotation(self, place_F: Tensor, height: int, width: int) -> Tensor:
        """Rotary factors, complex [N, d/2], of latents at integer places of the temporal axis."""
        frames = int(place_F.max()) + 1
        p = self.params.patch
        shape = torch.empty(1, 1, frames, height, width, device="meta")
        cos, sin = (table[0, :, 0, ::2].float() for table in self.rope(shape))  # [frames*S, d/2]
        factors = torch.complex(cos, sin).view(frames, (height // p) * (width // p), -1)
        return factors[place_F.to(factors.device)].flatten(0, 1)

    def embed(self, x_BFCHW: Tensor) -> Tensor:
        """Latents -> tokens [B, F, S, D]; a latent's tokens do not depend on its place."""
        b, f = x_BFCHW.shape[:2]
        # One latent a clip: the kernel spans no time, and any grouping gives the same tokens.
        tok = self.patch_embedding(x_BFCHW.flatten(0, 1)[:, :, None].to(self.dtype))
        return tok.flatten(2).transpose(1, 2).unflatten(0, (b, f))

    def noise_levels(self, timestep_BF: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding [B, F, D] and modulation [B, F, 6, D] of every latent's own timestep."""
        embedder = self.condition_embedder
        features = embedder.timesteps_proj(timestep_BF.flatten().float())
        weight = embedder.time_embedder.linear_1.weight
        temb = embedder.time_embedder(features.to(weight.dtype)).to(self.dtype)
        mod = embedder.time_proj(embedder.act_fn(temb)).unflatten(-1, (6, -1)).float()
        return temb.unflatten(0, timestep_BF.shape), mod.unflatten(0, timestep_BF.shape)

    def text(self, text_BLD: Tensor) -> Tensor:
        """Features of the text encoder -> what the blocks attend to."""
        return self.condition_embedder.text_embedder(text_BLD.to(self.dtype))

    def run_block(self, layer: int, tok_BND: Tensor, ctx: WanContext) -> Tensor:
        """Block `layer`, under gradient checkpointing when that is switched on."""
        block = self.blocks[layer]
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, tok_BND, ctx, use_reentrant=False)
        return block(tok_BND, ctx)

    def head(self, tok_BFSD: Tensor, temb_BFD: Tensor, height: int, width: int) -> Tensor:
        """Tokens -> velocities [B, F, C, H, W] of latents of height x width."""
        shift, scale = (self.scale_shift_table + temb_BFD[:, :, None]).chunk(2, dim=2)  # [B,F,1,D]
        out = self.norm_out(tok_BFSD.float()) * (1 + scale) + shift
        out = self.proj_out(out.to(tok_BFSD.dtype))
        p = self.params.patch
        out = out.unflatten(2, (height // p, width // p)).unflatten(-1, (p, p, -1))
        return out.permute(0, 1, 6, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)

    def forward(self, x_BFCHW: Tensor, timestep_BF: Tensor, text_BLD: Tensor) -> Tensor:
        """Velocity [B, F, C, H, W] of a clip.

        timestep_BF: 1000 sigma of each latent, 0 where it is clean and given.
        text_BLD: features of the text encoder, padded with zeros to 512 tokens.
        """
        b, f, _, h, w = x_BFCHW.shape
        temb, mod = self.noise_levels(timestep_BF)
        place = torch.arange(f)
        ctx = WanContext(mod, self.text(text_BLD), self.rotation(place, h, w))
        tok = self.embed(x_BFCHW).flatten(1, 2)
        for layer in range(len(self.blocks)):
            tok = self.run_block(layer, tok, ctx)
        return self.head(tok.unflatten(1, (f, -1)), temb, h, w)
