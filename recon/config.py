"""Settings of the reconstruction, one small dataclass per stage.

Lengths and the learning rates of positions are in units of the canonical view's median depth, so
that they do not depend on the scale of the cameras.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gen.grid import FEW

Motion = Literal["nodes", "mlp", "mlp-points"]
NETWORKS = {"mlp": (64, 4), "mlp-points": (256, 8)}  # width, depth


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass
class CanonicalConfig:
    """Aggregation of freeze-time keyframes into canonical Gaussians (supplement 3)."""

    keyframes: int = 0
    """How many views give points, the canonical one first; 0 means all."""
    sigma: float = 0.7
    """Standard deviation of a Gaussian in pixels of the view it comes from."""
    opacity: float = 0.7
    cover_alpha: float = 0.85
    """A later keyframe's pixel is new where earlier points draw less than this alpha ..."""
    cover_depth: float = 0.06
    """... or lie deeper than the pixel by this fraction of its depth."""
    flat: float = 0.03
    """2 x 2 and 4 x 4 pixels that are told from a coarser picture to within this become one point,
    in whole grids; 0: none. Larger where there would be too many points."""
    plain_background: bool = True
    """Give no points to a background of one colour (found at the image borders)."""
    max_points: int = 400_000

    def __post_init__(self) -> None:
        _require(self.sigma > 0 and 0 < self.opacity < 1, "sigma > 0 and 0 < opacity < 1 expected")
        _require(self.keyframes >= 0 and self.max_points > 0, "counts must not be negative")


@dataclass
class FloaterConfig:
    """Opacity-only optimisation that makes floaters transparent, then removes them."""

    steps: int = 160
    lr: float = 0.05
    prune: float = 0.08
    """Gaussians below this opacity are removed, unless a pixel would be uncovered."""

    def __post_init__(self) -> None:
        _require(self.steps >= 0 and 0 <= self.prune < 1, "steps >= 0 and 0 <= prune < 1 expected")


@dataclass
class RatesConfig:
    """Learning rates at the start of a fit; all decay exponentially to ``final`` of it."""

    means: float = 4e-4
    log_scales: float = 9e-3
    rotations: float = 1.75e-2
    opacity: float = 3.5e-2
    colors: float = 4.4e-3
    offsets: float = 1.5e-3
    mlp: float = 2e-3
    turns: float = 4e-3
    shade: float = 9e-3
    pose: float = 2e-4
    sheen: float = 8e-3
    final: float = 0.02

    def __post_init__(self) -> None:
        _require(min(vars(self).values()) >= 0, "learning rates must not be negative")
        _require(0 < self.final <= 1, f"final must lie in (0, 1], got {self.final}")


@dataclass
class LossConfig:
    """Photometric loss and regularisers of the joint fit."""

    ssim: float = 0.2
    rigidity: float = 0.32
    """L1 on the difference of neighbouring nodes' offsets that no turn around them explains."""
    few_views: float = 8.0
    """At a time that n views show, rigidity is few_views / n times as strong (at least once)."""
    following: float = 4.0
    """Rigidity is so many times as strong while nodes are followed from time to time."""
    sparsity: float = 5e-3
    """L1 on the nodes' offsets: what stands still stays still."""
    turns: float = 1e-3
    """L1 on how nodes turn shapes: what can as well be round does not turn."""
    shade: float = 1e-3
    """L1 on the deviation of a Gaussian's brightness from 1."""
    sheen: float = 0.02
    """L1 on the slopes of colours over directions."""
    past: float = 0.05
    """L1 on the opacity of what is drawn where a view looks past the scene at its backdrop."""


@dataclass
class DeformationConfig:
    """Motion over time and the joint fit to all known cells."""

    kind: Motion = "nodes"
    """Free offsets per node and time, a network on the nodes, or the paper's on every point."""
    nodes: int = 6000
    neighbours: int = 4
    mlp_width: int = 64
    mlp_depth: int = 4
    bound: float = 0.6
    """Largest offset."""
    stillness: bool = True
    """Find what stands still before anything is fitted, and never move it; off: all may move."""
    curved: bool = True
    """Between time stamps motion is a smooth curve; off: straight lines."""
    turning: bool = True
    """Nodes turn the shapes of the Gaussians that follow them; off: they only shift them."""
    most_stamps: int = FEW
    """A clip of more times is fitted by curves through fewer knots, at least so many of them ..."""
    knot_every: int = 3
    """... and one in so many times."""
    track_init: bool = True
    """Start the nodes from tracks of the rows; off: from zero."""
    rigid_parts: bool = True
    """Where one view alone knows a time, rigid frames say how far from it things are; off: what the
    view does not see follows its neighbours."""
    recover: bool = True
    """Find again what flow loses from time to time, where four views or more show it, or one."""
    later_surface: bool = True
    """Add points for surfaces that the canonical time hides, where four views or more show them;
    not with networks."""
    steps: int = 950
    """Of a clip with knots: as many more as there are more of them than 10."""
    hidden_background: bool = True
    """Add still surfaces that moving ones cover at the canonical time."""
    shade: bool = True
    """Let the brightness of a Gaussian change over time (moving shadows)."""

    def __post_init__(self) -> None:
        _require(self.nodes > 0 and self.neighbours > 0, "nodes and neighbours must be positive")
        _require(self.most_stamps > 1 and self.knot_every > 0, "most_stamps > 1, knot_every > 0")
        _require(self.bound > 0 and self.steps >= 0, "bound > 0 and steps >= 0 expected")


