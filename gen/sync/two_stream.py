"""The 4D model: one pre-trained clip model run over rows and over columns of a grid of frames.

The row stream attends over time within one view (fixed-view clips, dynamic context), the column
stream over views at one time (freeze-time clips, freeze-time context); both go through the same
blocks, and a mixer of `gen.sync.mixers` exchanges information after each (paper Fig. 2, Eq. 4-10).

Shape legend: B grids, V views (rows), T times (columns), S patches a frame, D width, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gen.flow.rectified import keep_known
from gen.network.blocks import Context
from gen.network.copying import copied_share, surer_mean
from gen.network.dit import DiT, Mode
from gen.network.rope import Rope, rope_table
from gen.sync.mixers import FusedSync, NoSync, SequentialSync, SyncParams, build_mixer
from gen.sync.streams import Output, Streams, row_and_column


class TwoStream(Streams):
    """A clip model and a mixer; predicts the clean frames of a whole grid.

    `modes` are the contexts of the row and of the column stream; the rest is as in `Streams`.
    """

    def __init__(
        self,
        dit: DiT,
        sync: SyncParams,
        output: Output = "mean",
        modes: tuple[Mode, Mode] = (Mode.DYNAMIC, Mode.FREEZE_TIME),
    ):
        super().__init__(output)
        self.dit = dit
        self.mixer = build_mixer(sync, dit.params)
        if dit.block_dtype is not None:
            self.mixer.to(dit.block_dtype)
        self.modes = modes

    @property
    def depth(self) -> int:
        return len(self.dit.blocks)

    def run_block(self, layer: int, clips_BND: Tensor, ctx: Context) -> Tensor:
        return self.dit.run_block(layer, clips_BND, ctx)

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
            row, column = self.run_streams(row, column, ctx_row, ctx_col, feats)
        clean = self._decode(row, column, ctx_row, ctx_col, (x_BVTHWC, known_BVT))
        return keep_known(clean, x_BVTHWC, known_BVT)

    def _embed(
        self, x_BVTHWC: Tensor, known_BVT: Tensor, index_V: Tensor, index_T: Tensor,
        extra_BVTHWC: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Tokens [B, V, T, S, D] of the row clips and of the column clips (they differ in a
        frame's place, and in the frame referred to: column 0 for rows, row 0 for columns)."""
        b, v, t = known_BVT.shape
        row = self._embed_clips(x_BVTHWC, known_BVT, index_T, extra_BVTHWC)
        extra = None if extra_BVTHWC is None else extra_BVTHWC.transpose(1, 2)
        x, known = x_BVTHWC.transpose(1, 2), known_BVT.transpose(1, 2)
        column = self._embed_clips(x, known, index_V, extra)
        d = row.shape[-1]
        return row.view(b, v, t, -1, d), column.view(b, t, v, -1, d).transpose(1, 2)

    def _embed_clips(
        self, x: Tensor, known: Tensor, index_F: Tensor | None, extra: Tensor | None
    ) -> Tensor:
        """Tokens [clips, F*S, D] of frames [B, clips of a grid, F, H, W, 3]."""
        x, known = x.flatten(0, 1), known.flatten(0, 1)
        more = None if extra is None else extra.flatten(0, 1)

        def run(part: slice) -> Tensor:
            return self.dit.embed(
                x[part], known[part], index_F, None if more is None else more[part]
            )

        return self.in_parts(run, len(x))

    def _one_copy(
        self, row: Tensor, column: Tensor, x: Tensor, known: Tensor, extra: Tensor | None = None
    ) -> Tensor:
        """One set of tokens with the places and references of both (the embedding is linear)."""
        extra = None if extra is None else extra.flatten(1, 2)[:, :, None]
        x, known = x.flatten(1, 2)[:, :, None], known.flatten(1, 2)[:, :, None]
        alone = self._embed_clips(x, known, None, extra)
        return row + column - alone.view(row.shape)

    def _fused(
        self, tok: Tensor, ctx_row: Context, ctx_col: Context, rope: Rope, feats: Tensor
    ) -> Tensor:
        """All blocks over the whole grid, each token seeing its row and its column.

        The temporal slot of `rope` holds v + t: between two cells of a row that differs by t - t',
        between two of a column by v - v', just as in the streams. The context is the mean of the
        two streams'.
        """
        b, v, t, s, d = tok.shape
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
            sees=row_and_column(v, t).to(tok.device),
        )
        assert isinstance(self.mixer, FusedSync)
        x = tok.view(b, v * t * s, d)
        for layer in range(len(self.dit.blocks)):
            y = self.dit.run_block(layer, x, ctx)
            x = self.mixer.after_update(layer, x, y, feats)
        return x.view(b, v, t, s, d)

    def _decode(
        self, row: Tensor, column: Tensor, ctx_row: Context, ctx_col: Context,
        given: tuple[Tensor, Tensor],
    ) -> Tensor:  # fmt: skip
        """Frames of both streams' tokens; `given`: the cells and which of them are known, of which
        a network with `params.copies` copies the first of each row or column."""

        def decode(
            tok_BCFSD: Tensor, ctx: Context, x_BCFHWC: Tensor, known_BCF: Tensor
        ) -> tuple[Tensor, Tensor]:
            """Frames, and the share of each pixel that is copied [B, C, F, H, W, 1]."""
            clips, first = tok_BCFSD.flatten(0, 1), x_BCFHWC[:, :, 0].flatten(0, 1)
            known, length = known_BCF[:, :, 0].flatten(), clips.shape[1]

            def run(part: slice) -> Tensor:
                tok, given = clips[part].flatten(1, 2), known[part]
                out, maps = self.dit.frames(tok, ctx.part(part), length, first[part], given)
                if maps is None:
                    return out
                return torch.cat([out, copied_share(maps, given)], dim=-1)

            made = self.in_parts(run, len(clips)).unflatten(0, tok_BCFSD.shape[:2])
            return made[..., :3], made[..., 3:]

        x, known = given
        if self.output == "row":
            return decode(row, ctx_row, x, known)[0]
        flipped = column.transpose(1, 2), ctx_col, x.transpose(1, 2), known.transpose(1, 2)
        by_column, of_column = (made.transpose(1, 2) for made in decode(*flipped))
        if self.output == "column":
            return by_column
        by_row, of_row = decode(row, ctx_row, x, known)
        if not self.dit.params.copies:
            return (by_row + by_column) / 2
        return surer_mean(by_row, by_column, of_row, of_column)

    def sync_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Names and parameters of the mixer where it acts: what the 4D stage trains (paper 4.1)."""
        if isinstance(self.mixer, NoSync):
            return []
        named = self.mixer.named_parameters()  # row.3.own: stream, layer, matrix
        return [(f"mixer.{k}", p) for k, p in named if int(k.split(".")[1]) in self.mixer.active]
