"""Write a scene as the open ``.4dgs`` container of the package ``fourdgs`` (keyframe-delta model).

One keyframe states every Gaussian; every further moment states only those that are not where
their last statement leads: a Gaussian moves on a straight line, at the speed it was given, until
it would leave the declared bound. Colours, opacities and shapes hold until the next statement.
World axes in the file: y up, right-handed, which its header says.

Format: specification of https://github.com/avala-ai/4dgs, sections 5, 6 and 11; records, streams
and bins are those of the package. Shape letters: N points, T moments.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import fourdgs.keyframe_delta_writer as kd
import fourdgs.opcode as op
import fourdgs.quantization as grids
import fourdgs.records as rec
import numpy as np
from fourdgs.serialization import CODEC_DEFLATE, CODEC_ZSTD, MAGIC, crc32, encode_stream
from numpy.typing import NDArray

from fourreal.atomic import atomic_file
from fourreal.cameras import camera_centres
from fourreal.errors import UserError
from viewer.camera_paths import scene_centre
from viewer.export.moments import Moment, line_moments, moment_at, seconds
from viewer.player_scene import PlayerScene

Integers = NDArray[np.int64]
Codec = Literal["deflate", "zstd"]
_POSITION = 0.1  # declared bound, in radii of the median Gaussian
_LEVEL = 9
_KEYFRAME_EVERY = 64  # moments; a reader that seeks composes at most so many
_LOOK_AHEAD = 8  # moments that one speed may last
_SPEEDS = 4  # steps of speed that make one step of position from a moment to the next
_LEAST_OPACITY = 1 / 255
_MOVES = (op.A_POSITION, op.A_MOTION, op.A_MU_T)


@dataclass(frozen=True)
class Steps:
    """Widths of the quantisation and, twice the half of each plus what may be held back, the
    bounds that the file declares. Positions in world units, the others absolute."""

    position: float
    motion: float
    time: float
    log_scale: float = 0.02
    rotation: float = 0.006
    colour: float = 1 / 255

    def bounds(self) -> dict[str, str]:
        """Largest difference from the scene at the stated moments, as the file declares it."""
        held = 1.5  # half a step of rounding, and changes of one step are not stated
        values = {
            "pos": 2 * self.position,
            "scale_rel": math.expm1(held * self.log_scale),
            "rot": held * self.rotation,
            "rgb": held * self.colour,
            "alpha": held * self.colour,
            "motion": self.motion / 2,
            "time": self.time / 2,
            "sigma_rel": 0.0,
            "sh": 0,
        }
        return {name: repr(value) for name, value in values.items()}

    def record(self, origin: NDArray) -> rec.Quantization:
        """As the file states them."""
        return rec.Quantization(
            scheme="uniform-v1",
            pos_origin=[float(v) for v in origin],
            step_pos=self.position,
            step_scale_log=self.log_scale,
            step_rot=self.rotation,
            step_rgb=self.colour,
            step_alpha=self.colour,
            step_motion=self.motion,
            step_time=self.time,
            step_sigma_log=1.0,
            step_sh=1,
            bounds=self.bounds(),
        )


def write_open_4dgs(
    scene: Any,
    path: str | Path,
    title: str = "",
    fps: float = 8.0,
    frames: int | None = None,
    codec: Codec = "deflate",
) -> int:
    """Write ``scene`` (``Scene4D`` or ``PlayerScene``) to ``path``; bytes written.

    Args:
        title, fps: as in ``viewer.page.html.write_player``.
        frames: number of stated moments, evenly spaced; None: the stored times, and where motion is
            curved those half-way between.
        codec: of the streams. Browsers read deflate; zstd needs the package ``zstandard``.

    Raises:
        UserError: no visible point, or no such codec here.
    """
    player = PlayerScene.from_scene(scene, prompt=title, fps=fps)
    player.warn_of_lost_axes(".4dgs files")
    data = encode_open_4dgs(player, frames, codec)
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)
    return len(data)


def encode_open_4dgs(
    player: PlayerScene, frames: int | None = None, codec: Codec = "deflate"
) -> bytes:
    """The container as bytes; see ``write_open_4dgs``."""
    times = line_moments(player, frames)
    clock = seconds(player, times)
    states = [moment_at(player, float(t)).upright() for t in times]
    peak = np.max([s.opacities for s in states], axis=0)
    seen = np.flatnonzero(peak >= _LEAST_OPACITY)
    if not len(seen):
        raise UserError("no visible point in the scene: every opacity is below 1/255")
    order = seen[grids.morton_order(states[0].means[seen])]
    states = [s.keep(order) for s in states]
    gap = float(np.diff(clock).min()) if len(clock) > 1 else 1 / player.fps
    spread = np.max([np.abs(s.means).max() for s in states])
    position = _POSITION / 2 * float(np.exp(np.median(states[0].log_axes)))
    position = max(position, float(spread) / 2**30)
    origin = np.min([s.means.min(0) for s in states], axis=0).astype(np.float64)
    end = float(clock[-1]) + (float(clock[-1] - clock[-2]) if len(clock) > 1 else gap)
    steps = Steps(position, position / gap / _SPEEDS / _motion_share(end), gap / 256)
    stated = _stated(states, clock, steps, origin, end)

    file = _File(_codec(codec))
    box = np.concatenate([[s.means.min(0), s.means.max(0)] for s in states])
    bounds = [*box.min(0).astype(float).tolist(), *box.max(0).astype(float).tolist()]
    file.add(
        rec.Header(
            duration_sec=end,
            gaussian_count=len(order),
            aabb=bounds,
            profile="custom",
            library="fourreal",
            temporal_model="keyframe-delta",
            attributes={
                "coordinate_system": "y-up-right-handed",
                "color_space": "srgb-rec709-display",
                "title": player.prompt or player.name,
            },
        ).encode()
    )
    file.add(steps.record(origin).encode())
    file.add(rec.WindowTable(windows=[(0.0, end)]).encode())
    file.add(_camera(player).encode())
    file.add(rec.Metadata("fourreal", _particulars(player)).encode())
    for i, (rows, bins) in enumerate(stated):
        file.state(i, clock, end, rows, bins)
    return file.finish(end, len(order), bounds)


def _stated(
    states: list[Moment], clock: NDArray, steps: Steps, origin: NDArray, end: float
) -> list[tuple[NDArray, dict[int, Integers]]]:
    """What every moment has to say: which rows, and the bins of all rows from then on."""
    n, count = len(states[0].means), len(states)
    every = np.arange(n)
    where = np.stack([s.means.astype(np.float64) for s in states])
    until = [*clock[1:], end]
    fast = steps.motion * _motion_share(end)
    out: list[tuple[NDArray, dict[int, Integers]]] = []
    held: dict[int, Integers] = {}
    for i, state in enumerate(states):
        fresh = _bins(state, steps, origin)
        fresh[op.A_MU_T] = np.full((n, 1), round(clock[i] / steps.time))
        ahead = _speeds(where, clock, i, steps, fresh[op.A_POSITION], origin)
        fresh[op.A_MOTION] = np.rint(ahead / fast).astype(np.int64)
        if i % _KEYFRAME_EVERY == 0:
            rows = every
            held = fresh
        else:
            led = _leads_to(held, steps, origin, fast, clock[i])
            late = _leads_to(held, steps, origin, fast, until[i])
            goal = where[min(i + 1, count - 1)]
            off = np.maximum(np.abs(led - where[i]), np.abs(late - goal)).max(1)
            changed = off > 2 * steps.position - 1e-12
            for name in (op.A_SCALE, op.A_COLOR, op.A_OPACITY):
                plain = grids.rct_inverse if name == op.A_COLOR else np.asarray
                changed |= (np.abs(plain(fresh[name]) - plain(held[name])) > 1).any(1)
            changed |= _turned(fresh, held)
            if i == count - 1:  # what follows is a hold
                changed |= (held[op.A_MOTION] != 0).any(1)
            rows = every[changed]
            held = {k: v.copy() for k, v in held.items()}
            for name, values in fresh.items():
                held[name][rows] = values[rows]
        out.append((rows, held))
    return out


def _bins(state: Moment, steps: Steps, origin: NDArray) -> dict[int, Integers]:
    """Integers of all that is stated of a moment but its motion."""
    largest, rest = grids.quantize_rotation(np.roll(state.rotations, -1, axis=1), steps.rotation)
    n = len(largest)
    return {
        op.A_POSITION: grids.quantize(state.means, steps.position, origin),
        op.A_SCALE: grids.quantize(state.log_axes, steps.log_scale),
        op.A_ROTATION_INDEX: largest.reshape(-1, 1),
        op.A_ROTATION: rest,
        op.A_COLOR: grids.rct_forward(grids.quantize(state.colors, steps.colour)),
        op.A_OPACITY: grids.quantize(state.opacities, steps.colour).reshape(-1, 1),
        op.A_SIGMA_T: np.zeros((n, 1), np.int64),
        op.A_FLAGS: np.full((n, 1), op.FLAG_NEVER_FADES),
        op.A_WINDOW_INDEX: np.zeros((n, 1), np.int64),
    }


def _speeds(
    where: NDArray, clock: NDArray, i: int, steps: Steps, bins: Integers, origin: NDArray
) -> NDArray[np.float64]:
    """Speed [N,3] from the stated place that stays within reach of the next moments for as long
    as one speed can: the cone of slopes through each of them, narrowed until it is empty."""
    start = grids.dequantize(bins, steps.position, origin)
    low = np.full(start.shape, -np.inf)
    high = np.full(start.shape, np.inf)
    if i == len(clock) - 1:
        return np.zeros(start.shape)
    open_ = np.ones(len(start), bool)
    for j in range(i + 1, min(i + 1 + _LOOK_AHEAD, len(clock))):
        span = clock[j] - clock[i]
        lower = np.maximum(low, (where[j] - steps.position - start) / span)
        upper = np.minimum(high, (where[j] + steps.position - start) / span)
        open_ &= (lower <= upper).all(1)
        low[open_], high[open_] = lower[open_], upper[open_]
    still = (low <= 0) & (high >= 0)
    return np.where(still, 0.0, (low + high) / 2)


def _motion_share(end: float) -> float:
    """A speed's bin in steps of motion, which follows from the length of the window (6.3)."""
    kind = grids.life_class(np.zeros(1), 1.0, np.ones(1, bool), np.array([end]))
    return float(grids.motion_steps(kind, 1.0)[0])


