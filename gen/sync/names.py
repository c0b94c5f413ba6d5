"""Names of the mixers, for options and files (imports nothing heavy)."""

from __future__ import annotations

from typing import Literal, get_args

MixerName = Literal["none", "sequential", "hard", "soft", "fused"]
MIXERS: tuple[MixerName, ...] = get_args(MixerName)
