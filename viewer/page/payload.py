"""The player's payload: a 4D scene as one compact, versioned binary (docs/FORMATS.md).

``encode`` quantises a ``PlayerScene`` (positions and offsets to a fraction of the smallest points,
so that the error stays far below a pixel) and ``decode`` reads it back. Points that do not move
cost no offsets. Shape letters: N points, M of them moving (they come first), C with a colour that
changes, T times, V cameras. OpenCV cameras, world-to-camera, pixel centres at +0.5.
"""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourreal.atomic import atomic_file
from fourreal.errors import UserError
from fourreal.read_text import parse_json
from viewer.page.sections import pack, unpack
from viewer.player_scene import Floats, PlayerScene

MAGIC = b"4DGS"
VERSION = 3  # of what is written where version 1 cannot say it
IN_PARTS = 4  # of scenes that play before all of them is there
TURNING = 5  # of scenes whose points turn
_READ = (1, 2, 3, 4, 5)
_AT_ONCE = 24  # times; those of longer scenes come in parts ...
_PART = 8  # ... of so many times
_MAX_BYTES = 1 << 31
# What fields of a wrong type or value lead to where they are used.
_DAMAGED = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)
_MIN_OPACITY = 1 / 255  # the rasterizer never draws a point below this
_STILL = 0.1  # a point that moves by less than this share of its own radius is still
_POSITION_FRACTION = 8  # position steps per radius of the 5th-percentile point
_CHANGES = 3 / 255  # a shade or visibility this close to 1 is 1
_SCALE_STEP = 0.01  # natural log of the radius
_SHEEN_STEP = 1 / 64  # of a colour, per unit of direction
_TURN_STEP = 1 / 127  # quaternions of length 1


def encode(scene: PlayerScene) -> bytes:
    """The payload of ``scene``: gzip of magic, version, JSON header and integer sections.

    The order of the points changes (moving ones first, neighbours together); points that are
    never drawn (opacity below 1/255) are left out. The header states the largest error.
    """
    order, moving = _point_order(scene)
    radii = np.exp(scene.log_axes()[order].min(1))
    out = _Sections(_parts(len(scene.times)))
    step, log_step = _add_points(out, scene, order, radii)
    offset_step = _add_motion(out, scene, order[:moving], step)
    log_step = _add_shapes(out, scene, order, log_step)
    sheen_step = _add_sheen(out, scene, order)
    turning = _add_turns(out, scene, order[:moving])
    changing, gain_step = _add_gains(out, scene, order)
    out.add_later()

    header = {
        "name": scene.name,
        "prompt": scene.prompt,
        "fps": scene.fps,
        "points": len(order),
        "moving": moving,
        "changing": changing,
        "times": [float(t) for t in scene.times],
        "size": list(scene.size),
        "background": [round(float(b), 6) for b in scene.background],
        "cameras": [
            {"K": [float(x) for x in k.ravel()], "w2c": [float(x) for x in m.ravel()]}
            for k, m in zip(scene.K, scene.w2c, strict=True)
        ],
        "max_error": {
            "position": step / 2,
            "offset": max(offset_step / 2, float(_STILL * np.median(radii))),
            "log_scale": log_step / 2,
            "rgba": 0.5 / 255,
            "gain": max(gain_step / 2, _CHANGES),
            "sheen": sheen_step / 2,
        },
        "sections": out.listed,
    }
    if scene.slopes is not None:
        header["curved"] = True
    if scene.offset_axes is not None:
        header["offset_axes"] = scene.offset_axes.ravel().tolist()
    if scene.sheen_from is not None:  # readers that do not know it draw the plain colours
        header["sheen_from"] = [float(x) for x in scene.sheen_from]
    plain = scene.stretch is None and scene.offset_axes is None
    # older players draw what they can draw rightly
    version = VERSION if scene.slopes is not None else 1 if plain else 2
    if len(out.parts) > 2:
        header["parts"], version = out.parts, IN_PARTS
    if turning:
        version = TURNING
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    raw = MAGIC + struct.pack("<II", version, len(text)) + text + b"".join(out.chunks)
    return gzip.compress(raw, compresslevel=9 if len(raw) < 1 << 24 else 6, mtime=0)


