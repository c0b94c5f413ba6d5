"""Random scenes: which object, colour, motion, floor, sky and camera path go together.

Legend: n scenes, O = 2 object slots.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from gen.data.world.scene import (
    CAMERA_MOVES,
    COLOUR_RGB,
    COLOURS,
    FLOOR_RGB,
    FLOORS,
    MOTIONS,
    RELATIONS,
    ROLLING_SHAPES,
    SHAPES,
    SKIES,
    ObjectAttributes,
    SceneBatch,
)

Choice = str | Sequence[str] | None

_MOTION_WEIGHT = dict.fromkeys(MOTIONS, 1.0) | {
    "still": 0.4, "bounce": 1.6, "slide_left": 0.8, "slide_right": 0.8, "roll_left": 1.2,
    "roll_right": 1.2,
}  # fmt: skip
_CAMERA_WEIGHT = {
    "arc_left": 0.4, "arc_right": 0.4, "rise": 0.08, "dolly_in": 0.06, "dolly_out": 0.06,
}  # fmt: skip


def _weights(names: Sequence[str], allowed: Choice, base: dict[str, float] | None = None) -> Tensor:
    chosen = names if allowed is None else _names(allowed)
    for name in chosen:
        if name not in names:
            raise ValueError(f"unknown name {name!r}; known: {', '.join(names)}")
    return torch.tensor([(base or {}).get(x, 1.0) if x in chosen else 0.0 for x in names])


def _names(choice: str | Sequence[str]) -> tuple[str, ...]:
    return (choice,) if isinstance(choice, str) else tuple(choice)


def _pick(weights: Tensor, n: int, generator: Generator) -> Tensor:
    """n draws [n] from weights [K], or one draw for every row of weights [n,K]."""
    if weights.ndim == 1:
        weights = weights.expand(n, -1)
    return torch.multinomial(weights, 1, generator=generator)[:, 0]


def _uniform(low: float, high: float, shape: Sequence[int], generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=generator)


def _motions(shape_nO: Tensor, count: Tensor, relation: Tensor, motions: Choice, g: Generator):
    """Motion of each slot [n,O]: at least one moves most of the time, and it suits the shape."""
    n = len(count)
    table = _weights(MOTIONS, motions, _MOTION_WEIGHT).repeat(len(SHAPES), 1)
    for s, name in enumerate(SHAPES):
        if name not in ROLLING_SHAPES:
            table[s, [MOTIONS.index("roll_left"), MOTIONS.index("roll_right")]] = 0.0
    still, orbit = MOTIONS.index("still"), MOTIONS.index("orbit")
    beside = table.clone()
    beside[:, orbit] = 0.0  # next to another object there is no room for an orbit
    beside[:, still] = 0.0  # stillness beside is drawn below, for a whole slot
    pair = (count == 2)[:, None]
    motion = torch.zeros(n, 2, dtype=torch.long)
    who = torch.rand(n, generator=g)
    for k in range(2):
        weights = torch.where(pair, beside[shape_nO[:, k]], table[shape_nO[:, k]])
        empty = weights.sum(1) == 0  # e.g. only "still" allowed, or only rolls for a cube
        weights[empty, still] = 1.0
        motion[:, k] = _pick(weights, n, g)
    # left moves .50, right moves .28, both .17, none .05
    if motions is None or "still" in _names(motions):
        motion[:, 1][(who < 0.50) | (who > 0.95)] = still
        motion[:, 0][pair[:, 0] & ((who >= 0.50) & (who < 0.78) | (who > 0.95))] = still
    around = relation == RELATIONS.index("around")
    motion[around, 0] = orbit
    motion[around, 1] = still
    return motion


def _check_objects(objects: Sequence[ObjectAttributes], count: int | None) -> None:
    if not 1 <= len(objects) <= 2 or (count is not None and count != len(objects)):
        raise ValueError(f"a scene has 1 or 2 objects, as many as count; got {len(objects)}")
    for o in objects:
        rolls = o.motion is not None and o.motion.startswith("roll")
        if rolls and o.shape is not None and o.shape not in ROLLING_SHAPES:
            raise ValueError(f"a {o.shape} cannot roll; {' and '.join(ROLLING_SHAPES)} can")
    if len(objects) == 2 and objects[1].motion == "orbit":
        raise ValueError("with two objects only the first can orbit (around the second)")


def _relations(n: int, count: int | None, relation: Choice, g: Generator) -> tuple[Tensor, Tensor]:
    """Number of objects [n] and relation [n]; a fixed count wins over the relation."""
    two = torch.rand(n, generator=g) < (0.5 if count is None else count - 1.0)
    around = torch.rand(n, generator=g) < 0.10
    if relation is not None:
        names = _names(relation)
        _weights(RELATIONS, names)
        if "around" not in names or "beside" not in names:
            around = torch.full_like(around, "around" in names)
        if count is None and ("alone" not in names or names == ("alone",)):
            two = torch.full_like(two, "alone" not in names)
    return 1 + two.long(), torch.where(two, torch.where(around, 2, 1), 0)


def _looks(
    n: int, shapes: Choice, colours: Choice, specs: Sequence[ObjectAttributes], g: Generator
) -> tuple[Tensor, Tensor]:
    """Shapes [n,O] and colours [n,O]; colours that are free differ, one colour tells little."""
    shape = torch.stack([_pick(_weights(SHAPES, shapes), n, g) for _ in range(2)], 1)
    colour = torch.stack([_pick(_weights(COLOURS, colours), n, g) for _ in range(2)], 1)
    step = torch.randint(1, len(COLOURS), (n,), generator=g)
    free = [k >= len(specs) or specs[k].colour is None for k in range(2)]
    for k, o in enumerate(specs):
        if o.shape is not None:
            shape[:, k] = SHAPES.index(o.shape)
        if o.colour is not None:
            colour[:, k] = COLOURS.index(o.colour)
    if colours is None and free[1]:
        colour[:, 1] = (colour[:, 0] + step) % len(COLOURS)
    elif colours is None and free[0]:
        colour[:, 0] = (colour[:, 1] + step) % len(COLOURS)
    return shape, colour


def sample_scenes(
    n: int,
    generator: Generator,
    *,
    count: int | None = None,
    shapes: Choice = None,
    colours: Choice = None,
    motions: Choice = None,
    floor: Choice = None,
    sky: Choice = None,
    camera_move: Choice = None,
    relation: Choice = None,
    objects: Sequence[ObjectAttributes] | None = None,
) -> SceneBatch:
    """n random scenes on the CPU, a pure function of the generator's state.

    shapes, colours, motions restrict every object, floor, sky, camera_move and relation the scene
    (one name or several). objects fixes the objects from left to right; None fields stay random.
    Raises ValueError for a name the world does not know or for objects that cannot be combined.
    """
    if objects is not None:
        _check_objects(objects, count)
        count = len(objects)
    if count not in (None, 1, 2):
        raise ValueError(f"count must be 1, 2 or None; got {count}")
    specs = tuple(objects or ())
    if relation is None and (motions is not None or any(o.motion for o in specs)):
        # The motion decides: only an orbit around the second object is "around".
        orbits = len(specs) == 2 and specs[0].motion == "orbit"
        relation = ("alone", "around" if orbits else "beside")
    count_n, relation_n = _relations(n, count, relation, generator)
    if (
        shapes is None
        and motions is not None
        and all(m.startswith("roll") for m in _names(motions))
    ):
        shapes = ROLLING_SHAPES
    shape, colour = _looks(n, shapes, colours, specs, generator)
    motion = _motions(shape, count_n, relation_n, motions, generator)
    for k, o in enumerate(specs):
        if o.motion is not None:
            motion[:, k] = MOTIONS.index(o.motion)
            if o.motion.startswith("roll"):
                rolling = torch.tensor([SHAPES.index(s) for s in ROLLING_SHAPES])
                shape[~torch.isin(shape[:, k], rolling), k] = rolling[0]
    return _place(count_n, relation_n, shape, colour, motion, floor, sky, camera_move, generator)


def _place(
    count: Tensor, relation: Tensor, shape: Tensor, colour: Tensor, motion: Tensor,
    floor: Choice, sky: Choice, camera_move: Choice, g: Generator,
) -> SceneBatch:  # fmt: skip
    """Fill in the continuous parameters: places, tones, light and camera path."""
    n = len(count)
    one, around = (count == 1)[:, None], (relation == 2)[:, None]
    size = torch.where(one, _uniform(1.0, 1.12, (n, 2), g), _uniform(0.92, 1.02, (n, 2), g))
    base = _uniform(-0.06, 0.06, (n, 2, 2), g)
    side = torch.tensor([-1.0, 1.0])
    base[..., 0] += torch.where(one | around, 0.0, 0.92) * side
    yaw = _uniform(math.radians(20), math.radians(50), (n, 2), g)
    names = {name: i for i, name in enumerate(MOTIONS)}
    rolls = (motion == names["roll_left"]) | (motion == names["roll_right"])
    torus = shape == SHAPES.index("torus")
    yaw = torch.where(rolls, 0.0, torch.where(torus, yaw - math.radians(35), yaw))
    texture = torch.randint(0, 3, (n, 2), generator=g)
    # Tones that help to tell a cube (corners) from a cylinder (rings) in a few pixels.
    texture = torch.where(shape.eq(SHAPES.index("cylinder")), 2, texture)
    texture = torch.where(shape.eq(SHAPES.index("cube")) & texture.eq(2), 0, texture)
    texture = torch.where(texture.eq(2) & motion.eq(names["spin"]), 0, texture)  # rings hide a spin
    texture = torch.where(rolls, torch.where(torus, 1, 0), texture)
    rgb = torch.tensor(COLOUR_RGB)[colour] * _uniform(0.94, 1.0, (n, 2, 1), g)
    phase = math.pi * torch.randint(0, 2, (n,), generator=g) + _uniform(-0.3, 0.3, (n,), g)

    floor_n = _pick(_weights(FLOORS, floor), n, g)
    floor_rgb = torch.tensor(FLOOR_RGB)[floor_n] * _uniform(0.92, 1.05, (n, 1, 1), g)
    plain = _uniform(0.55, 1.15, (n, 1, 1), g)
    floor_rgb = torch.where((floor_n == 0)[:, None, None], floor_rgb * plain, floor_rgb)
    floor_shift = _uniform(-0.5, 0.5, (n, 2), g)
    sky_n = _pick(_weights(SKIES, sky), n, g)
    azimuth = _uniform(math.radians(-150), math.radians(-110), (n,), g)
    height = _uniform(math.radians(50), math.radians(60), (n,), g)
    light = torch.stack(
        [height.cos() * azimuth.cos(), height.cos() * azimuth.sin(), height.sin()], -1
    )

    move = _pick(_weights(CAMERA_MOVES, camera_move, _CAMERA_WEIGHT), n, g)
    distance = torch.where(count == 1, 4.3, 4.9) * _uniform(0.98, 1.03, (n,), g)
    orbits = (motion == names["orbit"])[:, 0]  # comes near the camera: step back, look lower
    distance = torch.where(orbits, 1.12, 1.0) * distance
    elevation = _uniform(math.radians(12), math.radians(16), (n,), g)
    span = _uniform(math.radians(36), math.radians(48), (n,), g)
    # "left": the camera itself travels to its left, so the azimuth (angle towards +x) falls.
    turn = torch.tensor([-1.0, 1.0, 0.0, 0.0, 0.0])[move]
    start = -turn * (span / 2 + _uniform(-0.05, 0.05, (n,), g))
    start = torch.where(turn == 0, _uniform(-0.3, 0.3, (n,), g), start)
    first = torch.stack([distance, elevation, start], -1)
    last = torch.stack([distance, elevation, start + turn * span], -1)
    rise = move == CAMERA_MOVES.index("rise")
    last[rise, 1] += math.radians(30)
    first[move == CAMERA_MOVES.index("dolly_in"), 0] *= 1.3
    last[move == CAMERA_MOVES.index("dolly_out"), 0] *= 1.3
    target = torch.tensor([0.0, 0.0, 0.72]).repeat(n, 1)
    target[:, 2] += _uniform(-0.03, 0.03, (n,), g) - torch.where(orbits, 0.20, 0.0)
    return SceneBatch(
        count=count, relation=relation, shape=shape, colour=colour, motion=motion,
        texture=texture, rgb=rgb, size=size, base=base, yaw=yaw, phase=phase, floor=floor_n,
        floor_rgb=floor_rgb, floor_shift=floor_shift, sky=sky_n, light=light, camera_move=move,
        camera=torch.cat([first, last], -1), target=target,
    )  # fmt: skip
