"""A folder of rendered asset scenes, and training items drawn from it.

LOOK/NNNNNN.png is all cells of a scene as one picture (views down, times across), LOOK/NNNNNN.json
the scene; pictures/ has many more scenes of look "prompt" by their first cell alone.
`scripts/render_world.py` fills the folder; scenes are named by number, so several processes can,
and a later call goes on.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourreal.atomic import atomic_file
from fourreal.errors import UserError
from gen.data.assets.captions import caption, vocabulary
from gen.data.assets.scenes import TIMES, VIEWS, AssetScene, scene_from_json
from gen.data.batches import Clip, randint, seeded
from gen.data.grid_batches import Grid
from gen.network.dit import Mode

HELD_OUT = 900_000  # scenes with this number and above are never trained on


PICTURES = "pictures"  # sub-folder of scenes of one cell


def scene_path(folder: Path, kind: str, number: int) -> Path:
    """The picture of a scene of a look, or of `PICTURES`."""
    return folder / kind / f"{number:06d}.png"


def write_scene(path: Path, scene: AssetScene, cells: NDArray[np.uint8]) -> None:
    """Write cells [V, T, H, W, 3] and their scene; the picture last, so it tells what is done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(scene.as_json()) + "\n")
    v, t, h, w, _ = cells.shape
    mosaic = cells.transpose(0, 2, 1, 3, 4).reshape(v * h, t * w, 3)
    done, data = cv2.imencode(".png", mosaic[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 4])
    assert done
    with atomic_file(path) as temporary:
        temporary.write_bytes(data.tobytes())


def read_scene(
    path: Path, views: int = VIEWS, times: int = TIMES
) -> tuple[AssetScene, NDArray[np.uint8]]:
    """A scene and its cells [V, T, H, W, 3]; UserError when the files are damaged."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    try:
        scene = scene_from_json(json.loads(path.with_suffix(".json").read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path.with_suffix('.json')} describes no scene ({error})") from error
    if picture is None or picture.shape[0] % views or picture.shape[1] % times:
        raise UserError(f"{path} is no picture of {views} x {times} cells; delete and render it")
    h, w = picture.shape[0] // views, picture.shape[1] // times
    cells = picture[..., ::-1].reshape(views, h, times, w, 3).transpose(0, 2, 1, 3, 4)
    return scene, np.ascontiguousarray(cells)


def at_size(cells: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Cells [V, T, h, w, 3] at height x width: the central part of that aspect, by area."""
    h, w = cells.shape[2:4]
    part_h, part_w = min(h, round(w * height / width)), min(w, round(h * width / height))
    y, x = (h - part_h) // 2, (w - part_w) // 2
    cells = cells[:, :, y : y + part_h, x : x + part_w]
    flat = cells.reshape(-1, *cells.shape[2:])
    small = [cv2.resize(c, (width, height), interpolation=cv2.INTER_AREA) for c in flat]
    return np.stack(small).reshape(*cells.shape[:2], height, width, 3)


@lru_cache(maxsize=4)
def _load(
    paths: tuple[Path, ...], height: int, width: int, views: int, times: int
) -> tuple[tuple[AssetScene, ...], NDArray[np.uint8]]:
    """Scenes and their cells [n, V, T, H, W, 3]: clips and pictures of a run share the memory."""
    scenes = []
    frames = np.empty((len(paths), views, times, height, width, 3), np.uint8)
    for i, path in enumerate(paths):
        scene, cells = read_scene(path, views, times)
        scenes.append(scene)
        frames[i] = at_size(cells, height, width)
    return tuple(scenes), frames


class CachedScenes:
    """The scenes of a cache folder at one size, in memory, as a source of grids and of clips.

    kinds: which sub-folders of scenes; held_out: only those kept from training instead of the
    others.  Grids outnumber what fits into memory nowhere so far: 500 at 40x64 are 250 MB.
    """

    def __init__(
        self,
        folder: Path,
        height: int,
        width: int,
        seed: int,
        kinds: tuple[str, ...] = ("prompt",),
        held_out: bool = False,
        most: int | None = None,
        cells: tuple[int, int] = (VIEWS, TIMES),
    ):
        """UserError when the folder has no such scenes."""
        paths = [p for kind in kinds for p in sorted((folder / kind).glob("[0-9]*.png"))]
        paths = [p for p in paths if (int(p.stem) >= HELD_OUT) == held_out][:most]
        if not paths:
            which = "held-out " if held_out else ""
            raise UserError(
                f"{folder} has no {which}scenes ({', '.join(kinds)}); render some with "
                "scripts/render_world.py"
            )
        self.seed = seed
        self.scenes, self.frames = _load(tuple(paths), height, width, *cells)

    def prepare(self, step: int) -> None:
        """Nothing to do: everything is in memory."""

    def word_counts(self) -> Counter[str]:
        """Every word of the grammar once."""
        return Counter(vocabulary())


class CachedGrids(CachedScenes):
    """8 x 8 grids of the cache (`gen.data.batches.Source` of `Grid`)."""

    def item(self, step: int, number: int) -> Grid:
        g = seeded(self.seed, step, number, 31)
        i = randint(len(self.scenes), g)
        text = caption(self.scenes[i], g, freeze=float(torch.rand((), generator=g)) < 0.3)
        return Grid(torch.from_numpy(self.frames[i]), text)


class CachedClips(CachedScenes):
    """Rows and columns of the cache's grids (`gen.data.batches.Source` of `Clip`): half start at
    view 0 and time 0, the others anywhere, as in `gen.data.batches.render_clips`."""

    def __init__(self, *args, frames: int = TIMES, **kwargs):
        """frames: of a clip: all 8, or 1 for pictures of view 0 and time 0."""
        super().__init__(*args, **kwargs)
        self.length = frames

    def item(self, step: int, number: int) -> Clip:
        g = seeded(self.seed, step, number, 32)
        i = randint(len(self.scenes), g)
        mode = Mode(randint(2, g))
        canonical = self.length == 1 or float(torch.rand((), generator=g)) < 0.5
        place = 0 if canonical else randint(VIEWS, g)
        cells = self.frames[i]
        clip = cells[place] if mode == Mode.DYNAMIC else cells[:, place]
        text = caption(self.scenes[i], g, freeze=mode == Mode.FREEZE_TIME)
        return Clip(_tensor(clip[: self.length]), text, mode, canonical)


class CachedPictures(CachedScenes):
    """First cells of many scenes (`gen.data.batches.Source` of `Clip` of one frame)."""

    def __init__(self, folder: Path, height: int, width: int, seed: int):
        super().__init__(folder, height, width, seed, (PICTURES,), cells=(1, 1))

    @staticmethod
    def there(folder: Path) -> bool:
        """Whether a cache has any."""
        return any((folder / PICTURES).glob("[0-9]*.png"))

    def item(self, step: int, number: int) -> Clip:
        g = seeded(self.seed, step, number, 32)
        i = randint(len(self.scenes), g)
        mode = Mode(randint(2, g))
        text = caption(self.scenes[i], g, freeze=mode == Mode.FREEZE_TIME)
        return Clip(_tensor(self.frames[i, 0]), text, mode, canonical=True)


def _tensor(frames: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames))