class _Sections:
    """Integer arrays of a payload: how the header lists them, and their bytes.

    parts: the first time of every part and the number of times (``_parts``).
    """

    def __init__(self, parts: list[int]) -> None:
        self.parts = parts
        self.listed: list[dict[str, Any]] = []
        self.chunks: list[bytes] = []
        self._later: list[tuple[int, str, NDArray, float, NDArray]] = []

    def add(self, name: str, values: NDArray, step: float, origin: NDArray, delta: tuple) -> None:
        """What stands for origin + step * values; ``delta``: axes along which differences are
        kept."""
        data = pack(values, delta)
        self.listed.append(
            {
                "name": name,
                "dtype": values.dtype.name,
                "shape": list(values.shape),
                "step": step,
                "origin": [float(o) for o in origin],
                "delta": list(delta),
                "bytes": len(data),
            }
        )
        self.chunks.append(data)

    def add_times(self, name: str, values: NDArray, step: float, origin: NDArray) -> None:
        """A section [C, T, n], or one for every part of the times: the first now."""
        self.add(name, np.ascontiguousarray(values[:, : self.parts[1]]), step, origin, (1, 2))
        for k, (a, b) in enumerate(pairwise(self.parts[1:]), 1):
            self._later.append((k, name, np.ascontiguousarray(values[:, a:b]), step, origin))

    def add_later(self) -> None:
        """The other parts of what was added, part by part."""
        for k, name, values, step, origin in sorted(self._later, key=lambda section: section[0]):
            self.add(f"{name}/{k}", values, step, origin, (1, 2))


def _add_points(
    out: _Sections, scene: PlayerScene, order: NDArray, radii: NDArray
) -> tuple[float, float]:
    """Position, radius and colour of every point; steps of positions and of log radii."""
    means = scene.means[order].astype(np.float64)
    origin = means.mean(0)
    step = float(np.quantile(radii, 0.05)) / _POSITION_FRACTION
    step = max(step, float(np.abs(means - origin).max()) / 2**30, 1e-12)
    quantised = np.rint((means - origin) / step).astype(np.int32)
    out.add("position", np.ascontiguousarray(quantised.T), step, origin, (1,))

    logs = scene.log_scales[order].astype(np.float64)
    log_step = max(_SCALE_STEP, float(np.ptp(logs)) / 65535)
    log_values = np.rint((logs - logs.min()) / log_step).astype(np.uint16)
    out.add("log_scale", log_values[None], log_step, logs.min(keepdims=True), (1,))

    rgba = np.concatenate([scene.colors, scene.opacities[:, None]], 1)[order]
    rgba = np.rint(np.clip(rgba, 0, 1) * 255).astype(np.uint8)
    out.add("rgba", np.ascontiguousarray(rgba.T), 1 / 255, np.zeros(4), (1,))
    return step, log_step


def _add_motion(out: _Sections, scene: PlayerScene, moving: NDArray, step: float) -> float:
    """Offsets and slopes over time of the points that move [M]; the step of offsets."""
    if not len(moving):
        return step
    offsets = scene.offsets[:, moving].astype(np.float64)
    offset_step = max(step, float(np.abs(offsets).max()) / 32767)
    offsets = np.rint(offsets / offset_step).astype(np.int16).transpose(2, 0, 1)
    out.add_times("offset", offsets, offset_step, np.zeros(3))
    if scene.slopes is not None:
        slopes = scene.slopes[:, moving].astype(np.float64)
        # half-way between stamps a slope counts an eighth of the span
        longest = float(np.diff(scene.times).max(initial=1e-9))
        slope_step = max(4 * offset_step / longest, float(np.abs(slopes).max()) / 32767)
        values = np.rint(slopes / slope_step).astype(np.int16).transpose(2, 0, 1)
        out.add_times("slope", values, slope_step, np.zeros(3))
    return offset_step


def _add_shapes(out: _Sections, scene: PlayerScene, order: NDArray, log_step: float) -> float:
    """Stretch and rotation of anisotropic points; the step of their logs."""
    if scene.stretch is None or scene.rotations is None:
        return log_step
    logs = np.log(scene.stretch[order].astype(np.float64))
    log_step = max(log_step, float(np.abs(logs).max()) / 32767)
    values = np.rint(logs.T / log_step).astype(np.int16)
    out.add("log_stretch", np.ascontiguousarray(values), log_step, np.zeros(3), (1,))
    turns = scene.rotations[order] / np.linalg.norm(scene.rotations[order], axis=1)[:, None]
    turns = turns * np.where(turns[:, :1] < 0, -1, 1)  # q and -q are one rotation
    values = np.rint(turns.T / _TURN_STEP).astype(np.int8)
    out.add("rotation", np.ascontiguousarray(values), _TURN_STEP, np.zeros(4), ())
    return log_step


