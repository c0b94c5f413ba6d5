"""The 4D model: one pre-trained clip model run over rows and over columns of a grid of frames.

The row stream attends over time within one view (fixed-view clips, dynamic context), the column
stream over views at one time (freeze-time clips, freeze-time context); both go through the same
blocks, and a mixer of `gen.sync` exchanges information after each (paper Fig. 2, Eq. 4-10).

Shape legend: B grids, V views (rows), T times (columns), S patches a frame, D width, H W pixels.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gen.dit import Context, DiT, Mode, Rope, rope_table
from gen.flow import keep_known
from gen.sync import FusedSync, NoSync, SequentialSync, SyncParams, build_mixer

Output = Literal["mean", "row", "column"]


class TwoStream(nn.Module):
    """A clip model and a mixer; predicts the clean frames of a whole grid.

    `output` says which stream's head is decoded (the paper does not; the default is the mean).
    `modes` are the contexts of the row and of the column stream.
    """

    def __init__(
        self,
        dit: DiT,
        sync: SyncParams,
        output: Output = "mean",
        modes: tuple[Mode, Mode] = (Mode.DYNAMIC, Mode.FREEZE_TIME),
    ):
        super().__init__()
        if output not in ("mean", "row", "column"):
            raise ValueError(f"got output {output!r}, expected mean, row or column")
        self.dit = dit
        self.mixer = build_mixer(sync, dit.params)
        self.output = output
        self.modes = modes

    def _contexts(
        self, sigma_B: Tensor, text_BLD: Tensor, mask_BL: Tensor, index_V: Tensor, index_T: Tensor,
        size: tuple[int, int], picture_width: float | None = None,
    ) -> tuple[Context, Context]:  # fmt: skip
        contexts = []
        for mode, index, repeats in zip(
            self.modes, (index_T, index_V), (len(index_V), len(index_T)), strict=True
        ):
            rope = rope_table(self.dit.params, index, *size, picture_width)
            mode_B = torch.full_like(sigma_B, int(mode), dtype=torch.long)
            ctx = self.dit.condition(sigma_B, mode_B, text_BLD, mask_BL, rope)
            contexts.append(ctx.repeat(repeats))
        return contexts[0], contexts[1]

    def row_stream(self, layer: int, tok_BVTSD: Tensor, ctx: Context) -> Tensor:
        """Block `layer` over every row: V clips of T frames a grid."""
        shape = tok_BVTSD.shape
        return self.dit.run_block(layer, tok_BVTSD.flatten(2, 3).flatten(0, 1), ctx).view(shape)

    def column_stream(self, layer: int, tok_BVTSD: Tensor, ctx: Context) -> Tensor:
        """Block `layer` over every column: T clips of V frames a grid."""
        b, v, t, s, d = tok_BVTSD.shape
        clips = tok_BVTSD.transpose(1, 2).reshape(b * t, v * s, d)
        return self.dit.run_block(layer, clips, ctx).view(b, t, v, s, d).transpose(1, 2)

    def forward(
        self,
        x_BVTHWC: Tensor,
        known_BVT: Tensor,
        sigma_B: Tensor,
        text_BLD: Tensor,
        mask_BL: Tensor,
        index_V: Tensor | None = None,
        index_T: Tensor | None = None,
        extra_BVTHWC: Tensor | None = None,
        picture_width: float | None = None,
    ) -> Tensor:
        """Clean grid [B, V, T, H, W, 3]; known cells of `x` come out as they went in.

        x: frames in [-1, 1], clean where `known_BVT`, noisy at level sigma elsewhere.
        index_V, index_T: place of the rows and columns in their clips, 0, 1, ... when left out.
        extra_BVTHWC, picture_width: see `DiT.forward`.
        """
        b, v, t, h, w, _ = x_BVTHWC.shape
        device = x_BVTHWC.device
        index_V = torch.arange(v, device=device) if index_V is None else index_V
        index_T = torch.arange(t, device=device) if index_T is None else index_T
        ctx_row, ctx_col = self._contexts(
            sigma_B, text_BLD, mask_BL, index_V, index_T, (h, w), picture_width
        )
        row, column = self._embed(x_BVTHWC, known_BVT, index_V, index_T, extra_BVTHWC)
        feats = self.mixer.features(sigma_B)
        if isinstance(self.mixer, FusedSync):
            tok = self._one_copy(row, column, x_BVTHWC, known_BVT, extra_BVTHWC)
            place = (index_V[:, None] + index_T[None]).flatten()
            rope = rope_table(self.dit.params, place, h, w, picture_width)
            row = column = self._fused(tok, ctx_row, ctx_col, rope, feats)
        else:
            if isinstance(self.mixer, SequentialSync):
                row = column = self._one_copy(row, column, x_BVTHWC, known_BVT, extra_BVTHWC)
            row, column = self._streams(row, column, ctx_row, ctx_col, feats)
        clean = self._decode(row, column, ctx_row, ctx_col, (h, w))
        return keep_known(clean, x_BVTHWC, known_BVT)

    def _embed(
        self, x_BVTHWC: Tensor, known_BVT: Tensor, index_V: Tensor, index_T: Tensor,
        extra_BVTHWC: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Tokens [B, V, T, S, D] of the row clips and of the column clips (they differ in a
        frame's place, and in the frame referred to: column 0 for rows, row 0 for columns)."""
        b, v, t = known_BVT.shape
        extra = None if extra_BVTHWC is None else extra_BVTHWC.flatten(0, 1)
        row = self.dit.embed(x_BVTHWC.flatten(0, 1), known_BVT.flatten(0, 1), index_T, extra)
        x, known = x_BVTHWC.transpose(1, 2), known_BVT.transpose(1, 2)
        extra = None if extra_BVTHWC is None else extra_BVTHWC.transpose(1, 2).flatten(0, 1)
        column = self.dit.embed(x.flatten(0, 1), known.flatten(0, 1), index_V, extra)
        d = row.shape[-1]
        return row.view(b, v, t, -1, d), column.view(b, t, v, -1, d).transpose(1, 2)

    def _one_copy(
        self, row: Tensor, column: Tensor, x: Tensor, known: Tensor, extra: Tensor | None = None
    ) -> Tensor:
        """One set of tokens with the places and references of both (the embedding is linear)."""
        extra = None if extra is None else extra.flatten(0, 2)[:, None]
        alone = self.dit.embed(x.flatten(0, 2)[:, None], known.flatten()[:, None], None, extra)
        return row + column - alone.view(row.shape)

    def _streams(
        self, row: Tensor, column: Tensor, ctx_row: Context, ctx_col: Context, feats: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All blocks over rows and columns, synchronised after each."""
        for layer in range(len(self.dit.blocks)):
            if isinstance(self.mixer, SequentialSync):
                mid = self.column_stream(layer, row, ctx_col)
                mid = self.mixer.after_update(layer, "column", row, mid, feats)
                out = self.row_stream(layer, mid, ctx_row)
                row = column = self.mixer.after_update(layer, "row", mid, out, feats)
            else:
                y_row = self.row_stream(layer, row, ctx_row)
                y_col = self.column_stream(layer, column, ctx_col)
                row, column = self.mixer(layer, y_row, y_col, feats)
        return row, column

    def _fused(
        self, tok: Tensor, ctx_row: Context, ctx_col: Context, rope: Rope, feats: Tensor
    ) -> Tensor:
        """All blocks over the whole grid, each token seeing its row and its column.

        The temporal slot of `rope` holds v + t: between two cells of a row that differs by t - t',
        between two of a column by v - v', just as in the streams. The context is the mean of the
        two streams'.
        """
        b, v, t, s, d = tok.shape
        cell_v = torch.arange(v, device=tok.device).repeat_interleave(t)
        cell_t = torch.arange(t, device=tok.device).repeat(v)
        sees = (cell_v[:, None] == cell_v) | (cell_t[:, None] == cell_t)
        first_row, first_col = (
            ctx._replace(
                cond_BD=ctx.cond_BD[::n],
                mod_B6D=None if ctx.mod_B6D is None else ctx.mod_B6D[::n],
                text_BLD=ctx.text_BLD[::n],
                text_mask_BL=ctx.text_mask_BL[::n],
            )
            for ctx, n in ((ctx_row, v), (ctx_col, t))
        )
        mod = None
        if first_row.mod_B6D is not None and first_col.mod_B6D is not None:
            mod = (first_row.mod_B6D + first_col.mod_B6D) / 2
        ctx = first_row._replace(
            cond_BD=(first_row.cond_BD + first_col.cond_BD) / 2,
            mod_B6D=mod,
            rope=rope,
            attends=sees.repeat_interleave(s, 0).repeat_interleave(s, 1),
        )
        assert isinstance(self.mixer, FusedSync)
        x = tok.view(b, v * t * s, d)
        for layer in range(len(self.dit.blocks)):
            y = self.dit.run_block(layer, x, ctx)
            x = self.mixer.after_update(layer, x, y, feats)
        return x.view(b, v, t, s, d)

    def _decode(
        self, row: Tensor, column: Tensor, ctx_row: Context, ctx_col: Context, size: tuple[int, int]
    ) -> Tensor:
        b, v, t, _, _ = row.shape
        heads = []
        if self.output in ("mean", "row"):
            tok = row.flatten(2, 3).flatten(0, 1)
            heads.append(self.dit.head(tok, ctx_row, t, *size).unflatten(0, (b, v)))
        if self.output in ("mean", "column"):
            tok = column.transpose(1, 2).reshape(b * t, -1, column.shape[-1])
            heads.append(self.dit.head(tok, ctx_col, v, *size).unflatten(0, (b, t)).transpose(1, 2))
        return torch.stack(heads).mean(0)

    def sync_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Names and parameters of the mixer: what the 4D stage trains (paper 4.1)."""
        if isinstance(self.mixer, NoSync):
            return []
        return [(f"mixer.{k}", p) for k, p in self.mixer.named_parameters()]
