"""Animation clips: what every channel of a glTF animation says at a time.

A channel drives one property of one node: translation [3], rotation [4] (unit quaternion x, y, z,
w), scale [3] or the morph weights [M]. Times are seconds; outside the keys the end values hold
(glTF 2.0, section 3.11). K counts keys, C a key's numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen.data.gltf.accessors import Accessors
from gen.data.gltf.container import Document
from gen.data.gltf.fields import (
    Json,
    MalformedGltf,
    choice,
    index,
    integer,
    objects,
    sub_object,
    text,
)

PATHS = {"translation": 3, "rotation": 4, "scale": 3, "weights": 0}  # 0: as many as morph targets


@dataclass(frozen=True)
class Channel:
    """One animated property.

    Attributes:
        node, path: which property of which node; path is a key of `PATHS`.
        times: float32 [K], not decreasing, seconds.
        values: float32 [K, C]; [K, 3, C] (in-tangent, value, out-tangent) for CUBICSPLINE.
        interpolation: LINEAR (spherical for rotations), STEP or CUBICSPLINE.
    """

    node: int
    path: str
    times: NDArray[np.float32]
    values: NDArray[np.float32]
    interpolation: str

    def at(self, time: float) -> NDArray[np.float64]:
        """The property [C] at `time`; rotations come out as unit quaternions."""
        cubic = self.interpolation == "CUBICSPLINE"
        k = int(np.searchsorted(self.times, np.float32(time), side="right")) - 1
        if k < 0 or k >= len(self.times) - 1 or self.interpolation == "STEP":
            held = self.values[max(k, 0)].astype(np.float64)
            return self._unit(held[1] if cubic else held)
        span = float(self.times[k + 1]) - float(self.times[k])
        s = min(max((time - float(self.times[k])) / span, 0.0), 1.0)
        left, right = self.values[k : k + 2].astype(np.float64)
        if cubic:
            return self._unit(_hermite(left, right, s, span))
        if self.path == "rotation":
            return slerp(left, right, s)
        return (1 - s) * left + s * right

    def _unit(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        return unit_quaternion(value) if self.path == "rotation" else value


@dataclass(frozen=True)
class Clip:
    """One animation: its channels, and the seconds from its first key to its last."""

    name: str
    channels: tuple[Channel, ...]
    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start

    @property
    def moves(self) -> bool:
        """Whether any property changes between its keys."""
        return any(
            len(c.times) > 1 and np.ptp(c.values, axis=0).max() > 1e-4 for c in self.channels
        )


def unit_quaternion(q: NDArray[np.float64]) -> NDArray[np.float64]:
    """`q` [4] at length one; the identity where it has no direction."""
    length = float(np.linalg.norm(q))
    return q / length if length > 1e-12 else np.array([0.0, 0.0, 0.0, 1.0])


def slerp(a: NDArray[np.float64], b: NDArray[np.float64], s: float) -> NDArray[np.float64]:
    """Spherical interpolation between quaternions a and b [4] along the shorter arc, s in 0..1."""
    a, b = unit_quaternion(a), unit_quaternion(b)
    cosine = float(a @ b)
    if cosine < 0:
        b, cosine = -b, -cosine
    angle = np.arccos(min(cosine, 1.0))
    if angle < 1e-4:  # the arc is straight to within rounding, and sin(angle) is about to vanish
        return unit_quaternion((1 - s) * a + s * b)
    return (np.sin((1 - s) * angle) * a + np.sin(s * angle) * b) / np.sin(angle)


def _hermite(
    left: NDArray[np.float64], right: NDArray[np.float64], s: float, span: float
) -> NDArray[np.float64]:
    """The cubic spline of glTF (appendix C.5) between keys [3, C]; tangents are per second."""
    s2, s3 = s * s, s * s * s
    return (
        (2 * s3 - 3 * s2 + 1) * left[1]
        + span * (s3 - 2 * s2 + s) * left[2]
        + (-2 * s3 + 3 * s2) * right[1]
        + span * (s3 - s2) * right[0]
    )


def read_clips(
    document: Document, accessors: Accessors, morph_counts: list[int]
) -> tuple[Clip, ...]:
    """All animations of a document; `morph_counts` says how many morph targets each node has.

    Channels of unknown kind (extensions) are left out, animations without channels too.
    """
    clips = []
    ordered: set[int] = set()  # time accessors already checked: channels mostly share them
    for number, entry in enumerate(document.list_of("animations")):
        where = f"animations[{number}]"
        samplers = objects(entry, "samplers", where)
        channels = []
        for i, raw in enumerate(objects(entry, "channels", where)):
            spot = f"{where}.channels[{i}]"
            target = sub_object(raw, "target", spot)
            path = text(target, "path", spot)
            if path not in PATHS or "node" not in target:
                continue
            node = integer(target, "node", spot, high=len(morph_counts) - 1)
            width = PATHS[path] or morph_counts[node]
            if width == 0:
                continue  # weights of a node without morph targets
            sampler = samplers[index(raw, "sampler", len(samplers), spot)]
            channels.append(_channel(sampler, accessors, node, path, width, spot))
            timer = integer(sampler, "input", spot)
            if timer not in ordered and (np.diff(channels[-1].times) < 0).any():
                raise MalformedGltf(f"{spot}: the key times go backwards")
            ordered.add(timer)
        if channels:
            name = text(entry, "name", where) or f"clip{number}"
            start = min(float(c.times[0]) for c in channels)
            end = max(float(c.times[-1]) for c in channels)
            clips.append(Clip(name, tuple(channels), start, end))
    return tuple(clips)


def _channel(
    sampler: Json, accessors: Accessors, node: int, path: str, width: int, where: str
) -> Channel:
    kinds = ("LINEAR", "STEP", "CUBICSPLINE")
    kind = choice(sampler, "interpolation", where, kinds, "LINEAR")
    times = accessors.floats(integer(sampler, "input", where), (1,))[:, 0]
    values = accessors.floats(integer(sampler, "output", where), (PATHS[path] or 1,))
    per_key = 3 if kind == "CUBICSPLINE" else 1
    if values.size != len(times) * per_key * width:
        raise MalformedGltf(
            f"{where} has {values.size} numbers for {len(times)} keys of {per_key * width}"
        )
    shape = (len(times), 3, width) if per_key == 3 else (len(times), width)
    return Channel(node, path, times, values.reshape(shape), kind)
