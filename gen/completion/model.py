"""The trained completion network of a weights folder, over whole grids.

Files: `completion-NN.safetensors` and `completion.json` in a weights folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from fourreal.atomic import atomic_file
from fourreal.console import Report
from fourreal.errors import UserError
from fourreal.read_text import read_json
from fourreal.video_io import resize_frames
from gen.completion.flow import to_first
from gen.completion.network import CompletionNet, CompletionParams, mix, spread
from gen.completion.rules import candidates, hidden_cells
from gen.flow.windows import WINDOW
from gen.generate import GenerateConfig, GeneratedGrid, check_clips
from gen.grid import VideoGrid
from gen.network.base import DAMAGED, load_shards, save_shards

NAME = "completion"
AT_ONCE = 32  # cells that go through the network together


def frames_of(clip_FHWC: NDArray[np.uint8]) -> Tensor:
    """uint8 [F, H, W, 3] -> [-1, 1], [F, 3, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(clip_FHWC)).permute(0, 3, 1, 2).float() / 127.5 - 1


def places(cells_N2: Tensor, window: int = WINDOW) -> Tensor:
    """(v, t) as shares of a window, for the network."""
    return cells_N2.float() / (window - 1)


class Cross:
    """Row 0 and column 0 at one size, as the rules want them."""

    def __init__(self, row_THWC: NDArray[np.float32], column_VHWC: NDArray[np.float32]):
        """RGB in 0..1."""
        row, column = (
            np.clip(c * 255 + 0.5, 0, 255).astype(np.uint8) for c in (row_THWC, column_VHWC)
        )
        self.row, self.column = frames_of(row), frames_of(column)
        self.view_flow, self.time_flow = to_first(column, True), to_first(row, True)

    def candidates(self, cells_N2: Tensor) -> tuple[Tensor, Tensor]:
        """What the rules say of cells, and hints (`rules.candidates`)."""
        return candidates(self.row, self.column, self.view_flow, self.time_flow, cells_N2)


