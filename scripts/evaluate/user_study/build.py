"""Make the page of an A/B study: pairs of videos without names, and the key to them.

    OUT/page/index.html, OUT/page/videos/*.mp4     to be published, on any static host or as files
    OUT/key.json                                   which video is whose: to be kept back

A grid is shown as the paper does it: the fixed-view videos of some views, one after the other.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourreal.atomic import atomic_file, atomic_folder
from fourreal.console import progress
from fourreal.errors import UserError
from fourreal.video_io import read_video, resize_frames, write_video
from gen.grid import VideoGrid
from scripts.evaluate.metrics.grid_set import grids_in, read_prompts
from scripts.evaluate.user_study.questions import QUESTIONS

PAGE = Path(__file__).with_name("page.html")
KEY_FORMAT = "user-study-key"
LEAST_WIDTH = 384  # of a video; smaller ones are enlarged by a whole factor
FPS = 8.0


def grid_video(grid: VideoGrid, views: int) -> NDArray[np.float32]:
    """The fixed-view videos of `views` views (evenly from the second to the last), one after the
    other, each there and back: [F, H, W, 3]."""
    chosen = np.unique(np.linspace(min(1, grid.V - 1), grid.V - 1, views).round().astype(int))
    there_and_back = [*range(grid.T), *range(grid.T - 2, 0, -1)]
    return np.concatenate([grid.row(int(v))[there_and_back] for v in chosen])


def shown_video(path: Path, views: int) -> tuple[NDArray[np.float32], str]:
    """The video that stands for a grid or is one, and its prompt."""
    if path.suffix == ".mp4":
        frames, _, comment = read_video(path)
        if "fourreal_tiles" not in comment:
            return frames, ""
    grid = VideoGrid.load(path)
    return grid_video(grid, views), grid.prompt


def enlarged(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Frames at least LEAST_WIDTH wide, with even sides."""
    height, width = frames.shape[1:3]
    factor = max(1, -(-LEAST_WIDTH // width))
    frames = resize_frames(frames, height * factor, width * factor)
    return frames[:, : height * factor // 2 * 2, : width * factor // 2 * 2]


def build_study(
    a: Path, b: Path, out: Path, *, names: tuple[str, str], prompts: Path | None = None,
    views: int = 4, pairs: int | None = None, seed: int = 0,
) -> Path:  # fmt: skip
    """Write the page and the key; returns the page.

    a, b: folders of grids (or of .mp4 videos) with files of the same names; pairs: at most so many
    of them, drawn with `seed`, which also makes the videos' anonymous names.

    Raises:
        UserError: nothing in common, or a study is there already.
    """
    for folder in (a, b):
        if not folder.is_dir():
            raise UserError(f"no such folder: {folder}")
    if names[0] == names[1]:
        raise UserError(f"both sides are called {names[0]!r}; give --name-a and --name-b")
    if (out / "key.json").exists():
        raise UserError(f"{out} holds a study, which may have answers; choose another --out")
    found = grids_in(a), grids_in(b)
    common = sorted(set(found[0]) & set(found[1]))
    if not common:
        raise UserError(f"{a} and {b} have no grid or video of the same name")
    random = np.random.default_rng(seed)
    order = random.permutation(len(common))[: pairs or len(common)]
    said = read_prompts(prompts)
    study_id = random.bytes(6).hex()
    entries, key, aspect = [], {}, 1.0
    with atomic_folder(out / "page") as page:
        (page / "videos").mkdir()
        for number in progress(order.tolist(), "videos"):
            name = common[number]
            ids, prompt = [], said.get(name, "")
            for side in (0, 1):
                frames, own_prompt = shown_video(found[side][name], views)
                prompt = prompt or own_prompt
                ids.append(random.bytes(8).hex())
                key[ids[-1]] = {"name": names[side], "grid": name}
                frames = enlarged(frames)
                aspect = frames.shape[2] / frames.shape[1]
                write_video(page / "videos" / f"{ids[-1]}.mp4", frames, FPS)
            entry = {"id": random.bytes(4).hex(), "prompt": prompt}
            entries.append({**entry, "videos": [ids[i] for i in random.permutation(2)]})
        study = {
            "id": study_id,
            "aspect": round(aspect, 4),
            "pairs": entries,
            "questions": [asdict(q) for q in QUESTIONS],
        }
        text = json.dumps(study, ensure_ascii=False).replace("<", "\\u003c")
        (page / "index.html").write_text(
            PAGE.read_text("utf-8").replace("__STUDY__", text), "utf-8"
        )
    with atomic_file(out / "key.json") as temporary:
        values = {"format": KEY_FORMAT, "version": 1, "id": study_id, "names": list(names)}
        pair_ids = {e["id"]: e["videos"] for e in entries}
        document = {**values, "pairs": pair_ids, "videos": key}
        temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return out / "page" / "index.html"