def _leads_to(
    held: dict[int, Integers], steps: Steps, origin: NDArray, fast: float, t: float
) -> NDArray[np.float64]:
    """Where the rows are at ``t`` seconds by what was stated of them."""
    since = t - held[op.A_MU_T] * steps.time
    return grids.dequantize(held[op.A_POSITION], steps.position, origin) + (
        held[op.A_MOTION] * fast * since
    )


def _turned(fresh: dict[int, Integers], held: dict[int, Integers]) -> NDArray[np.bool_]:
    """Rows whose axes are no longer those stated; another index is another set of components."""
    other = (fresh[op.A_ROTATION_INDEX] != held[op.A_ROTATION_INDEX])[:, 0]
    return other | (np.abs(fresh[op.A_ROTATION] - held[op.A_ROTATION]) > 1).any(1)


class _File:
    """Records one after another, with the index of the chunks."""

    def __init__(self, codec: int) -> None:
        self.parts: list[bytes] = [MAGIC]
        self.length = len(MAGIC)
        self.index: list[rec.ChunkIndexEntry] = []
        self.before: dict[int, Integers] = {}
        self.codec = codec

    def add(self, record: bytes) -> int:
        """Append a record; its offset."""
        at = self.length
        self.parts.append(record)
        self.length += len(record)
        return at

    def state(
        self, i: int, clock: NDArray, end: float, rows: NDArray, bins: dict[int, Integers]
    ) -> None:
        """Append moment ``i``: a keyframe, or how ``rows`` differ from the moment before."""
        first = float(clock[i])
        last = float(clock[i + 1]) if i + 1 < len(clock) else end
        live = len(bins[op.A_FLAGS])
        if i % _KEYFRAME_EVERY == 0:
            ids = np.arange(live).reshape(-1, 1)
            streams = b"".join(
                encode_stream(a, v, channels=v.shape[1], codec=self.codec, level=_LEVEL)
                for a, v in [(op.A_GAUSSIAN_ID, ids)]
                + [(a, bins[a]) for a in op.REQUIRED_ATTRIBUTES]
            )
            record = rec.encode_chunk(first, last, 0, live, streams)
            entry: dict[str, Any] = {"kind": 0, "keyframe_offset": self.length}
            entry["gaussian_count"] = live
        else:
            previous = self.index[-1]
            link = {
                "delta_mode": rec.DELTA_MODE_CHAINED,
                "reference_offset": previous.chunk_offset,
                "keyframe_offset": previous.keyframe_offset,
                "depth": previous.depth + 1,
            }
            record = rec.encode_delta_chunk(
                *(first, last, 0),
                **link,
                updates=self._changes(rows, bins),
                births=b"",
                deaths=b"",
                counts=(len(rows), 0, 0),
            )
            entry = {"kind": 1, "gaussian_count": len(rows), **link}
        at = self.add(record)
        self.index.append(
            rec.ChunkIndexEntry(
                t0=first, t1=last, chunk_offset=at, chunk_length=len(record), extended=True,
                live_count=live, **entry,
            )
        )  # fmt: skip
        self.before = bins

    def _changes(self, rows: NDArray, bins: dict[int, Integers]) -> bytes:
        """The update group: only what changed in some of its rows is in it."""
        stated: dict[int, Integers] = {}
        for name in (*_MOVES, op.A_SCALE, op.A_COLOR, op.A_OPACITY):
            change = bins[name][rows] - self.before[name][rows]
            if change.any():
                stated[name] = change
        axes = (op.A_ROTATION_INDEX, op.A_ROTATION)
        if any((bins[name][rows] != self.before[name][rows]).any() for name in axes):
            stated |= {name: bins[name][rows] for name in axes}
        return kd.encode_delta_streams(rows, stated, codec=self.codec, level=_LEVEL)

    def finish(self, end: float, points: int, box: list[float]) -> bytes:
        """Index, statistics and footer; the whole file."""
        start = self.length
        for entry in self.index:
            self.add(entry.encode())
        self.add(rec.Statistics(points, len(self.index), end, box).encode())
        summary = b"".join(self.parts)[start:]
        self.add(rec.Footer(start, 0, crc32(summary)).encode())
        return b"".join([*self.parts, MAGIC])


