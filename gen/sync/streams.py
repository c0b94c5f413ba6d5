"""Rows and columns of a lattice of tokens through the same blocks, with a mixer after each.

What all two-stream models share: a subclass brings the blocks (`run_block`) and says what a clip is
told besides its tokens (a context with `part`).

Shape legend: B grids, V views (rows), T times (columns), S patches a frame, D width, N tokens.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from gen.sync.mixers import Mixer, NoSync, SequentialSync

Output = Literal["mean", "row", "column"]


class ClipContext(Protocol):
    """What the clips of a stream are told besides their tokens."""

    def part(self: Ctx, clips: slice) -> Ctx:
        """The context of some of the clips."""
        ...


Ctx = TypeVar("Ctx", bound=ClipContext)


def row_and_column(views: int, times: int) -> Tensor:
    """The cells [V*T, V+T-1] of every cell's row and column, the cell itself once."""
    cell = torch.arange(views * times).view(views, times)
    seen = [
        torch.cat([cell[v], cell[:v, t], cell[v + 1 :, t]])
        for v in range(views)
        for t in range(times)
    ]
    return torch.stack(seen)


class Streams(nn.Module):
    """A mixer, and the walk of both streams through the blocks.

    `output` says which stream's head is decoded (the paper does not; the default is the mean).
    `clips_at_once` bounds how many clips of a stream go through the network together (None: all):
    the same result in less memory.
    """

    mixer: NoSync | Mixer

    def __init__(self, output: Output = "mean"):
        super().__init__()
        if output not in ("mean", "row", "column"):
            raise ValueError(f"got output {output!r}, expected mean, row or column")
        self.output = output
        self.clips_at_once: int | None = None

    @property
    @abstractmethod
    def depth(self) -> int:
        """Number of blocks."""

    @abstractmethod
    def run_block(self, layer: int, clips_BND: Tensor, ctx: Any) -> Tensor:
        """Block `layer` over clips: x + Delta(x) of Eq. 4."""

    def in_parts(self, run: Callable[[slice], Tensor], clips: int) -> Tensor:
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

    def row_stream(self, layer: int, tok_BVTSD: Tensor, ctx: ClipContext) -> Tensor:
        """Block `layer` over every row: V clips of T frames a grid."""
        clips = tok_BVTSD.flatten(0, 1)

        def run(part: slice) -> Tensor:
            return self.run_block(layer, clips[part].flatten(1, 2), ctx.part(part))

        return self.in_parts(run, len(clips)).view(tok_BVTSD.shape)

    def column_stream(self, layer: int, tok_BVTSD: Tensor, ctx: ClipContext) -> Tensor:
        """Block `layer` over every column: T clips of V frames a grid."""
        by_column = tok_BVTSD.transpose(1, 2)
        clips = by_column.flatten(0, 1)

        def run(part: slice) -> Tensor:
            return self.run_block(layer, clips[part].flatten(1, 2), ctx.part(part))

        return self.in_parts(run, len(clips)).view(by_column.shape).transpose(1, 2)

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

    def run_streams(
        self, row: Tensor, column: Tensor, ctx_row: ClipContext, ctx_col: ClipContext, feats: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All blocks over rows and columns [B, V, T, S, D], synchronised after each."""
        for layer in range(self.depth):
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