def _add_sheen(out: _Sections, scene: PlayerScene, order: NDArray) -> float:
    """Slopes of colours with the direction, channel by channel, axis by axis; their step."""
    if scene.sheen is None:
        return 0.0
    slopes = scene.sheen[order].astype(np.float64)
    step = max(_SHEEN_STEP, float(np.abs(slopes).max()) / 127)
    values = np.rint(slopes / step).astype(np.int8).transpose(2, 1, 0).reshape(9, -1)
    out.add("sheen", np.ascontiguousarray(values), step, np.zeros(9), (1,))
    return step


def _add_turns(out: _Sections, scene: PlayerScene, moving: NDArray) -> bool:
    """How the shapes of the points that move [M] turn over time; whether they do."""
    if scene.turns is None or not len(moving):
        return False
    turns = scene.turns[:, moving].astype(np.float64)
    step = max(_TURN_STEP, float(np.abs(turns).max()) / 127)
    values = np.rint(turns / step).astype(np.int8).transpose(2, 0, 1)
    out.add_times("turn", values, step, np.zeros(3))
    return True


def _add_gains(out: _Sections, scene: PlayerScene, order: NDArray) -> tuple[int, float]:
    """Shade and visibility of the points whose change; how many those are, and the step."""
    gains, changing = _gains(scene, order)
    if not len(changing):
        return 0, 0.0
    step = max(float(np.abs(gains).max()) / 127, 1 / 255)
    values = np.rint(gains / step).astype(np.int8)
    out.add("gain_index", changing[None], 1.0, np.zeros(1), (1,))
    out.add_times("gain", values, step, np.zeros(2))
    return len(changing), step


def decode(payload: bytes, source: str = "payload") -> PlayerScene:
    """Read a payload back. Raises UserError, naming ``source``, when it is not a whole one."""
    header, arrays = _read(payload, source)
    try:
        n, moving, t = int(header["points"]), int(header["moving"]), len(header["times"])
        if n != arrays["position"].shape[1] or 20 * t * n > 4 * _MAX_BYTES:
            raise ValueError(f"{n} points x {t} times do not fit what it holds")
        for name in ("offset", "slope", "turn", "gain"):
            rest = [arrays[f"{name}/{k}"] for k in range(1, len(header.get("parts") or [0, t]) - 1)
                    if name in arrays]  # fmt: skip
            if rest:
                arrays[name] = np.concatenate([arrays[name], *rest], 1)
        cameras = header["cameras"]
        rgba = arrays["rgba"]
        offsets = np.zeros((t, n, 3), np.float32)
        if moving:
            offsets[:, :moving] = arrays["offset"].transpose(1, 2, 0)
        slopes = np.zeros((t, n, 3), np.float32) if header.get("curved") else None
        if moving and slopes is not None:
            slopes[:, :moving] = arrays["slope"].transpose(1, 2, 0)
        turns = np.zeros((t, n, 3), np.float32) if "turn" in arrays else None
        if turns is not None:
            turns[:, :moving] = arrays["turn"].transpose(1, 2, 0)
        gains = np.ones((2, t, n), np.float32)
        if header.get("changing"):
            gains[:, :, arrays["gain_index"][0].astype(np.int64)] += arrays["gain"]
        shaped = "log_stretch" in arrays
        axes, origin = header.get("offset_axes"), header.get("sheen_from")
        sheen = arrays["sheen"].reshape(3, 3, n).transpose(2, 1, 0) if origin is not None else None
        return PlayerScene(
            means=arrays["position"].T,
            log_scales=arrays["log_scale"][0],
            opacities=rgba[3],
            colors=rgba[:3].T,
            times=np.asarray(header["times"], np.float32),
            offsets=offsets,
            K=np.asarray([c["K"] for c in cameras], np.float64).reshape(-1, 3, 3),
            w2c=np.asarray([c["w2c"] for c in cameras], np.float64).reshape(-1, 4, 4),
            size=tuple(header["size"]),
            background=np.asarray(header["background"], np.float32),
            shade=gains[0] if header.get("changing") else None,
            visibility=gains[1] if header.get("changing") else None,
            stretch=np.exp(arrays["log_stretch"].T) if shaped else None,
            rotations=arrays["rotation"].T if shaped else None,
            offset_axes=None if axes is None else np.asarray(axes, np.float64).reshape(3, 3),
            slopes=slopes,
            turns=turns,
            sheen=sheen,
            sheen_from=None if origin is None else np.asarray(origin, np.float32).reshape(7),
            name=str(header["name"]),
            prompt=str(header["prompt"]),
            fps=float(header["fps"]),
        )
    except _DAMAGED as error:
        raise UserError(f"{source}: damaged player payload ({error}); export it again") from error


