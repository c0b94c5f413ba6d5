"""Random scenes of the asset world: who does what where, under which light and camera.

A scene follows from (seed, number) and the actions that the assets have, so a cache of renders can
be filled by any number of processes and gone on with later.

World: z up, the ground at z = 0, cameras look at about (0, 0, height / 2); lengths in units of one
object of the procedural world, whose camera path and lens scenes for prompts share.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fourreal.cameras import look_at
from gen.data.assets.menagerie import BY_NAME, ONCE, SUBJECTS, TRAVELS
from gen.data.world.scene import FLOOR_RGB, FOV_X_DEGREES, SKY_RGB

Look = Literal["prompt", "wide"]
GROUNDS = ("plain", "checkered", "wooden", "grassy", "sand", "snow", "striped", "dotted", "noise",
           "bricks")  # fmt: skip
PROMPT_GROUNDS = ("plain", "checkered", "wooden", "grassy", "sand", "snow")
SAND, SNOW = ((0.86, 0.76, 0.55), (0.74, 0.62, 0.42)), ((0.96, 0.97, 0.99), (0.84, 0.88, 0.94))
LIGHTS = ("blue", "sunset", "grey", "water")
WATER = ((0.42, 0.68, 0.78), (0.10, 0.32, 0.52))
VIEWS = TIMES = 8


@dataclass(frozen=True)
class Actor:
    """One subject of a scene: heading in radians (0: towards -y, the cameras), place on the ground,
    which clip and which stretch of it (start and length as shares of the clip)."""

    subject: str
    action: str
    clip: str
    coat: str | None
    heading: float
    place: tuple[float, float]
    reach: float
    stretch: tuple[float, float]
    travel: float


@dataclass(frozen=True)
class Surface:
    """A ground or a wall: pattern, light and dark tone (sRGB), size of its cells, shift."""

    kind: str
    light: tuple[float, float, float]
    dark: tuple[float, float, float]
    cell: float
    shift: tuple[float, float]


@dataclass(frozen=True)
class AssetScene:
    """What is drawn; `blank` (sRGB) instead of ground and sky where it is not None, `room` (half
    width and height of the walls around) where `wall` is not None."""

    look: Look
    actors: tuple[Actor, ...]
    ground: Surface
    light: str
    shadow: float
    camera: tuple[tuple[float, float, float], tuple[float, float, float]]
    target: tuple[float, float, float]
    fov_x: float
    blank: tuple[float, float, float] | None = None
    wall: Surface | None = None
    room: tuple[float, float] = (0.0, 0.0)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def cameras(self, views: int = VIEWS) -> NDArray[np.float64]:
        """World-to-camera matrices [V, 4, 4] (OpenCV axes) along the path."""
        first, last = (np.array(c) for c in self.camera)
        out = np.tile(np.eye(4), (views, 1, 1))
        for v, u in enumerate(np.linspace(0, 1, views)):
            distance, elevation, azimuth = first * (1 - u) + last * u
            away = np.array(
                [
                    math.cos(elevation) * math.sin(azimuth),
                    -math.cos(elevation) * math.cos(azimuth),
                    math.sin(elevation),
                ]
            )
            eye = np.array(self.target) + distance * away
            out[v] = look_at(eye, np.array(self.target), up=(0.0, 0.0, 1.0))
        return out

    def intrinsics(self, height: int, width: int) -> NDArray[np.float64]:
        """K [3, 3]; the field of view is that across the width."""
        f = 0.5 * width / math.tan(math.radians(self.fov_x) / 2)
        return np.array([[f, 0, width / 2], [0, f, height / 2], [0, 0, 1.0]])


def scene_from_json(fields: dict[str, Any]) -> AssetScene:
    """The inverse of `AssetScene.as_json`, also after a trip through a JSON file."""

    def surface(s: dict[str, Any]) -> Surface:
        return Surface(s["kind"], tuple(s["light"]), tuple(s["dark"]), s["cell"], tuple(s["shift"]))

    actors = tuple(
        Actor(**{**a, "place": tuple(a["place"]), "stretch": tuple(a["stretch"])})
        for a in fields["actors"]
    )
    first, last = fields["camera"]
    return AssetScene(
        **{
            **fields,
            "actors": actors,
            "ground": surface(fields["ground"]),
            "wall": surface(fields["wall"]) if fields["wall"] else None,
            "camera": (tuple(first), tuple(last)),
            "target": tuple(fields["target"]),
            "blank": tuple(fields["blank"]) if fields["blank"] else None,
            "room": tuple(fields["room"]),
        }
    )


Repertoire = dict[str, dict[str, tuple[str, ...]]]  # subject -> action -> names of clips


def sample_scene(
    repertoire: Repertoire, look: Look, rng: np.random.Generator, subject: str | None = None
) -> AssetScene:
    """A scene of subjects in `repertoire`; `subject` fixes the first one."""
    names = [s.name for s in SUBJECTS if s.name in repertoire]
    two = look == "prompt" and rng.random() < 0.15 or look == "wide" and rng.random() < 0.1
    first = subject or str(rng.choice(names))
    cast = [first]
    if two:
        home = BY_NAME[first].home
        cast.append(str(rng.choice([n for n in names if BY_NAME[n].home == home])))
    actors = [_actor(name, repertoire[name], look, rng) for name in cast]
    if two:
        actors = [
            _moved(a, ((-0.85, 0.85)[k] + rng.uniform(-0.1, 0.1), rng.uniform(-0.2, 0.2)), 0.72)
            for k, a in enumerate(actors)
        ]
    water = BY_NAME[first].home == "water"
    if look == "prompt":
        return _for_prompts(tuple(actors), water, rng)
    return _wide(tuple(actors), water, rng)


def _moved(actor: Actor, place: tuple[float, float], scale: float) -> Actor:
    return Actor(
        **{
            **asdict(actor),
            "place": place,
            "reach": actor.reach * scale,
            "travel": actor.travel * 0.5,
        }
    )


def _actor(
    name: str, actions: dict[str, tuple[str, ...]], look: Look, rng: np.random.Generator
) -> Actor:
    subject = BY_NAME[name]
    # What is asked for most: locomotion; what a still picture shows best comes less often.
    weights = np.array([{"idle": 0.6, "dodge": 0.4, "use": 0.4}.get(a, 1.0) for a in actions])
    weights *= np.array([2.0 if a in TRAVELS else 1.0 for a in actions])
    action = str(rng.choice(list(actions), p=weights / weights.sum()))
    clip = str(rng.choice(actions[action]))
    coat = subject.natural
    if subject.coats and rng.random() < 0.7:
        coat = str(rng.choice(subject.coats))
    side = math.copysign(math.pi / 2, rng.random() - 0.5)
    heading = side + rng.uniform(-0.7, 0.7)
    if look == "wide" or rng.random() < 0.25:
        heading = rng.uniform(-math.pi, math.pi)
    start = 0.0 if action in ONCE else float(rng.uniform(0, 1))
    return Actor(
        subject=name,
        action=action,
        clip=clip,
        coat=coat,
        heading=float(heading),
        place=(float(rng.uniform(-0.12, 0.12)), float(rng.uniform(-0.12, 0.12))),
        reach=float(subject.reach * rng.uniform(0.9, 1.1)),
        stretch=(start, 1.0),
        travel=TRAVELS.get(action, 0.0) * float(rng.uniform(0.7, 1.1)),
    )


def _tones(kind: str, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    if kind in ("sand", "snow"):
        light, dark = SAND if kind == "sand" else SNOW
    else:
        light, dark = FLOOR_RGB[("plain", "checkered", "striped", "wooden", "dotted",
                                 "grassy").index(kind)]  # fmt: skip
    gain = rng.uniform(0.92, 1.05) * (rng.uniform(0.55, 1.15) if kind == "plain" else 1.0)
    return np.clip(np.array(light) * gain, 0, 1), np.clip(np.array(dark) * gain, 0, 1)


def _surface(
    kind: str, light: NDArray, dark: NDArray, cell: float, rng: np.random.Generator
) -> Surface:
    shift = rng.uniform(-0.5, 0.5, 2)
    return Surface(
        kind,
        (float(light[0]), float(light[1]), float(light[2])),
        (float(dark[0]), float(dark[1]), float(dark[2])),
        float(cell),
        (float(shift[0]), float(shift[1])),
    )


def _for_prompts(actors: tuple[Actor, ...], water: bool, rng: np.random.Generator) -> AssetScene:
    """A captioned scene: the camera move and the lens of the procedural world's bundled part."""
    kind = "sand" if water and rng.random() < 0.7 else str(rng.choice(PROMPT_GROUNDS))
    light = "water" if water and rng.random() < 0.7 else str(rng.choice(LIGHTS[:3]))
    distance = (4.3 if len(actors) == 1 else 4.9) * rng.uniform(0.98, 1.03)
    elevation = math.radians(rng.uniform(12, 16))
    span = math.radians(rng.uniform(36, 48))
    start = span / 2 + rng.uniform(-0.05, 0.05)
    return AssetScene(
        look="prompt",
        actors=actors,
        ground=_surface(kind, *_tones(kind, rng), 0.9, rng),
        light=light,
        shadow=float(rng.uniform(0.35, 0.6)),
        camera=((distance, elevation, start), (distance, elevation, start - span)),
        target=(0.0, 0.0, 0.72 + float(rng.uniform(-0.03, 0.03))),
        fov_x=FOV_X_DEGREES,
    )


