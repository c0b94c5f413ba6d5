"""The player's payload: a 4D scene as one compact, versioned binary (docs/FORMATS.md).

``PlayerScene`` is what a viewer needs of a scene: canonical points, an offset per time, cameras.
``encode`` quantises it (positions and offsets to a fraction of the smallest points, so that the
error stays far below a pixel) and ``decode`` reads it back. Points that do not move cost no
offsets. Shape letters: N points, M of them moving (they come first), C with a colour that
changes, T times, V cameras. OpenCV cameras, world-to-camera, pixel centres at +0.5.
"""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen.atomic import atomic_file
from gen.console import warn
from gen.errors import UserError
from viewer.sections import pack, unpack

MAGIC = b"4DGS"
VERSION = 1
_MAX_BYTES = 1 << 31
_MIN_OPACITY = 1 / 255  # the rasterizer never draws a point below this
_STILL = 0.1  # a point that moves by less than this share of its own radius is still
_POSITION_FRACTION = 8  # position steps per radius of the 5th-percentile point
_CHANGES = 3 / 255  # a shade or visibility this close to 1 is 1
_SCALE_STEP = 0.01  # natural log of the radius

Floats = NDArray[np.float32]


@dataclass
class PlayerScene:
    """A scene as a viewer sees it: NumPy arrays, compensation off.

    means [N,3] world; log_scales [N] (natural log of the isotropic radius); opacities [N] and
    colors [N,3] in 0..1; times [T] increasing in 0..1; offsets [T,N,3] added to the means at
    each time, linear in between; K [V,3,3] pixels; w2c [V,4,4]; size (height, width) of the
    input frames; background [3]; shade [T,N] multiplies the colours and visibility [T,N] the
    opacities over time (None: 1).
    """

    means: Floats
    log_scales: Floats
    opacities: Floats
    colors: Floats
    times: Floats
    offsets: Floats
    K: NDArray[np.float64]
    w2c: NDArray[np.float64]
    size: tuple[int, int]
    background: Floats = field(default_factory=lambda: np.zeros(3, np.float32))
    shade: Floats | None = None
    visibility: Floats | None = None
    name: str = ""
    prompt: str = ""
    fps: float = 8.0

    def __post_init__(self) -> None:
        n, t, v = len(self.means), len(self.times), len(self.K)
        expected = {
            "means": (n, 3),
            "log_scales": (n,),
            "opacities": (n,),
            "colors": (n, 3),
            "times": (t,),
            "offsets": (t, n, 3),
            "background": (3,),
        }
        for name in ("shade", "visibility"):
            if getattr(self, name) is not None:
                expected[name] = (t, n)
        for name, shape in expected.items():
            value = np.ascontiguousarray(getattr(self, name), dtype=np.float32)
            _require(value.shape == shape, f"{name} is {value.shape}, expected {shape}")
            _require(bool(np.isfinite(value).all()), f"{name} has values that are not finite")
            setattr(self, name, value)
        for name, shape in (("K", (v, 3, 3)), ("w2c", (v, 4, 4))):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            _require(value.shape == shape, f"{name} is {value.shape}, expected {shape}")
            _require(bool(np.isfinite(value).all()), f"{name} has values that are not finite")
            setattr(self, name, value)
        _require(n > 0 and t > 0 and v > 0, f"{n} points, {t} times, {v} cameras: none may be 0")
        _require(bool((np.diff(self.times) > 0).all()), "times must increase")
        self.size = (int(self.size[0]), int(self.size[1]))
        _require(min(self.size) > 0, f"size is {self.size}")

    @classmethod
    def from_scene(
        cls, scene: Any, name: str = "", prompt: str = "", fps: float = 8.0
    ) -> PlayerScene:
        """Take what a viewer needs from a ``recon.scene.Scene4D`` (view compensation left out)."""
        if isinstance(scene, PlayerScene):
            return scene
        if scene.offset_frame == "literal" and bool((scene.node_offsets != 0).any()):
            warn(
                "the scene's offsets are in camera axes (Eq. 11 as printed); they are exported in "
                "the axes of the canonical view: other viewpoints differ"
            )
        logits = _numpy(scene.opacity_logits).astype(np.float64)
        return cls(
            means=_numpy(scene.means),
            log_scales=_numpy(scene.log_scales),
            opacities=(1 / (1 + np.exp(-np.clip(logits, -50, 50)))).astype(np.float32),
            colors=np.clip(_numpy(scene.colors), 0, 1),
            times=_numpy(scene.times),
            offsets=_numpy(scene.offsets()),
            K=_numpy(scene.K),
            w2c=_numpy(scene.w2c),
            size=tuple(scene.size),
            background=_numpy(scene.background),
            shade=None if scene.shade is None else _numpy(scene.shade),
            visibility=None if scene.visibility is None else _numpy(scene.visibility),
            name=name,
            prompt=prompt,
            fps=fps,
        )

    def at(self, t: float) -> tuple[Floats, Floats, Floats, Floats]:
        """Means [N,3], radii [N], opacities [N], colours [N,3] at time ``t`` in 0..1."""
        s = float(np.interp(t, self.times, np.arange(len(self.times))))
        k = min(int(s), max(len(self.times) - 2, 0))
        f = np.float32(s - k)
        after = min(k + 1, len(self.times) - 1)

        def between(values: Floats) -> Floats:
            return (1 - f) * values[k] + f * values[after]

        colors, opacities = self.colors, self.opacities
        if self.shade is not None:
            colors = np.clip(colors * between(self.shade)[:, None], 0, 1)
        if self.visibility is not None:
            opacities = np.clip(opacities * between(self.visibility), 0, 1)
        return self.means + between(self.offsets), np.exp(self.log_scales), opacities, colors