def _parts(times: int) -> list[int]:
    """Where parts of the times begin, and their end: readers show the first before the others."""
    if times <= _AT_ONCE:
        return [0, times]
    return [*range(0, times - 1, _PART), times]


def write_fr4d(scene: Any, path: str | Path, title: str = "", fps: float = 8.0) -> int:
    """Write the bare payload of ``scene`` as a ``.fr4d`` file; bytes written.

    ``title`` and ``fps`` as in ``viewer.page.html.write_player``.
    """
    data = encode(PlayerScene.from_scene(scene, prompt=title, fps=fps))
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)
    return len(data)


def read_fr4d(path: str | Path) -> PlayerScene:
    """Read a ``.fr4d`` file. Raises UserError when it is absent or not a whole payload."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return decode(data, str(path))


def _read(payload: bytes, source: str) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Header and dequantised sections; everything that can be wrong raises UserError."""
    try:
        stream = zlib.decompressobj(wbits=31)
        raw = stream.decompress(payload, _MAX_BYTES)
        if not stream.eof:
            raise ValueError("cut short or larger than 2 GiB")
        if raw[:4] != MAGIC:
            raise ValueError("not a 4DGS payload")
        version, length = struct.unpack_from("<II", raw, 4)
        if version not in _READ:
            raise UserError(
                f"{source}: payload version {version}, this program reads 1 to 5; update it"
            )
        header = parse_json(raw[12 : 12 + length])
        arrays: dict[str, NDArray] = {}
        start = 12 + length
        for s in header["sections"]:
            data = raw[start : start + s["bytes"]]
            start += s["bytes"]
            values = unpack(data, s["dtype"], tuple(s["shape"]), tuple(s["delta"]))
            origin = np.asarray(s["origin"]).reshape((-1,) + (1,) * (values.ndim - 1))
            arrays[s["name"]] = (origin + s["step"] * values).astype(
                np.float64 if s["name"] == "gain_index" else np.float32
            )
        if start != len(raw):
            raise ValueError(f"{len(raw) - start} bytes too many")
        return header, arrays
    except (zlib.error, struct.error, MemoryError, *_DAMAGED) as error:
        raise UserError(f"{source}: damaged player payload ({error}); export it again") from error


def _point_order(scene: PlayerScene) -> tuple[NDArray[np.int64], int]:
    """Indices of the drawn points, moving ones first, each group along a Morton curve."""
    peak = scene.opacities
    if scene.visibility is not None:
        peak = peak * scene.visibility.max(0)
    drawn = np.flatnonzero(peak >= _MIN_OPACITY)
    if len(drawn) == 0:
        raise UserError("the scene has no visible point (every opacity is below 1/255)")
    travel = np.abs(scene.offsets[:, drawn]).max((0, 2))
    moves = travel > _STILL * np.exp(scene.log_scales[drawn])
    curve = _morton(scene.means[drawn])
    groups = [drawn[mask][np.argsort(curve[mask], kind="stable")] for mask in (moves, ~moves)]
    return np.concatenate(groups), int(moves.sum())


def _gains(scene: PlayerScene, order: NDArray) -> tuple[NDArray, NDArray[np.uint32]]:
    """Shade - 1 and visibility - 1 [2,T,C] of the points that change, and their indices [C]."""
    one = np.ones((len(scene.times), 1), np.float32)
    pair = [one if v is None else v[:, order] for v in (scene.shade, scene.visibility)]
    gains = np.stack(np.broadcast_arrays(*pair)) - 1
    if gains.shape[2] != len(order):  # neither was given
        return gains, np.zeros(0, np.uint32)
    index = np.flatnonzero(np.abs(gains).max((0, 1)) > _CHANGES).astype(np.uint32)
    return gains[:, :, index], index


def _morton(points: Floats) -> NDArray[np.uint64]:
    """Position of each point [N,3] along a space-filling curve (21 bits an axis, by rank)."""
    # Ranks, not coordinates: a far background must not squeeze the subject into a few cells.
    ranks = points.argsort(0, kind="stable").argsort(0, kind="stable").astype(np.uint64)
    cells = (ranks << np.uint64(21)) // np.uint64(max(len(points), 1))
    code = np.zeros(len(points), np.uint64)
    for bit in range(21):
        for axis in range(3):
            digit = (cells[:, axis] >> np.uint64(bit)) & np.uint64(1)
            code |= digit << np.uint64(3 * bit + axis)
    return code
