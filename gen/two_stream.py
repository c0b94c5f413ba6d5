"""The 4D model: one pre-trained clip model run over rows and over columns of a grid of frames.

The row stream attends over time within one view (fixed-view clips, dynamic context), the column
stream over views at one time (freeze-time clips, freeze-time context); both go through the same
blocks, and a mixer of `gen.sync` exchanges information after each (paper Fig. 2, Eq. 4-10).

Shape legend: B grids, V views (rows), T times (columns), S patches a frame, D width, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gen.blocks import Context
from gen.dit import DiT, Mode
from gen.flow import keep_known
from gen.rope import Rope, rope_table
from gen.sync import FusedSync, NoSync, SequentialSync, SyncParams, build_mixer

Output = Literal["mean", "row", "column"]


def row_and_column(views: int, times: int) -> Tensor:
    """The cells [V*T, V+T-1] of every cell's row and column, the cell itself once."""
    cell = torch.arange(views * times).view(views, times)
    seen = [
        torch.cat([cell[v], cell[:v, t], cell[v + 1 :, t]])
        for v in range(views)
        for t in range(times)
    ]
    return torch.stack(seen)


class TwoStream(nn.Module):
    """A clip model and a mixer; predicts the clean frames of a whole grid.

    `output` says which stream's head is decoded (the paper does not; the default is the mean).
    `modes` are the contexts of the row and of the column stream.  `clips_at_once` bounds how many
    clips of a stream go through the network together (None: all): the same result in less memory.
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
        if dit.block_dtype is not None:
            self.mixer.to(dit.block_dtype)
        self.output = output
        self.modes = modes
        self.clips_at_once: int | None = None

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

    def _in_parts(self, run: Callable[[slice], Tensor], clips: int) -> Tensor:
        """`run` over all `clips`, at most `clips_at_once` of them at a time."""
        step = min(self.clips_at_once or clips, clips)
        if step == clips:
            return run(slice(0, clips))
        parts = [slice(i, min(i + step, clips)) for i in range(0, clips, step)]
        first = run(parts[0])
        out = first.new_empty(clips, *first.shape[1:])
        out[parts[0]] = first
        for part in parts[1:]:
            out[part] = run(part)
        return out

    def row_stream(self, layer: int, tok_BVTSD: Tensor, ctx: Context) -> Tensor:
        """Block `layer` over every row: V clips of T frames a grid."""
        clips = tok_BVTSD.flatten(0, 1)

        def run(part: slice) -> Tensor:
            return self.dit.run_block(layer, clips[part].flatten(1, 2), ctx.part(part))

        return self._in_parts(run, len(clips)).view(tok_BVTSD.shape)

    def column_stream(self, layer: int, tok_BVTSD: Tensor, ctx: Context) -> Tensor:
        """Block `layer` over every column: T clips of V frames a grid."""
        by_column = tok_BVTSD.transpose(1, 2)
        clips = by_column.flatten(0, 1)

        def run(part: slice) -> Tensor:
            return self.dit.run_block(layer, clips[part].flatten(1, 2), ctx.part(part))

        return self._in_parts(run, len(clips)).view(by_column.shape).transpose(1, 2)

    def _exchange(
        self, rule: Callable[..., Any], first: Tensor, second: Tensor, feats: Tensor
    ) -> Any:
        """A mixer's rule, which acts token by token, over `clips_at_once` rows at a time."""
        if self.clips_at_once is None or isinstance(self.mixer, NoSync):
            return rule(first, second, feats)
        shape, step = first.shape, self.clips_at_once
        a, b = first.flatten(0, 1), second.flatten(0, 1)
        feats = feats.repeat_interleave(shape[1], 0)
        outs: list[Tensor] = []
        for i in range(0, len(a), step):
            part = slice(i, i + step)
            mixed = rule(a[part], b[part], feats[part])
            mixed = (mixed,) if isinstance(mixed, Tensor) else mixed
            outs = outs or [x.new_empty(a.shape) for x in mixed]
            for out, x in zip(outs, mixed, strict=True):
                out[part] = x
        views = [out.view(shape) for out in outs]
        return views[0] if len(views) == 1 else views

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

        return self._in_parts(run, len(x))

    def _one_copy(
        self, row: Tensor, column: Tensor, x: Tensor, known: Tensor, extra: Tensor | None = None
    ) -> Tensor:
        """One set of tokens with the places and references of both (the embedding is linear)."""
        extra = None if extra is None else extra.flatten(1, 2)[:, :, None]
        x, known = x.flatten(1, 2)[:, :, None], known.flatten(1, 2)[:, :, None]
        alone = self._embed_clips(x, known, None, extra)
        return row + column - alone.view(row.shape)

    def _streams(
        self, row: Tensor, column: Tensor, ctx_row: Context, ctx_col: Context, feats: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All blocks over rows and columns, synchronised after each."""
        for layer in range(len(self.dit.blocks)):
            if isinstance(self.mixer, SequentialSync):
                adapt = partial(self.mixer.after_update, layer)
                mid = self.column_stream(layer, row, ctx_col)
                mid = self._exchange(partial(adapt, "column"), row, mid, feats)
                out = self.row_stream(layer, mid, ctx_row)
                row = column = self._exchange(partial(adapt, "row"), mid, out, feats)
            else:
                row = self.row_stream(layer, row, ctx_row)
                column = self.column_stream(layer, column, ctx_col)
                row, column = self._exchange(partial(self.mixer, layer), row, column, feats)
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
        self, row: Tensor, column: Tensor, ctx_row: Context, ctx_col: Context, size: tuple[int, int]
    ) -> Tensor:
        def decode(tok_BCFSD: Tensor, ctx: Context) -> Tensor:
            clips = tok_BCFSD.flatten(0, 1)

            def run(part: slice) -> Tensor:
                tok = clips[part].flatten(1, 2)
                return self.dit.head(tok, ctx.part(part), clips.shape[1], *size)

            return self._in_parts(run, len(clips)).unflatten(0, tok_BCFSD.shape[:2])

        if self.output == "row":
            return decode(row, ctx_row)
        by_column = decode(column.transpose(1, 2), ctx_col).transpose(1, 2)
        if self.output == "column":
            return by_column
        return (decode(row, ctx_row) + by_column) / 2

    def sync_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Names and parameters of the mixer where it acts: what the 4D stage trains (paper 4.1)."""
        if isinstance(self.mixer, NoSync):
            return []
        named = self.mixer.named_parameters()  # row.3.own: stream, layer, matrix
        return [(f"mixer.{k}", p) for k, p in named if int(k.split(".")[1]) in self.mixer.active]