@dataclass
class FitConfig:
    """Everything about a reconstruction. The defaults suit two CPU cores."""

    canonical: CanonicalConfig = field(default_factory=CanonicalConfig)
    floaters: FloaterConfig = field(default_factory=FloaterConfig)
    deformation: DeformationConfig = field(default_factory=DeformationConfig)
    rates: RatesConfig = field(default_factory=RatesConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    static_steps: int = 300
    """Steps on the freeze-time column alone, before anything moves."""
    few_points: int = 20_000
    """A scene of fewer points takes as many more steps as its points are fewer ..."""
    most_steps: float = 4.5
    """... at most so many times as many: its steps are cheap, and it is all edges."""
    refine_cameras: bool = True
    """Let the static and the joint fit correct cameras that were estimated."""
    compensation: bool = True
    """View-dependent offsets from the freeze-time tracks (Eq. 11) ..."""
    compensate_from: float = 0.004
    """... where the frames disagree by more than this part of the longer image side."""
    sheen: bool = True
    """Let colours of a still scene of three views or more change evenly with where they are seen
    from (`recon.sheen`)."""
    close_gaps: bool = True
    """In a still scene, fill in what no view sees but viewpoints beside them would look at, and
    take out what no view shows (`recon.canonical.gaps`)."""
    offset_frame: Literal["rotated", "literal"] = "rotated"
    """How the temporal offset enters view i: rotated with the camera, or Eq. 11 as printed."""
    anisotropic: bool = True
    """Let the joint fit give Gaussians three radii and a rotation; the paper's have one radius, and
    so have these until then."""
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        _require(self.static_steps >= 0, "static_steps must not be negative")
        _require(self.compensate_from >= 0, "compensate_from must not be negative")
        _require(self.most_steps >= 1, f"most_steps must be at least 1, got {self.most_steps}")

    def scaled(self, steps: int, points: int) -> int:
        """``steps`` for a scene of so many points."""
        return round(steps * min(max(self.few_points / max(points, 1), 1.0), self.most_steps))


PresetName = Literal["cpu", "quick", "gpu", "debug"]
_QUICK = 0.5  # of the steps; rates are 1.5 times as high


def preset(name: str) -> FitConfig:
    """A named configuration.

    ``cpu``: the default; ``quick``: half its steps at higher rates; ``gpu``: 8 x 256 MLP on every
    point; ``debug``: shows that everything works.
    """
    config = FitConfig()
    if name == "gpu":
        config.device = "cuda"
        config.rates = RatesConfig(  # many small steps
            means=2e-4, log_scales=5e-3, rotations=1e-2, opacity=2e-2, colors=2.5e-3, shade=5e-3
        )
        config.static_steps = 1000
        config.deformation.steps = 6000
        choose_motion(config, "mlp-points")
    elif name == "quick":
        config.static_steps = round(_QUICK * config.static_steps)
        config.floaters.steps = round(_QUICK * config.floaters.steps)
        config.deformation.steps = round(_QUICK * config.deformation.steps)
        rates = {k: 1.5 * v for k, v in vars(config.rates).items() if k != "final"}
        config.rates = RatesConfig(**rates)
    elif name == "debug":
        config.static_steps, config.most_steps = 30, 1.0
        config.floaters.steps = 15
        config.deformation.steps, config.deformation.nodes = 60, 300
    elif name != "cpu":
        raise ValueError(f"preset must be cpu, quick, gpu or debug, got {name!r}")
    return config


def choose_motion(config: FitConfig, motion: Motion) -> None:
    """Let offsets come from free nodes, a 4 x 64 network on them, or 8 x 256 on every point."""
    config.deformation.kind = motion
    if motion in NETWORKS:
        config.deformation.mlp_width, config.deformation.mlp_depth = NETWORKS[motion]


def as_in_paper(config: FitConfig) -> None:
    """Take out of a configuration everything that the paper's Sec. 3.4 and supplement do not have.

    Isotropic Gaussians from all keyframes; opacities alone are fitted to the freeze-time frames;
    after that the rendering loss fits the MLP alone, on every point, from zero; cameras and
    view-dependent offsets are those of the tracks, added as Eq. 11 is printed.
    """
    choose_motion(config, "mlp-points")
    config.canonical.plain_background, config.canonical.flat = False, 0.0
    motion, rates, loss = config.deformation, config.rates, config.loss
    motion.stillness = motion.track_init = motion.hidden_background = motion.shade = False
    rates.means = rates.log_scales = rates.opacity = rates.colors = 0.0
    loss.rigidity = loss.sparsity = 0.0
    config.static_steps, config.refine_cameras, config.anisotropic = 0, False, False
    config.sheen = config.close_gaps = False
    config.compensation, config.compensate_from, config.offset_frame = True, 0.0, "literal"