def _codec(name: str) -> int:
    if name == "deflate":
        return CODEC_DEFLATE
    if name != "zstd":
        raise UserError(f"no codec {name}; choose deflate or zstd")
    try:
        import zstandard  # noqa: F401
    except ImportError:
        raise UserError("zstd streams need zstandard: pip install zstandard") from None
    return CODEC_ZSTD


def _camera(player: PlayerScene) -> rec.Camera:
    """The middle input camera as the view that the file opens with, y up."""
    middle = len(player.w2c) // 2
    flip = np.array([1.0, -1.0, -1.0])
    eye = camera_centres(player.w2c)[middle] * flip
    aim = scene_centre(player.w2c[middle], player.means) * flip
    fov = 2 * math.atan(player.size[0] / 2 / float(player.K[middle, 1, 1]))
    return rec.Camera(math.degrees(fov), eye.tolist(), aim.tolist())


def _particulars(player: PlayerScene) -> dict[str, str]:
    """What the container has no place for: all input cameras (OpenCV axes), size, background."""
    cameras = [
        {"K": k.ravel().tolist(), "w2c": m.ravel().tolist()}
        for k, m in zip(player.K, player.w2c, strict=True)
    ]
    return {
        "cameras": json.dumps(cameras, separators=(",", ":")),
        "size": json.dumps(list(player.size)),
        "background": json.dumps([round(float(b), 6) for b in player.background]),
        "name": player.name,
        "prompt": player.prompt,
    }
