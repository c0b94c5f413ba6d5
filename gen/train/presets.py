"""Named starting points of the training scripts (`--preset NAME`) and how their options are read.

A preset is a function of the paths it cannot know, returning a checked configuration; any flag on
the command line replaces one of its settings.  The `paper-*` presets follow Sec. 3.3 and 4.1 and
supplement 1.1: AdamW with a cosine schedule, K in 0..4 first frames, 36x64 before 72x128, batch
1152 (base) and 48 (4D), 20k steps on pseudo-4D grids and then 3k on rendered ones, training the
synchronisation layers alone.  What the paper leaves open is ours: learning rates, the number of
steps of the base, how the 20k steps split over the two resolutions.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import tyro

from fourreal.errors import UserError
from gen.data.batches import PoolConfig
from gen.train.options import ClipMix, GridMix, Train4DConfig, TrainBaseConfig

NARROW = PoolConfig(world="narrow")


def small_pictures(out: Path) -> TrainBaseConfig:
    """First stage of a model for a CPU: pictures of the narrow procedural world."""
    return TrainBaseConfig(
        out=out, size="small", frames=1, batch=128, steps=500, optimiser="muon", lr=2e-3,
        warmup=40, decay=0.0, pool=NARROW,
    )  # fmt: skip


def small_clips(out: Path, init: Path) -> TrainBaseConfig:
    """Second stage, from the first: clips, 4 of their 8 frames a step."""
    return TrainBaseConfig(
        out=out, init=init, size="small", use_frames=4, batch=32, steps=1000, picture_every=6,
        optimiser="muon", lr=2e-3, warmup=30, decay=0.4, pool=NARROW,
    )  # fmt: skip


def paper_base_low(out: Path, dynamic: Path, static: Path) -> TrainBaseConfig:
    """600 M parameters at 36x64 on captioned videos of both groups, and on their still images."""
    return TrainBaseConfig(
        out=out, dynamic=dynamic, static=static, mix=ClipMix(procedural=0, dynamic=1, static=1),
        size="paper", resolution="36x64", batch=1152, picture_every=4, picture_batch=1152,
        steps=200_000, optimiser="adamw", lr=4e-4, schedule="cosine", warmup=1000,
        first_frames="uniform", vivid_weight=0.0, precision="bf16", gradient_checkpointing=True,
        readers=16, checkpoint_minutes=30, sample_every=1000,
    )  # fmt: skip


def paper_base_high(out: Path, init: Path, dynamic: Path, static: Path) -> TrainBaseConfig:
    """The same network at 72x128, from the run at 36x64."""
    low = paper_base_low(out, dynamic, static)
    return replace(low, init=init, resolution="72x128", steps=100_000, lr=2e-4)


def small_4d(out: Path, base: Path) -> Train4DConfig:
    """Low-rank soft synchronisation of a small base on procedural grids."""
    return Train4DConfig(
        out=out, base=base, mixer="soft", batch=6, steps=400, optimiser="adamw", lr=2e-3,
        warmup=20, decay=0.5, big_every=6, pool=PoolConfig(32, 8, 2, 16, "narrow"),
    )  # fmt: skip


def paper_4d_low(out: Path, base: Path, videos: Path) -> Train4DConfig:
    """Full-rank soft synchronisation at 36x64 on pseudo-4D grids of videos with motion."""
    return Train4DConfig(
        out=out, base=base, videos=videos, mix=GridMix(procedural=0, pseudo4d=1), mixer="soft",
        rank=None, resolution="36x64", batch=48, views=8, times=8, steps=12_000,
        optimiser="adamw", lr=2e-4, schedule="cosine", warmup=500, vivid_weight=0.0,
        precision="bf16", gradient_checkpointing=True, readers=16, checkpoint_minutes=30,
        sample_every=500,
    )  # fmt: skip


def paper_4d_high(out: Path, init: Path, base: Path, videos: Path) -> Train4DConfig:
    """The rest of the 20k steps at 72x128."""
    low = paper_4d_low(out, base, videos)
    return replace(low, init=init, resolution="72x128", steps=8_000, lr=1e-4)


def paper_4d_animated(out: Path, init: Path, base: Path, grids: Path) -> Train4DConfig:
    """3k steps on rendered animated assets (more of them made real scenes slightly worse)."""
    low = paper_4d_low(out, base, grids)
    return replace(
        low, init=init, videos=None, grids=grids, mix=GridMix(procedural=0, grids=1),
        resolution="72x128", steps=3_000, lr=5e-5,
    )  # fmt: skip


Config = TypeVar("Config", TrainBaseConfig, Train4DConfig)
BASE_PRESETS: dict[str, Callable[..., TrainBaseConfig]] = {
    "small-pictures": small_pictures,
    "small-clips": small_clips,
    "paper-low": paper_base_low,
    "paper-high": paper_base_high,
}
PRESETS_4D: dict[str, Callable[..., Train4DConfig]] = {
    "small": small_4d,
    "paper-low": paper_4d_low,
    "paper-high": paper_4d_high,
    "paper-animated": paper_4d_animated,
}


def read_options(
    kind: type[Config],
    presets: Mapping[str, Callable[..., Config]],
    description: str | None,
    arguments: Sequence[str] | None = None,
) -> Config:
    """The configuration of a command line: a preset if one is named, then the other flags."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", choices=list(presets))
    named, rest = early.parse_known_args(arguments)
    lines: list[str] = [f"  --preset {name}: {f.__doc__}" for name, f in presets.items()]
    text = "\n".join([description or "", "Starting points:", *lines])
    if named.preset is None:
        return tyro.cli(kind, args=rest, description=text)
    preset = presets[named.preset]
    paths: dict[str, Any] = dict.fromkeys(inspect.signature(preset).parameters, tyro.MISSING)
    return tyro.cli(kind, args=rest, description=text, default=preset(**paths))


def run_training(
    main: Callable[[Config], Any],
    kind: type[Config],
    presets: Mapping[str, Callable[..., Config]],
    description: str | None,
) -> int:
    """Train as the command line says; a UserError is one line on stderr and exit code 2."""
    try:
        main(read_options(kind, presets, description))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0
