"""Synchronisation of the two token streams after every transformer block (paper 3.2), by name.

A mixer takes the row stream's and the column stream's updated tokens and returns what both
streams start the next block from.  Both are [B, V, T, S, D] on the same lattice, token for token.

| name         | rule                                                          | source      |
|--------------|---------------------------------------------------------------|-------------|
| `none`       | no exchange                                                   |             |
| `sequential` | one copy: column, then row update, each with a small adapter  | Eq. 5       |
| `hard`       | x = W_row y_row + W_col y_col, W starts at I/2                | Eq. 8, 12   |
| `soft`       | y_own += W [y_own; y_other], W starts at w_l [-I, I]          | Eq. 9-10, 13|
| `fused`      | one copy, one attention over a token's row and column together| 4Real-V2    |

Every matrix is modulated by the noise level: its output is scaled by 1 + s(sigma), s starts at 0.
Low rank means: the starting matrix, kept as a trainable diagonal, plus a low-rank product that
starts at 0.  So an untrained mixer is the paper's training-free rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from gen.network.dit import sigma_features
from gen.sync.names import MIXERS, MixerName

SIGMA_FEATURES = 64


@dataclass(frozen=True)
class SyncParams:
    """Which mixer; rank None: full matrices; layers: where it acts (None: after every block)."""

    mixer: MixerName = "soft"
    rank: int | None = 64
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.mixer not in MIXERS:
            raise ValueError(f"unknown mixer {self.mixer!r}; choose from {', '.join(MIXERS)}")
        if self.rank is not None and self.rank < 1:
            raise ValueError(f"got rank {self.rank}, expected at least 1, or None for full")


class BlockSizes(Protocol):
    """What a mixer needs to know of the model whose blocks it follows."""

    @property
    def width(self) -> int: ...

    @property
    def depth(self) -> int: ...


Drop = Literal["none", "first", "last"]


def layers_without(depth: int, drop: Drop, share: float = 1 / 3) -> tuple[int, ...]:
    """The layers of 0..depth-1 left when the first or the last `share` of them is dropped.

    The ablation of the supplement (8 of 24 layers).  Raises ValueError for another `drop` or share.
    """
    if drop not in get_args(Drop) or not 0 <= share <= 1:
        raise ValueError(f"got {drop!r} and share {share}, expected none, first or last and 0..1")
    dropped = 0 if drop == "none" else round(depth * share)
    return tuple(range(dropped, depth) if drop == "first" else range(depth - dropped))


class ModLinear(nn.Module):
    """Mod_Linear of Eq. 9: [own; other] -> D, scaled by 1 + s(sigma) per channel.

    Starts as own_init * own + other_init * other.
    """

    def __init__(self, width: int, rank: int | None, own_init: float, other_init: float):
        super().__init__()
        self.modulation = nn.Linear(SIGMA_FEATURES, width, bias=False)
        nn.init.zeros_(self.modulation.weight)
        self.rank = rank
        if rank is None:
            eye = torch.eye(width)
            self.full = nn.Parameter(torch.cat([own_init * eye, other_init * eye], 1))
            return
        self.own = nn.Parameter(torch.full((width,), own_init))
        self.other = nn.Parameter(torch.full((width,), other_init))
        self.down = nn.Linear(2 * width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, own: Tensor, other: Tensor, sigma_features_B: Tensor) -> Tensor:
        both = torch.cat([own, other], -1)
        if self.rank is None:
            out = both @ self.full.T
        else:
            out = self.own * own + self.other * other + self.up(self.down(both))
        scale = 1 + self.modulation(sigma_features_B.to(self.modulation.weight.dtype))
        return out * scale.reshape(len(scale), *[1] * (out.dim() - 2), -1)


class Mixer(nn.Module):
    """One module per block and stream; subclasses say how they are used."""

    def __init__(self, params: SyncParams, base: BlockSizes, own: list[float], other: list[float]):
        super().__init__()
        self.params = params
        active = range(base.depth) if params.layers is None else params.layers
        if not set(active) <= set(range(base.depth)):
            raise ValueError(f"got layers {params.layers}, expected numbers below {base.depth}")
        self.active = frozenset(active)

        def stream() -> nn.ModuleList:
            return nn.ModuleList(
                ModLinear(base.width, params.rank, own[i], other[i]) for i in range(base.depth)
            )

        self.row, self.column = stream(), stream()
        # What never acts is not trained either (its weights exist: one file format for all).
        for modules in (self.row, self.column):
            for layer, module in enumerate(modules):
                module.requires_grad_(layer in self.active)

    @staticmethod
    def features(sigma_B: Tensor) -> Tensor:
        return sigma_features(sigma_B, SIGMA_FEATURES)

    def swapped(self) -> Mixer:
        """Exchange what the two streams use, in place: the mixer of the transposed grid."""
        self.row, self.column = self.column, self.row
        return self


class NoSync(nn.Module):
    """Two independent streams."""

    matrices = 0  # a layer

    @staticmethod
    def features(sigma_B: Tensor) -> Tensor:
        return sigma_B

    def forward(self, layer: int, row: Tensor, column: Tensor, feats: Tensor):
        return row, column


class HardSync(Mixer):
    """Both streams continue from the same x = W_row y_row + W_col y_col (Eq. 8)."""

    matrices = 1  # a layer

    def __init__(self, params: SyncParams, base: BlockSizes):
        # `row` maps (y_row, y_col) and is the only matrix pair; `column` is unused and dropped.
        super().__init__(params, base, [0.5] * base.depth, [0.5] * base.depth)
        self.column = nn.ModuleList()

    def forward(self, layer: int, row: Tensor, column: Tensor, feats: Tensor):
        if layer not in self.active:
            return row, column
        x = self.row[layer](row, column, feats)
        return x, x

    def swapped(self) -> HardSync:
        for m in self.row:
            assert isinstance(m, ModLinear)
            if m.rank is None:
                m.full = nn.Parameter(m.full.roll(m.full.shape[0], 1))
            else:
                m.own, m.other = m.other, m.own
                weight = m.down.weight
                m.down.weight = nn.Parameter(weight.roll(weight.shape[1] // 2, 1))
        return self


class SoftSync(Mixer):
    """Each stream moves towards the other: x = y + Mod_Linear([y_own; y_other]) (Eq. 9-10)."""

    matrices = 2  # a layer

    def __init__(self, params: SyncParams, base: BlockSizes):
        w = [0.1 + 0.4 * layer / base.depth for layer in range(1, base.depth + 1)]
        super().__init__(params, base, [-x for x in w], w)

    def forward(self, layer: int, row: Tensor, column: Tensor, feats: Tensor):
        if layer not in self.active:
            return row, column
        d_row = self.row[layer](row, column, feats)
        d_column = self.column[layer](column, row, feats)
        return row + d_row, column + d_column


class SequentialSync(Mixer):
    """One copy of the tokens: the column update, then the row update (Eq. 5).

    What is trained are adapters after either update, of the same size as the other mixers'; they
    see the copy before and after the update and start at 0.
    """

    matrices = 2  # a layer

    def __init__(self, params: SyncParams, base: BlockSizes):
        super().__init__(params, base, [0.0] * base.depth, [0.0] * base.depth)

    def after_update(
        self, layer: int, stream: str, before: Tensor, after: Tensor, feats: Tensor
    ) -> Tensor:
        if layer not in self.active:
            return after
        adapter = (self.row if stream == "row" else self.column)[layer]
        return after + adapter(after, after - before, feats)


class FusedSync(Mixer):
    """One copy of the tokens; every token attends to its row and its column at once (the design of
    4Real-Video-V2). Trained is one adapter after each block, which starts at 0."""

    matrices = 1  # a layer

    def __init__(self, params: SyncParams, base: BlockSizes):
        super().__init__(params, base, [0.0] * base.depth, [0.0] * base.depth)
        self.column = nn.ModuleList()

    def after_update(self, layer: int, before: Tensor, after: Tensor, feats: Tensor) -> Tensor:
        if layer not in self.active:
            return after
        return after + self.row[layer](after, after - before, feats)

    def swapped(self) -> FusedSync:
        return self


MIXER_CLASSES: dict[MixerName, type[NoSync | HardSync | SoftSync | SequentialSync | FusedSync]] = {
    "none": NoSync,
    "sequential": SequentialSync,
    "hard": HardSync,
    "soft": SoftSync,
    "fused": FusedSync,
}


def build_mixer(params: SyncParams, base: BlockSizes) -> NoSync | Mixer:
    """The (untrained, hence training-free) mixer that `params` describe."""
    kind = MIXER_CLASSES[params.mixer]
    return NoSync() if kind is NoSync else kind(params, base)  # type: ignore[call-arg]
