"""What scripts/evaluate.py reconstruction compares: the default, baselines and ablations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from fourreal.errors import UserError
from recon.config import FitConfig, as_in_paper, preset
from recon.motion_stage import KnownMotion
from scripts.evaluate.true_motion import motion_seen_by_one, true_motion
from scripts.evaluate.truth_grid import TruthGrid


@dataclass(frozen=True)
class Variant:
    """A row of the table: what differs from the default, as settings of ``FitConfig`` by path."""

    about: str
    settings: dict[str, Any] = field(default_factory=dict)
    start: str | None = None
    """Starts from this preset, whatever the others do."""
    paper: bool = False
    """Starts from ``recon.config.as_in_paper``."""
    cross: bool = False
    """Only row 0 and column 0 are shown."""
    known_motion: Callable[[TruthGrid], KnownMotion] | None = None
    """Where nodes start, by the exact tracks, instead of being followed."""


VARIANTS = {
    "default": Variant("everything as shipped, cameras unknown"),
    "given_cameras": Variant("the same with the true cameras"),
    "nearest_cell": Variant("no 3D: the nearest input cell, in the grid or by camera centre"),
    "flow_between": Variant(
        "no 3D: nearest_cell, but at held-out times both neighbouring frames moved along their flow"
    ),
    "static": Variant("no motion: the canonical scene at all times", {"deformation.steps": 0}),
    "no_compensation": Variant("no view-dependent offsets", {"compensation": False}),
    "compensation": Variant(
        "view-dependent offsets also where the frames agree", {"compensate_from": 0.0}
    ),
    "rigid_only": Variant(
        "the rigid cameras of the tracks alone: no offsets, no refinement by rendering",
        {"compensation": False, "refine_cameras": False},
    ),
    "literal": Variant(
        "Eq. 11 as printed: temporal offsets are not rotated into the view",
        {"offset_frame": "literal"},
    ),
    "no_floaters": Variant("no floater stage", {"floaters.steps": 0}),
    "round": Variant("Gaussians of one radius, as in the paper", {"anisotropic": False}),
    "cross": Variant("only row 0 and column 0 are shown", cross=True),
    "cross_no_parts": Variant(
        "cross, nodes followed without rigid frames", {"deformation.rigid_parts": False}, cross=True
    ),
    "cross_no_recovery": Variant(
        "cross, what flow loses in the picture is not found again",
        {"deformation.recover": False},
        cross=True,
    ),
    "no_track_init": Variant(
        "nodes start from zero instead of being followed", {"deformation.track_init": False}
    ),
    "no_hidden_background": Variant(
        "no points behind what moves", {"deformation.hidden_background": False}
    ),
    "no_shade": Variant("no brightness over time", {"deformation.shade": False}),
    "no_camera_refinement": Variant(
        "estimated cameras are left as they are", {"refine_cameras": False}
    ),
    "linear": Variant(
        "motion in straight lines from time stamp to time stamp", {"deformation.curved": False}
    ),
    "no_turning": Variant(
        "nodes only shift Gaussians, shapes do not turn", {"deformation.turning": False}
    ),
    "no_recovery": Variant(
        "what flow loses is not sought and found again", {"deformation.recover": False}
    ),
    "quick": Variant(
        "--preset quick: half the steps of every stage, at rates 1.5 times as high", start="quick"
    ),
    "no_later_surface": Variant(
        "no points for what the canonical time hides", {"deformation.later_surface": False}
    ),
    "no_stillness": Variant(
        "what stands still is not looked for: everything may move", {"deformation.stillness": False}
    ),
    "mlp": Variant(
        "a 4 x 64 network on the nodes instead of free offsets", {"deformation.kind": "mlp"}
    ),
    "mlp_points": Variant(
        "the paper's 8 x 256 network on every point, as in the gpu preset",
        {
            "deformation.kind": "mlp-points",
            "deformation.mlp_width": 256,
            "deformation.mlp_depth": 8,
        },
    ),
    "true_motion": Variant(
        "nodes start where the exact tracks take them: the most that better tracking could give",
        known_motion=true_motion,
    ),
    "cross_true_motion": Variant("the same for cross", cross=True, known_motion=true_motion),
    "cross_seen_motion": Variant(
        "cross, nodes start where view 0 sees the exact tracks, as far away as rigid frames say: "
        "the most that better tracking in the picture could give",
        cross=True,
        known_motion=motion_seen_by_one,
    ),
    "paper": Variant("the paper and its supplement as written, nothing of ours", paper=True),
}
TABLE = (
    "default", "given_cameras", "nearest_cell", "flow_between", "static", "no_compensation",
    "compensation", "rigid_only",
    "literal", "no_floaters", "round", "cross", "cross_no_parts", "cross_no_recovery",
    "linear", "no_turning", "no_recovery", "no_later_surface", "mlp",
)  # fmt: skip


def given(name: str) -> bool:
    """Whether the variant gets the true cameras."""
    return name.startswith("given_")


def base_name(name: str) -> str:
    """The variant without ``given_``; given_cameras is the default."""
    return "default" if name == "given_cameras" else name.removeprefix("given_")


def configure(name: str, start: str = "cpu", seed: int = 0) -> FitConfig:
    """The settings of a variant, from the preset ``start``; UserError for an unknown name."""
    if base_name(name) not in VARIANTS:
        raise UserError(f"unknown variant {name!r}; known: {', '.join(VARIANTS)}, given_NAME")
    config = replace(preset(VARIANTS[base_name(name)].start or start), seed=seed)
    if VARIANTS[base_name(name)].paper:
        as_in_paper(config)
    for path, value in VARIANTS[base_name(name)].settings.items():
        *parents, last = path.split(".")
        target: Any = config
        for parent in parents:
            target = getattr(target, parent)
        if not hasattr(target, last):
            raise AttributeError(f"FitConfig has no setting {path}")
        setattr(target, last, value)
    return config


def expand(names: list[str]) -> list[str]:
    """Variant names with ``table`` and ``all`` written out, each once, all checked."""
    groups = {"table": TABLE, "all": tuple(VARIANTS)}
    flat = [v for name in names for v in groups.get(name, (name,))]
    for name in flat:
        configure(name)
    return list(dict.fromkeys(flat))
