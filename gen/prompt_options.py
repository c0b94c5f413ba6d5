"""Options of the command `prompt`: what to make, and how (imports nothing heavy)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from gen.errors import UserError
from gen.grid import MAX_CELLS, VideoGrid
from gen.option_values import check_memory, key_settings, parse_size
from gen.run_folder import slug

Mixer = Literal["none", "sequential", "hard", "soft", "fused"]
UpsamplerChoice = Literal["auto", "on", "off"]


@dataclass
class PromptOptions:
    """A text, and how its grid is generated."""

    prompt: Positional[str]
    """What to make, in words the bundled model knows."""
    views: int = 8
    """Number of viewpoints (rows)."""
    times: int = 8
    """Number of times (columns)."""
    steps: int = 12
    """Denoising steps per clip and for the grid."""
    mixer: Mixer = "soft"
    """How the two streams are synchronised."""
    untrained_sync: bool = False
    """Use the training-free weights of the mixer."""
    size: str = ""
    """HEIGHTxWIDTH of the grid's frames; by default the generated ones times a whole number."""
    upsampler: UpsamplerChoice = "auto"
    """Diffusion upsampler for the grid's frames; auto: when the weights have a good one, else plain
    resizing."""
    weights: str = ""
    """Folder of weights; by default the bundled ones."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the generator."""
    max_memory: float = 0.0
    """GB that the generator may take (estimated); fewer clips at a time then. 0: no bound."""

    @property
    def title(self) -> str:
        """What the stage is called on screen."""
        return f'"{self.prompt}" -> {self.views} x {self.times} grid'

    @property
    def name(self) -> str:
        """A folder name."""
        return slug(self.prompt)

    def check(self) -> None:
        """Refuse values that no stage can work with. Raises UserError."""
        if not self.prompt.strip():
            raise UserError("the prompt is empty; describe a scene in quotes")
        for name, value, low, high in (
            ("views", self.views, 2, 64),
            ("times", self.times, 1, 256),
            ("steps", self.steps, 1, 200),
        ):
            if not low <= value <= high:
                raise UserError(f"--{name} {value}: choose {low}..{high}")
        if self.views * self.times > MAX_CELLS:
            raise UserError(f"--views {self.views} --times {self.times}: at most {MAX_CELLS} cells")
        parse_size(self.size)
        check_memory(self.max_memory)

    def key_parts(self, seed: int) -> list[Any]:
        """What the grid is made from, for `content_hash`. UserError: unusable words or weights."""
        from gen.generate import check_prompt, weights_folder

        folder = weights_folder(self.weights)
        check_prompt(self.prompt, folder)
        return [key_settings(self, PromptOptions), seed, folder]

    def make_grid(self, run: Path, seed: int) -> VideoGrid:
        """Generate the grid; the clips it grows from are kept in ``run/clips``."""
        from gen.prompt_command import generate_from_prompt

        return generate_from_prompt(self, run / "clips", seed)
