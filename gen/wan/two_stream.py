"""The 4D model over Wan: one pre-trained video model run over rows and columns of a latent lattice.

The row stream attends over (latent) time within one view, the column stream over views at one
latent time, both through the same blocks, with a mixer of `gen.sync.mixers` after each (paper Eq.
4-10). Time may be compressed, views never are, so both streams hold the same lattice token for
token.

Shape legend: B grids, V views, T latent times, C channels, H W latent pixels, S tokens a latent,
D width, L text tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gen.flow.rectified import keep_known
from gen.sync.mixers import FusedSync, SyncParams, build_mixer
from gen.sync.streams import Output, Streams, row_and_column
from gen.wan.block import WanContext
from gen.wan.model import WanModel
from gen.wan.path import clean_from_velocity, timestep


class WanTwoStream(Streams):
    """A Wan model and a mixer; predicts the velocity of a whole lattice of latents.

    What is trained is the adapter: the mixer, and the low-rank matrices that self-attention gets
    in the column stream (all of it, in the fused mixer's one stream).  `state_dict` holds the
    adapter alone, since the base stays in the folder it came from.
    """

    def __init__(self, model: WanModel, sync: SyncParams, output: Output = "mean"):
        super().__init__(output)
        self.model = model
        self.mixer = build_mixer(sync, model.params).to(model.device)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for block in model.blocks:
            block.lora.requires_grad_(True)
        self.register_state_dict_post_hook(_adapter_alone)

    @property
    def depth(self) -> int:
        return len(self.model.blocks)

    def run_block(self, layer: int, clips_BND: Tensor, ctx: WanContext) -> Tensor:
        return self.model.run_block(layer, clips_BND, ctx)

    def adapter_parameters(self) -> dict[str, nn.Parameter]:
        """What the 4D stage trains, by name."""
        return {k: p for k, p in self.named_parameters() if is_adapter(k)}

    def forward(
        self,
        x_BVTCHW: Tensor,
        known_BVT: Tensor,
        sigma_B: Tensor,
        text_row_BLD: Tensor,
        text_column_BLD: Tensor,
    ) -> Tensor:
        """Velocity [B, V, T, C, H, W] of every latent (of no meaning where `known_BVT`).

        x: latents, clean where known, noisy at level sigma elsewhere (sigma = 1: noise).
        text_row, text_column: features of the text encoder for the two kinds of clip.
        """
        b, v, t, _, h, w = x_BVTCHW.shape
        model = self.model
        levels = timestep(sigma_B)[:, None, None].expand(b, v, t) * ~known_BVT
        temb, mod = model.noise_levels(levels.flatten(1))
        temb, mod = temb.unflatten(1, (v, t)), mod.unflatten(1, (v, t))
        tok = model.embed(x_BVTCHW.flatten(0, 2)[:, None]).view(b, v, t, -1, model.params.width)
        texts = model.text(text_row_BLD), model.text(text_column_BLD)
        feats = self.mixer.features(sigma_B)
        place_V, place_T = torch.arange(v), torch.arange(t)
        if isinstance(self.mixer, FusedSync):
            row = column = self._fused(tok, mod, texts, (h, w), feats)
        else:
            rows = WanContext(
                mod.flatten(0, 1), texts[0].repeat_interleave(v, 0), model.rotation(place_T, h, w)
            )
            columns = WanContext(
                mod.transpose(1, 2).flatten(0, 1),
                texts[1].repeat_interleave(t, 0),
                model.rotation(place_V, h, w),
                adapt=True,
            )
            row, column = self.run_streams(tok, tok, rows, columns, feats)
        return self._decode(row, column, temb, (h, w))

    def _fused(
        self, tok: Tensor, mod: Tensor, texts: tuple[Tensor, Tensor], size: tuple[int, int],
        feats: Tensor,
    ) -> Tensor:  # fmt: skip
        """All blocks over the whole lattice, each token seeing its row and its column.

        The place on the temporal axis is v + t: between two latents of a row that differs by
        t - t', between two of a column by v - v', just as in the streams.  The text is the mean of
        the two streams'.
        """
        _, v, t, _, _ = tok.shape
        place = (torch.arange(v)[:, None] + torch.arange(t)).flatten()
        ctx = WanContext(
            mod.flatten(1, 2),
            (texts[0] + texts[1]) / 2,
            self.model.rotation(place, *size),
            adapt=True,
            sees=row_and_column(v, t).to(tok.device),
        )
        assert isinstance(self.mixer, FusedSync)
        x = tok.flatten(1, 3)
        for layer in range(self.depth):
            y = self.run_block(layer, x, ctx)
            x = self.mixer.after_update(layer, x, y, feats)
        return x.view(tok.shape)

    def _decode(self, row: Tensor, column: Tensor, temb: Tensor, size: tuple[int, int]) -> Tensor:
        def head(tok_BVTSD: Tensor) -> Tensor:
            clips, levels = tok_BVTSD.flatten(0, 1), temb.flatten(0, 1)
            out = self.in_parts(
                lambda part: self.model.head(clips[part], levels[part], *size), len(clips)
            )
            return out.unflatten(0, tok_BVTSD.shape[:2])

        if self.output == "row":
            return head(row)
        if self.output == "column":
            return head(column)
        return (head(row) + head(column)) / 2

    def clean(
        self, x: Tensor, clean: Tensor, known: Tensor, sigma_B: Tensor, text_row: Tensor,
        text_column: Tensor,
    ) -> Tensor:  # fmt: skip
        """Clean prediction of the lattice: `clean` where `known`, whatever x holds there."""
        x = keep_known(x, clean, known)
        velocity = self(x, known, sigma_B, text_row, text_column)
        return keep_known(clean_from_velocity(x, velocity, sigma_B), clean, known)


def is_adapter(name: str) -> bool:
    """Whether a parameter of `WanTwoStream` belongs to the adapter."""
    return name.startswith("mixer.") or ".lora." in name


def _adapter_alone(module: Any, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    own = [k for k in state if k.startswith(prefix)]
    for key in own:
        if not is_adapter(key.removeprefix(prefix)):
            del state[key]


def cast_for_inference(model: WanTwoStream) -> WanTwoStream:
    """The adapter in the dtype of the base's tokens, nothing trained, in eval mode."""
    model.mixer.to(model.model.dtype)
    for block in model.model.blocks:
        block.lora.to(model.model.dtype)
    return model.eval().requires_grad_(False)