def encode(scene: PlayerScene) -> bytes:
    """The payload of ``scene``: gzip of magic, version, JSON header and integer sections.

    The order of the points changes (moving ones first, neighbours together); points that are
    never drawn (opacity below 1/255) are left out. The header states the largest error.
    """
    order, moving = _point_order(scene)
    radii = np.exp(scene.log_scales[order])
    sections: list[dict[str, Any]] = []
    chunks: list[bytes] = []

    def add(name: str, values: NDArray, step: float, origin: NDArray, delta: tuple) -> None:
        data = pack(values, delta)
        sections.append(
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
        chunks.append(data)

    means = scene.means[order].astype(np.float64)
    origin = means.mean(0)
    step = float(np.quantile(radii, 0.05)) / _POSITION_FRACTION
    step = max(step, float(np.abs(means - origin).max()) / 2**30, 1e-12)
    quantised = np.rint((means - origin) / step).astype(np.int32)
    add("position", np.ascontiguousarray(quantised.T), step, origin, (1,))

    logs = scene.log_scales[order].astype(np.float64)
    log_step = max(_SCALE_STEP, float(np.ptp(logs)) / 65535)
    log_values = np.rint((logs - logs.min()) / log_step).astype(np.uint16)
    add("log_scale", log_values[None], log_step, logs.min(keepdims=True), (1,))

    rgba = np.concatenate([scene.colors, scene.opacities[:, None]], 1)[order]
    rgba = np.rint(np.clip(rgba, 0, 1) * 255).astype(np.uint8)
    add("rgba", np.ascontiguousarray(rgba.T), 1 / 255, np.zeros(4), (1,))

    offset_step = step
    if moving:
        offsets = scene.offsets[:, order[:moving]].astype(np.float64)
        offset_step = max(step, float(np.abs(offsets).max()) / 32767)
        offsets = np.rint(offsets / offset_step).astype(np.int16).transpose(2, 0, 1)
        add("offset", np.ascontiguousarray(offsets), offset_step, np.zeros(3), (1, 2))

    gains, changing = _gains(scene, order)
    gain_step = 0.0
    if len(changing):
        gain_step = max(float(np.abs(gains).max()) / 127, 1 / 255)
        values = np.rint(gains / gain_step).astype(np.int8)
        add("gain_index", changing[None], 1.0, np.zeros(1), (1,))
        add("gain", np.ascontiguousarray(values), gain_step, np.zeros(2), (1, 2))

    header = {
        "name": scene.name,
        "prompt": scene.prompt,
        "fps": scene.fps,
        "points": len(order),
        "moving": moving,
        "changing": len(changing),
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
        },
        "sections": sections,
    }
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    raw = MAGIC + struct.pack("<II", VERSION, len(text)) + text + b"".join(chunks)
    return gzip.compress(raw, compresslevel=9 if len(raw) < 1 << 24 else 6, mtime=0)


def decode(payload: bytes, source: str = "payload") -> PlayerScene:
    """Read a payload back. Raises UserError, naming ``source``, when it is not a whole one."""
    header, arrays = _read(payload, source)
    try:
        n, moving, t = int(header["points"]), int(header["moving"]), len(header["times"])
        cameras = header["cameras"]
        rgba = arrays["rgba"]
        offsets = np.zeros((t, n, 3), np.float32)
        if moving:
            offsets[:, :moving] = arrays["offset"].transpose(1, 2, 0)
        gains = np.ones((2, t, n), np.float32)
        if header.get("changing"):
            gains[:, :, arrays["gain_index"][0].astype(np.int64)] += arrays["gain"]
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
            name=str(header["name"]),
            prompt=str(header["prompt"]),
            fps=float(header["fps"]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f"{source}: damaged player payload ({error}); export it again") from error


def write_4dgs(scene: Any, path: str | Path) -> int:
    """Write the bare payload of ``scene`` (or ``Scene4D``) as a ``.4dgs`` file; bytes written."""
    data = encode(PlayerScene.from_scene(scene))
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)
    return len(data)


def read_4dgs(path: str | Path) -> PlayerScene:
    """Read a ``.4dgs`` file. Raises UserError when it is absent or not a whole payload."""
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
        if version != VERSION:
            raise UserError(
                f"{source}: payload version {version}, this program reads {VERSION}; update it"
            )
        header = json.loads(raw[12 : 12 + length])
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
    except (zlib.error, ValueError, KeyError, TypeError, struct.error, MemoryError) as error:
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


def _numpy(value: Any) -> NDArray:
    """A NumPy array of a tensor (any device, with or without gradient) or array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
