"""The two-stream model's grid and what completion says of it, mixed pixel by pixel.

What the model knows (its own small world) it draws better than any rule; what it has never seen
stands in the given row and column, and completion is right. A small network over both answers says
whom to believe where. It runs once, on the finished grid: inside the sampler, where the noisy
frames come from the model's own answers, it would be asked about pictures it was not trained on.
Ours, not in the paper. Files: `blend-00.safetensors` and `blend.json` in a weights folder.

Shape legend: V views, T times, H W pixels, N cells.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from fourreal.atomic import atomic_file
from fourreal.errors import UserError
from fourreal.read_text import read_json
from gen.network.base import DAMAGED, load_shards, save_shards

NAME = "blend"
CHANNELS = 10  # both colours, disagreement of the rules, distance, and the grid's means of these
MEANS = 10.0  # factor on the means, which are small


class Blend(nn.Module):
    """How much of completion's colour each pixel of a cell takes. Starts halfway."""

    def __init__(self, width: int = 24):
        super().__init__()
        self.width = width
        last = nn.Conv2d(width, 1, 1)
        self.net = nn.Sequential(
            nn.Conv2d(CHANNELS, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=2, dilation=2),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=4, dilation=4),
            nn.SiLU(),
            last,
        )
        for tensor in last.parameters():
            nn.init.zeros_(tensor)

    def forward(self, inputs_NCHW: Tensor) -> Tensor:
        """Shares [N, 1, H, W] in 0..1 from `blend_inputs`."""
        return torch.sigmoid(self.net(inputs_NCHW))

    @torch.no_grad()
    def grid(self, made_VTHWC: Tensor, guess_VTHWC: Tensor, known_VT: Tensor) -> Tensor:
        """The grid [V, T, H, W, 3] in [-1, 1], its unknown cells mixed; known ones stay.

        guess: as `gen.completion.model.Completer.guess` gives it.
        """
        out, hidden = made_VTHWC.clone(), ~known_VT
        if not bool(hidden.any()):
            return out
        made, guess = made_VTHWC[hidden], guess_VTHWC[hidden].to(made_VTHWC)
        inputs = blend_inputs(made, guess)
        share = torch.cat([self(part) for part in inputs.split(8)]).permute(0, 2, 3, 1)
        out[hidden] = torch.lerp(made, guess[..., :3], share.to(made.dtype))
        return out


def blend_inputs(made_NHWC: Tensor, guess_NHWC: Tensor) -> Tensor:
    """What the network sees of the hidden cells of one grid: [N, 10, H, W]."""
    colour, far = guess_NHWC[..., :3], guess_NHWC[..., 3:]
    off = (made_NHWC - colour).abs().mean(-1, keepdim=True)
    means = [x.mean().expand_as(x) * MEANS for x in (far, off)]
    return torch.cat([made_NHWC, colour, far, off, *means], -1).permute(0, 3, 1, 2)


def save_blend(blend: Blend, folder: Path, how_made: dict[str, Any]) -> None:
    """Write the network (bf16) into a weights folder."""
    save_shards(folder, NAME, blend.state_dict())
    config = {
        "format": "fourreal-blend",
        "version": 1,
        "width": blend.width,
        "how_made": how_made,
    }
    with atomic_file(folder / f"{NAME}.json") as path:
        path.write_text(json.dumps(config, indent=1) + "\n")


def load_blend(folder: Path) -> Blend | None:
    """The network of a weights folder, in eval mode on the CPU; None when it has none.

    Raises UserError when its files do not fit together.
    """
    path = Path(folder) / f"{NAME}.json"
    if not path.is_file():
        return None
    try:
        config = read_json(path)
        if config["format"] != "fourreal-blend" or config["version"] != 1:
            raise ValueError("unknown format or version")
        width = int(config["width"])
        if not 1 <= width <= 1024:
            raise ValueError(f"got width {width}, expected 1..1024")
        blend = Blend(width)
        blend.load_state_dict(load_shards(Path(folder), NAME))
    except (*DAMAGED, SafetensorError) as error:
        raise UserError(f"the blend in {folder} does not fit: {error}") from error
    return blend.eval().requires_grad_(False)
