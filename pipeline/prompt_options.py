"""Options of the command `prompt`: what to make, and how (imports nothing heavy)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from fourreal.errors import UserError
from fourreal.option_values import Size, check_memory
from gen.grid_file import MAX_CELLS
from gen.sync.names import MixerName
from pipeline.run_options import RunOptions
from pipeline.wan_options import WanOptions

UpsamplerChoice = Literal["auto", "on", "off"]
STEPS = 12  # of the bundled model, unless told otherwise


@dataclass
class Prompt:
    """Text -> fixed-view clip -> freeze-time clip -> whole grid -> 4D scene."""

    prompt: Positional[str] = ""
    """What to make, in words the bundled model knows (any, with Wan); --list shows them."""
    list: bool = False
    """Only say what can be asked for and draw a picture of every subject."""
    base: Literal["bundled", "wan"] = "bundled"
    """The pre-trained model: our small one, or Wan, whose weights you have (docs/WAN.md)."""
    views: int = 8
    """Number of viewpoints (rows)."""
    times: int = 8
    """Number of times (columns)."""
    steps: int | None = None
    """Denoising steps per clip and for the grid; by default 12 and 6, with Wan 30 each."""
    mixer: MixerName = "soft"
    """How the two streams are synchronised."""
    untrained_sync: bool = False
    """Use the training-free weights of the mixer."""
    size: Size = None
    """HEIGHTxWIDTH of the grid's frames; by default the generated ones times a whole number, with
    Wan 480x832."""
    upsampler: UpsamplerChoice = "auto"
    """Diffusion upsampler for the grid's frames; auto: when the weights have a good one, else plain
    resizing."""
    weights: str = ""
    """Folder of weights; by default the bundled ones. Wan: its folder in diffusers' layout."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the generator (Wan on a GPU: always bf16)."""
    max_memory: float = 0.0
    """GB that the generator may take (estimated); fewer clips at a time then. 0: no bound."""
    wan: Annotated[WanOptions, arg(name="")] = field(default_factory=WanOptions)

    run: Annotated[RunOptions, arg(name="")] = field(default_factory=RunOptions)

    def check(self) -> None:
        """Refuse values that no stage can work with. Raises UserError."""
        if not self.prompt.strip():
            raise UserError("the prompt is empty; describe a scene in quotes")
        for name, value, low, high in (
            ("views", self.views, 2, 64),
            ("times", self.times, 1, 256),
            ("steps", STEPS if self.steps is None else self.steps, 1, 200),
        ):
            if not low <= value <= high:
                raise UserError(f"--{name} {value}: choose {low}..{high}")
        if self.views * self.times > MAX_CELLS:
            raise UserError(f"--views {self.views} --times {self.times}: at most {MAX_CELLS} cells")
        check_memory(self.max_memory)
        self.wan.check(self.base == "wan")
        if self.base == "wan" and self.upsampler == "on":
            raise UserError("--upsampler on: there is none for Wan; ask for a larger --size")
        if self.wan.adapter and self.untrained_sync:
            raise UserError("--adapter and --untrained-sync exclude each other")