def _wide(actors: tuple[Actor, ...], water: bool, rng: np.random.Generator) -> AssetScene:
    """A scene for completion: any camera arc, ground, wall and colours."""

    def surface() -> Surface:
        kind = str(rng.choice(GROUNDS))
        base = rng.uniform(0.05, 1.0, 3)
        base = base.mean() + (base - base.mean()) * rng.uniform(0.1, 1.0)
        other = np.clip(base * rng.uniform(0.3, 0.9) + rng.uniform(-0.15, 0.15, 3), 0, 1)
        return _surface(kind, base, other, rng.uniform(0.3, 1.2), rng)

    fov_x = float(rng.uniform(35, 62))
    height = 0.62 * max(a.reach for a in actors)
    spread = max(a.reach for a in actors) * (0.62 if len(actors) == 1 else 1.25)
    tall = spread * 0.625 + 0.1
    fill = rng.uniform(1.0, 1.35)
    distance = fill * spread * (1 / math.tan(math.radians(fov_x) / 2) + 0.6)
    distance = max(distance, fill * tall / (0.5625 * math.tan(math.radians(fov_x) / 2)) * 0.9)
    span = math.radians(rng.uniform(25, 80)) * (1 if rng.random() < 0.5 else -1)
    middle, elevation = rng.uniform(-math.pi, math.pi), math.radians(rng.uniform(3, 28))
    style = rng.random()
    blank = None
    if style < 0.3:
        grey = rng.uniform(0.8, 1.0)
        colour = (
            (1.0, 1.0, 1.0)
            if rng.random() < 0.6
            else tuple(float(c) for c in np.clip(grey + rng.uniform(-0.5, 0.1, 3), 0, 1))
        )
        blank = (colour[0], colour[1], colour[2])
    wall = surface() if style > 0.5 else None
    travel = tuple(Actor(**{**asdict(a), "travel": a.travel * float(rng.random() < 0.3)})
                   for a in actors)  # fmt: skip
    return AssetScene(
        look="wide",
        actors=travel,
        ground=surface(),
        light=str(rng.choice(LIGHTS)),
        shadow=float(rng.uniform(0.2, 0.7)),
        camera=(
            (distance, elevation, middle - span / 2),
            (distance, elevation + math.radians(rng.uniform(-4, 4)), middle + span / 2),
        ),
        target=(0.0, 0.0, height * float(rng.uniform(0.75, 1.0))),
        fov_x=fov_x,
        blank=blank,
        wall=wall,
        room=(float(distance * rng.uniform(1.02, 1.8)), float(rng.uniform(1.2, 4.0))),
    )


def skies(light: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(horizon, zenith) colours, sRGB, of a light."""
    return WATER if light == "water" else SKY_RGB[LIGHTS.index(light)]
