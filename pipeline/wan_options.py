"""Options of commands that Wan can serve (imports nothing heavy)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fourreal.errors import UserError

STEPS = 30


@dataclass
class WanOptions:
    """How the two streams run over Wan."""

    adapter: str = ""
    """Wan: file of trained synchronisation, from scripts/train_4d.py --base wan; without it the
    training-free rule is used."""
    time_stride: Literal[1, 4] = 4
    """Wan: frames of one latent; 1: every frame an image, four times the work."""

    def check(self, used: bool) -> None:
        """Refuse what cannot be. Raises UserError."""
        if not used and self != WanOptions():
            raise UserError("--adapter and --time-stride go with Wan (--base or --complete wan)")
        if self.adapter and not Path(self.adapter).is_file():
            raise UserError(
                f"no adapter at {self.adapter}; scripts/train_4d.py --base wan makes one"
            )

    def made_from(self, weights: str) -> dict[str, Any]:
        """What Wan's share of a grid follows from. Raises UserError without weights."""
        from gen.wan.folder import WanFolder, check_installed

        folder = WanFolder(weights)
        check_installed()
        adapter = Path(self.adapter) if self.adapter else ""
        return {
            "weights": folder.fingerprint(),
            "adapter": adapter,
            "time_stride": self.time_stride,
        }