@torch.no_grad()
def answers(
    net: CompletionNet,
    row_THWC: NDArray[np.float32],
    column_VHWC: NDArray[np.float32],
    cells_N2: Tensor,
    size: tuple[int, int] | None = None,
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Cells (v, t) of the grid of row 0 [T, H, W, 3] and column 0 [V, H, W, 3] (0..1), some at a
    time: which ones, what the rules say of them [N, K, 3, H, W], and the trust in each rule and
    the correction as `mix` takes them.

    size: (height, width) that the network looks at; it decides there whom to trust, and what is
    trusted is taken from the frames at their own size.  None: the frames' size.
    """
    own = row_THWC.shape[1:3]
    full = looked_at = Cross(row_THWC, column_VHWC)
    if size is not None and size != own:
        looked_at = Cross(*(resize_frames(c, *size) for c in (row_THWC, column_VHWC)))
    share = places(cells_N2, max(len(column_VHWC), len(row_THWC), WINDOW))
    device = next(net.parameters()).device
    at_once = max(1, min(AT_ONCE, AT_ONCE * 64 * 64 // (own[0] * own[1])))
    for i in range(0, len(cells_N2), at_once):
        part = cells_N2[i : i + at_once]
        said, hints = looked_at.candidates(part)
        inputs = said, hints, looked_at.row[0], share[i : i + at_once]
        trust, correction = net.weigh(*(x.to(device) for x in inputs))
        if full is not looked_at:
            said, _ = full.candidates(part)
        yield part, said.to(device), trust, correction


@torch.no_grad()
def complete(
    net: CompletionNet,
    row_THWC: NDArray[np.float32],
    column_VHWC: NDArray[np.float32],
    size: tuple[int, int] | None = None,
) -> NDArray[np.float32]:
    """Fill a grid: row 0 [T, H, W, 3] and column 0 [V, H, W, 3] in 0..1 -> [V, T, H, W, 3].

    size: as of `answers`.  Given cells come out unchanged (the row's first frame is the corner).
    UserError when the clips are of different sizes.
    """
    check_clips(row_THWC, column_VHWC)
    views, times = len(column_VHWC), len(row_THWC)
    column_VHWC = np.concatenate([row_THWC[:1], column_VHWC[1:]])
    out = np.empty((views, times, *row_THWC.shape[1:]), np.float32)
    out[0], out[:, 0] = row_THWC, column_VHWC
    cells = hidden_cells(views, times)
    for part, said, trust, correction in answers(net, row_THWC, column_VHWC, cells, size):
        made = mix(said, trust, correction)
        images = ((made.clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).cpu().numpy()
        out[part[:, 0], part[:, 1]] = images
    return out


class Completer:
    """The completion network as what fills grids of footage (see `gen.generate.Generator`)."""

    def __init__(self, net: CompletionNet, size: tuple[int, int]):
        """size: (height, width) of the frames it was trained on, at which it decides."""
        self.net, self.size = net, size

    def guess(self, row_THWC: Tensor, column_VHWC: Tensor) -> Tensor:
        """Colours and disagreement of the rules for every cell, [V, T, H, W, 4], as
        `gen.completion.blend` takes them.

        row, column: row 0 and column 0, in [-1, 1]; they come out as they are, with no
        disagreement.
        """
        views, times = len(column_VHWC), len(row_THWC)
        out = torch.zeros(views, times, *row_THWC.shape[1:3], 4)
        out[0, ..., :3], out[:, 0, ..., :3] = row_THWC, column_VHWC
        row, column = (((c.cpu() + 1) / 2).clamp(0, 1).numpy() for c in (row_THWC, column_VHWC))
        cells = hidden_cells(views, times)
        for part, said, trust, correction in answers(self.net, row, column, cells, self.size):
            colours = mix(said, trust, correction).clamp(-1, 1)
            made = torch.cat([colours, spread(said, trust)], 1).permute(0, 2, 3, 1)
            out[part[:, 0], part[:, 1]] = made.cpu()
        return out

    def complete_grid(
        self,
        row: NDArray[np.float32],
        column: NDArray[np.float32],
        prompt: str = "",
        config: GenerateConfig | None = None,
        report: Report | None = None,
    ) -> GeneratedGrid:
        """Fill the grid between a fixed-view clip [T, H, W, 3] and a freeze-time clip
        [V, H, W, 3], at their size.  Words and seeds have no say."""
        cells = complete(self.net, row, column, self.size)
        if report is not None:
            report("completed grid", 1, 1)
        fps = GenerateConfig.fps if config is None else config.fps
        grid = VideoGrid(frames=cells, fps=fps, prompt=prompt)
        return GeneratedGrid(grid, grid.row(0), grid.column(0))


def save_completion(
    net: CompletionNet, folder: Path, size: tuple[int, int], how_made: dict[str, Any]
) -> None:
    """Write the network (bf16), trained on frames of `size`, into a weights folder."""
    save_shards(folder, NAME, net.state_dict())
    config = {
        "format": "fourreal-completion",
        "version": 1,
        "size": list(size),
        "params": asdict(net.params),
        "how_made": how_made,
    }
    with atomic_file(folder / f"{NAME}.json") as path:
        path.write_text(json.dumps(config, indent=1) + "\n")


def has_completion(folder: Path) -> bool:
    """Whether a weights folder holds a completion network."""
    return (Path(folder) / f"{NAME}.json").is_file()


def load_completion(folder: Path) -> Completer:
    """The completion network of a weights folder, in eval mode on the CPU.

    Raises UserError when there is none or its files do not fit together.
    """
    path = Path(folder) / f"{NAME}.json"
    if not has_completion(folder):
        raise UserError(f"{folder} holds no completion network ({NAME}.json is missing)")
    try:
        config = read_json(path)
        if config["format"] != "fourreal-completion" or config["version"] != 1:
            raise ValueError("unknown format or version")
        params = config["params"]
        net = CompletionNet(CompletionParams(tuple(params["widths"]), params["blocks"]))
        net.load_state_dict(load_shards(Path(folder), NAME))
        size = int(config["size"][0]), int(config["size"][1])
    except (*DAMAGED, SafetensorError) as error:
        raise UserError(f"the completion network in {folder} does not fit: {error}") from error
    return Completer(net.eval().requires_grad_(False), size)
