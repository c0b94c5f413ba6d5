"""The procedural world: what a scene is made of, and how scenes are drawn at random.

World: right-handed, x to the right, y away from the default camera, z up, floor at z = 0; lengths
in units of one object height (about 1). Object slot 0 stands on the left, slot 1 on the right.
Legend of tensor shapes: n scenes, O = 2 object slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

SHAPES = ("sphere", "cube", "cylinder", "cone", "capsule", "torus")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
MOTIONS = (
    "still", "bounce", "jump", "slide_left", "slide_right", "roll_left", "roll_right",
    "spin", "orbit", "swing", "grow", "shrink",
)  # fmt: skip
FLOORS = ("plain", "checkered", "striped", "wooden", "dotted", "grassy")
SKIES = ("blue", "sunset", "grey")
CAMERA_MOVES = ("arc_left", "arc_right", "rise", "dolly_in", "dolly_out")
TEXTURES = ("checks", "sectors", "bands")
RELATIONS = ("alone", "beside", "around")

COLOUR_RGB = (
    (0.90, 0.10, 0.10), (1.00, 0.52, 0.05), (0.99, 0.90, 0.12), (0.12, 0.68, 0.16),
    (0.10, 0.82, 0.86), (0.12, 0.24, 0.92), (0.50, 0.14, 0.76), (1.00, 0.45, 0.72),
)  # fmt: skip
# (light tone, dark tone) of every floor; plain floors pick the light tone times a random grey.
FLOOR_RGB = (
    ((0.74, 0.74, 0.74), (0.74, 0.74, 0.74)),
    ((0.86, 0.86, 0.86), (0.22, 0.22, 0.24)),
    ((0.86, 0.84, 0.80), (0.44, 0.44, 0.50)),
    ((0.66, 0.50, 0.34), (0.47, 0.33, 0.21)),
    ((0.88, 0.88, 0.90), (0.30, 0.32, 0.38)),
    ((0.44, 0.56, 0.34), (0.30, 0.43, 0.24)),
)
# (horizon, zenith) of every sky.
SKY_RGB = (
    ((0.80, 0.88, 0.96), (0.42, 0.64, 0.92)),
    ((0.98, 0.82, 0.66), (0.66, 0.52, 0.66)),
    ((0.70, 0.70, 0.72), (0.46, 0.46, 0.50)),
)
# Shapes that can roll without looking wrong (a lying cylinder reads as a disc from the front).
ROLLING_SHAPES = ("sphere", "torus")

HALF_HEIGHT = (0.50, 0.43, 0.48, 0.50, 0.56, 0.50)  # of each shape at size 1, resting on the floor
FOV_X_DEGREES = 48.0
MAX_FLOOR_DEPTH = 14.0  # the floor has faded into the horizon here; farther is background


@dataclass
class SceneBatch:
    """n scenes as tensors; integer fields index the name tuples of this module."""

    count: Tensor  # [n] number of objects, 1 or 2
    relation: Tensor  # [n] index into RELATIONS; "around": slot 0 circles slot 1
    shape: Tensor  # [n,O]
    colour: Tensor  # [n,O]
    motion: Tensor  # [n,O]
    texture: Tensor  # [n,O]
    rgb: Tensor  # [n,O,3] base colour
    size: Tensor  # [n,O] height scale
    base: Tensor  # [n,O,2] floor position x, y
    yaw: Tensor  # [n,O] radians
    phase: Tensor  # [n] orbit start angle, radians
    floor: Tensor  # [n]
    floor_rgb: Tensor  # [n,2,3]
    floor_shift: Tensor  # [n,2]
    sky: Tensor  # [n]
    light: Tensor  # [n,3] unit vector towards the light
    camera_move: Tensor  # [n]
    camera: Tensor  # [n,6] distance, elevation, azimuth at view 0; the same at view 1 (radians)
    target: Tensor  # [n,3] the point the camera looks at

    def __len__(self) -> int:
        return int(self.count.shape[0])

    def to(self, device: torch.device | str) -> SceneBatch:
        """The same scenes on another device."""
        return SceneBatch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def __getitem__(self, index: int | slice | Tensor | Sequence[int]) -> SceneBatch:
        """A sub-batch; an int keeps the batch axis."""
        if isinstance(index, int):
            index = range(len(self))[index]
            index = slice(index, index + 1)
        elif not isinstance(index, (slice, Tensor)):
            index = torch.as_tensor(index, device=self.count.device)
        return SceneBatch(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @property
    def device(self) -> torch.device:
        return self.count.device


@dataclass(frozen=True)
class ObjectAttributes:
    """What a caption says about one object; None means unspecified."""

    shape: str | None = None
    colour: str | None = None
    motion: str | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("shape", self.shape, SHAPES),
            ("colour", self.colour, COLOURS),
            ("motion", self.motion, MOTIONS),
        ):
            if value is not None and value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")


@dataclass(frozen=True)
class Attributes:
    """What a caption says about a scene; objects from left to right, None means unspecified."""

    objects: tuple[ObjectAttributes, ...] = ()
    relation: str | None = None
    floor: str | None = None
    sky: str | None = None
    camera_move: str | None = None


def attributes_of(scenes: SceneBatch, index: int = 0) -> Attributes:
    """The true attributes of scene `index`."""
    count = int(scenes.count[index])
    objects = tuple(
        ObjectAttributes(
            SHAPES[int(scenes.shape[index, k])],
            COLOURS[int(scenes.colour[index, k])],
            MOTIONS[int(scenes.motion[index, k])],
        )
        for k in range(count)
    )
    return Attributes(
        objects,
        RELATIONS[int(scenes.relation[index])],
        FLOORS[int(scenes.floor[index])],
        SKIES[int(scenes.sky[index])],
        CAMERA_MOVES[int(scenes.camera_move[index])],
    )
