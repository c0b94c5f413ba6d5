"""Freeze-time clips with known cameras to score trackers on: rendered, procedural and real."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fourreal.cameras import scale_intrinsics
from fourreal.console import say
from fourreal.errors import UserError
from fourreal.video_io import read_clip
from gen.data.world.grid import scene_truth
from gen.data.world.scene_sampling import sample_scenes
from scripts.evaluate.truth_grid import TruthGrid


@dataclass
class Clip:
    """frames [V, H, W, 3] in 0..1; depth [V, H, W] (NaN: background) or None; K [V, 3, 3];
    w2c [V, 4, 4]; note: what a reader of its figures should know."""

    name: str
    frames: np.ndarray
    depth: np.ndarray | None
    K: np.ndarray
    w2c: np.ndarray
    note: str = ""


def rendered_clips(data: Path, size: tuple[int, int], scenes: list[str]) -> Iterator[Clip]:
    """Column 0 (input views) of every scene folder as scripts/render_procedural.py writes them."""
    for folder in sorted(p.parent for p in data.glob("*/cameras.json")):
        if not list(folder.glob("grid_*.npz")) or (scenes and folder.name not in scenes):
            continue
        try:
            truth = TruthGrid.load(folder, size)
        except UserError as error:
            say(f"{folder.name}: skipped, {error}")
            continue
        v = truth.views
        yield Clip(
            named(folder.name, size), truth.rgb[:v, 0], truth.depth[:v, 0], truth.K[:v],
            truth.w2c[:v],
        )  # fmt: skip


def real_clips(data: Path, scenes: list[str]) -> Iterator[Clip]:
    """NAME.mp4 beside NAME_cameras.json, and folders of cam*.mp4 with a cameras.json."""
    for path in sorted(data.glob("*_cameras.json")):
        name = path.name.removesuffix("_cameras.json")
        video = path.with_name(name + ".mp4")
        if not video.exists() or (scenes and name not in scenes):
            continue
        stored = json.loads(path.read_text())
        frames = _frames(video)
        K = scale_intrinsics(stored["K"], (stored["height"], stored["width"]), frames.shape[1:3])
        w2c = np.array(stored["w2c"], np.float64)
        yield Clip(
            name, frames, None, np.broadcast_to(K, (len(w2c), 3, 3)), w2c,
            note="no exact depth; the cameras are COLMAP's",
        )  # fmt: skip
    for path in sorted(data.glob("*/cameras.json")):
        folder = path.parent
        stored = json.loads(path.read_text())
        cameras = stored.get("cameras")
        videos = sorted(folder.glob("cam*.mp4"))
        if not isinstance(cameras, list) or len(videos) != len(cameras):
            continue
        if scenes and folder.name not in scenes:
            continue
        frames = np.concatenate([_frames(v)[:1] for v in videos])
        original = (stored["height"], stored["width"])
        Ks = [scale_intrinsics(c["K"], original, frames.shape[1:3]) for c in cameras]
        w2c = np.array([c["w2c"] for c in cameras], np.float64)
        yield Clip(
            folder.name, frames, None, np.array(Ks), w2c,
            note="first frames of a calibrated rig: too far apart for dense matching",
        )  # fmt: skip


def _frames(video: Path) -> np.ndarray:
    frames = np.asarray(read_clip(video)[0], np.float32)
    return frames / 255.0 if frames.max() > 1.5 else frames


def procedural_clips(count: int, size: tuple[int, int], views: int = 8) -> Iterator[Clip]:
    """Ray-traced scenes of seeds 0, 1, …: exact depth and cameras without any data on disk."""
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        scene = sample_scenes(1, generator, camera_move=("arc_left", "arc_right"))
        truth = scene_truth(scene, views, 1, size, points=16, seed=seed)
        depth = np.where(np.isfinite(truth.depth[:, 0]), truth.depth[:, 0], np.nan)
        yield Clip(
            named(f"procedural{seed:03d}", size), truth.rgb[:, 0].astype(np.float32), depth,
            truth.K, truth.w2c,
        )  # fmt: skip


def named(name: str, size: tuple[int, int]) -> str:
    """NAME at the usual size, NAME@HxW at another."""
    return name if size == (144, 256) else f"{name}@{size[0]}x{size[1]}"
