"""Sizes of the clip model: its hyper-parameters as one dataclass, and the named ones."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class DiTParams:
    """Hyper-parameters of one network; `SIZES` names the ones in use."""

    width: int
    depth: int
    heads: int
    patch: int
    height: int
    width_px: int
    text_width: int
    bottleneck: int = 128
    extra_channels: int = 0  # further conditioning channels (the upsampler's low-resolution clip)
    # Show every frame the clip's first frame, when it is known, at the same place as a further
    # input: what stands still is then copied by the embedding, and attention is left with motion.
    reference: bool = True
    frame_place: bool = True  # tell every token its frame's place; rotary positions are relative
    shared_adaln: bool = True  # one modulation projection for all blocks + a bias per block
    rope_theta: float = 100.0
    copies: bool = False  # a head that copies from the first frame: `gen.network.copying`

    def __post_init__(self) -> None:
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(f"width {self.width} must split into {self.heads} even-sized heads")
        if self.height % self.patch or self.width_px % self.patch:
            raise ValueError(f"{self.height}x{self.width_px} is not a multiple of {self.patch}")

    @property
    def frame_size(self) -> tuple[int, int]:
        """(height, width) of the frames."""
        return self.height, self.width_px

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @property
    def mlp_hidden(self) -> int:
        """SwiGLU hidden width: 8/3 of the width, rounded up to a multiple of 32."""
        return 32 * math.ceil(self.width * 8 / 3 / 32)


SIZES: dict[str, DiTParams] = {
    "debug": DiTParams(64, 2, 2, 8, 16, 24, text_width=32, bottleneck=32),
    # Trained on two CPU cores: the stand-in that ships until a GPU has trained `bundled`.
    "small": DiTParams(192, 6, 4, 8, 40, 64, text_width=128),
    "bundled": DiTParams(320, 10, 5, 8, 72, 128, text_width=192),
    "paper": DiTParams(
        1024,
        24,
        16,
        4,
        72,
        128,
        text_width=1024,
        reference=False,
        frame_place=False,
        shared_adaln=False,
    ),
}
