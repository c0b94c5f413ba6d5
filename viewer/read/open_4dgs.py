"""Read the open ``.4dgs`` container of the package ``fourdgs``: ours and other people's.

The states at the file's own stamps become a ``PlayerScene``: what was born, moved and died, with
straight lines in between. Spherical harmonics beyond the plain colour and sound are left out,
which is said.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import fourdgs
import fourdgs.keyframe_delta_file as sequence
import fourdgs.opcode as op
import fourdgs.records as rec
import numpy as np
import torch
from fourdgs.serialization import iter_records
from numpy.typing import NDArray

from fourreal.cameras import intrinsics_from_fov, look_at
from fourreal.console import warn
from fourreal.errors import UserError
from recon.motion.turning import turn_between
from viewer.player_scene import PlayerScene
from viewer.read.episodes import TURNED, States, episodes_of

MAGIC = b"\x894DGS"
_MOST_VALUES = 1 << 23  # Gaussians x stamps; of longer files fewer stamps are taken
_MOST_STAMPS = 64  # of files that state no moments of their own
_TURNS = 0.01  # half the angle in rad; smaller ones are the file's rounding
_SIZE = (720, 1280)  # of the picture, where the file says none
_TO_OURS = {  # x right, y down, z forward
    "y-up-right-handed": np.array([0.0, 1.0, 0.0, 0.0]),
    "z-up-right-handed": np.array([0.5**0.5, 0.5**0.5, 0.0, 0.0]),
}
_DAMAGED = (
    *(fourdgs.FourdgsError, ValueError, TypeError, KeyError, IndexError, AttributeError),
    *(OverflowError, ZeroDivisionError, struct.error, MemoryError, FloatingPointError),
)


@dataclass
class _File:
    """The records that concern every moment."""

    header: rec.Header
    quantization: rec.Quantization
    windows: list[tuple[float, float]] = field(default_factory=list)
    camera: rec.Camera | None = None
    notes: dict[str, dict[str, str]] = field(default_factory=dict)
    sounds: bool = False


def decode_open_4dgs(data: bytes, source: str = "container") -> PlayerScene:
    """The scene in a container.

    Raises:
        UserError: damaged, cut short, empty, or of a version or codec that cannot be read here;
            names ``source``.
    """
    try:
        with np.errstate(all="ignore"):
            file = _records(data)
            clock, states = _states(data, file)
            scene = _scene(file, clock, states)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    except fourdgs.UnsupportedCodec as error:
        raise UserError(f"{source}: cannot be read here ({_line(error)})") from error
    except _DAMAGED as error:
        raise UserError(f"{source}: damaged .4dgs file ({_line(error)})") from error
    if file.header.sh_degree:
        warn(f"{source}: its view-dependent colours (spherical harmonics) are left out")
    if file.sounds:
        warn(f"{source}: its sound is left out")
    return scene


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _records(data: bytes) -> _File:
    fourdgs.serialization.check_magic(data)
    found: dict[str, Any] = {}
    notes: dict[str, dict[str, str]] = {}
    sounds = False
    for record in iter_records(data, 8):
        if record.opcode == op.HEADER and "header" not in found:
            found["header"] = rec.Header.parse(record.content)
        elif record.opcode == op.QUANTIZATION and "quantization" not in found:
            found["quantization"] = rec.Quantization.parse(record.content)
        elif record.opcode == op.WINDOW_TABLE:
            found["windows"] = rec.WindowTable.parse(record.content).windows
        elif record.opcode == op.CAMERA:
            found["camera"] = rec.Camera.parse(record.content)
        elif record.opcode == op.METADATA:
            note = rec.Metadata.parse(record.content)
            notes[note.name] = note.entries
        elif record.opcode in (op.AUDIO, op.AUDIO_SOURCE):
            sounds = True
    if not {"header", "quantization"} <= set(found):
        raise UserError("damaged .4dgs file (no header or no quantisation in it)")
    return _File(**found, notes=notes, sounds=sounds)


def _states(data: bytes, file: _File) -> tuple[NDArray[np.float64], States]:
    """Stamps in seconds and the Gaussians at each of them, in the file's axes."""
    model = file.header.temporal_model
    if model == "keyframe-delta":
        moments = list(_composed(data, file))
    else:
        moments = list(_born(data))
    if not any(len(ids) for _, ids, _ in moments):
        raise UserError("no Gaussian in it at any time")
    names = np.unique(np.concatenate([ids for _, ids, _ in moments]))
    keep = max(2, _MOST_VALUES // len(names))
    if len(moments) > keep:
        chosen = np.unique(np.linspace(0, len(moments) - 1, keep).round().astype(int))
        warn(f"{len(moments)} moments of {len(names)} Gaussians: {len(chosen)} of them are taken")
        moments = [moments[k] for k in chosen]
    shape = (len(moments), len(names))
    widths = {"means": 3, "log_axes": 3, "rotations": 4, "colors": 3}
    values = {k: np.zeros((*shape, w), np.float32) for k, w in widths.items()}
    values["opacities"] = np.zeros(shape, np.float32)
    known = np.full(shape[1], -1)
    for t, (_, ids, state) in enumerate(moments):
        rows = np.searchsorted(names, ids)
        for name in values:
            if name != "opacities" and t:
                values[name][t] = values[name][t - 1]  # the absent stay where they were
            values[name][t, rows] = state[name]
        fresh = rows[known[rows] < 0]
        known[fresh] = t
        for name in widths:  # those not there yet wait where they will appear
            values[name][:t, fresh] = values[name][t, fresh]
    if not all(np.isfinite(v).all() for v in values.values()):
        raise UserError("damaged .4dgs file (values that are not finite)")
    return np.array([t for t, _, _ in moments]), States(**values)


def _composed(data: bytes, file: _File) -> Iterator[tuple[float, NDArray, dict[str, NDArray]]]:
    """Keyframe-delta: the state at the beginning of every chunk, and at the end if it moves."""
    grids = sequence.DecodedSequence(file.header, file.quantization, file.windows).grids
    spans: list[tuple[float, float]] = []

    def note(_: int, first: float, last: float) -> None:
        spans.append((float(first), float(last)))

    state = None
    for _, _, state in sequence.scan_streamed(data, on_state=note, sh_degree=file.header.sh_degree):
        sequence.check_window_indices_of(state, file.windows)
        yield _reconstructed(state, grids, spans[-1][0])
    if state is not None and state.count and (state.bins[op.A_MOTION] != 0).any():
        yield _reconstructed(state, grids, float(np.nextafter(spans[-1][1], 0)))


def _reconstructed(state: Any, grids: Any, t: float) -> tuple[float, NDArray, dict[str, NDArray]]:
    at = sequence.reconstruct_at(state, grids, t)
    return t, at["ids"], {
        "means": at["centers"],
        "log_axes": _logs(at["scales"]),
        "rotations": np.roll(at["rotations"], 1, axis=1),
        "colors": at["rgb"],
        "opacities": at["opacity"],
    }  # fmt: skip


def _born(data: bytes) -> Iterator[tuple[float, NDArray, dict[str, NDArray]]]:
    """Gaussian-birth: every Gaussian has a speed, a peak and a window; stamps are the peaks where
    they are few (frames of a sequence), else evenly spaced."""
    scene = fourdgs.read(data, recover_truncated=False)
    g, end = scene.gaussians, float(scene.duration_sec)
    if not math.isfinite(end) or end < 0:
        raise UserError(f"damaged .4dgs file (a duration of {end} seconds)")
    stamps = np.unique(np.clip(np.asarray(g.mu_t, np.float64), 0, end))
    if not 1 < len(stamps) <= _MOST_STAMPS:
        stamps = np.linspace(0, np.nextafter(end, 0), 33 if end else 1)
    logs = _logs(g.scales)
    for t in stamps.tolist():
        at = scene.state_at(t)
        rows = at["indices"]
        yield t, rows, {
            "means": at["centers"],
            "log_axes": logs[rows],
            "rotations": np.roll(at["orientations"], 1, axis=1),
            "colors": g.colors[rows, :3],
            "opacities": at["opacity"],
        }  # fmt: skip


def _logs(scales: NDArray) -> NDArray[np.float64]:
    return np.log(np.maximum(np.asarray(scales, np.float64), 1e-12))


def _scene(file: _File, clock: NDArray, states: States) -> PlayerScene:
    turn = _TO_OURS.get(file.header.attributes.get("coordinate_system", ""))
    if turn is not None:
        states.means = _rotate(states.means, turn)
        states.rotations = _product(turn, states.rotations)
    whose, look, shown = episodes_of(states)
    opacities = states.opacities[:, whose] * shown
    peak = opacities.max(0)
    every = np.arange(len(whose))
    colors = states.colors[look, whose]
    shade = (states.colors[:, whose] * colors).sum(2) / np.maximum((colors**2).sum(1), 1e-9)
    shade = np.where(shown, shade, 1).astype(np.float32)
    places = states.means[:, whose]
    logs = states.log_axes[look, whose]
    length = float(clock[-1] - clock[0])
    several = len(clock) > 1 and length > 0
    means = places[look, every]
    cameras = _cameras(file, turn, means)
    middle = logs.mean(1)
    rotations = states.rotations[look, whose]
    turns = _turns(rotations, states.rotations[:, whose], shown) if several else None
    return PlayerScene(
        means=means,
        log_scales=middle,
        opacities=np.clip(peak, 0, 1),
        colors=np.clip(colors, 0, 1),
        times=((clock - clock[0]) / length if several else np.zeros(1)).astype(np.float32),
        offsets=places - means if several else np.zeros((1, *means.shape)),
        shade=shade if several and np.abs(shade - 1).max() > 1e-3 else None,
        visibility=opacities / np.maximum(peak, 1e-9)
        if several and np.abs(opacities - peak).max() > 1e-3
        else None,
        stretch=np.exp(logs - middle[:, None]),
        rotations=rotations,
        turns=turns,
        fps=(len(clock) - 1) / length if several else 8.0,
        **cameras,
    )


def _turns(look: NDArray, states: NDArray, shown: NDArray[np.bool_]) -> NDArray | None:
    """How episodes turn while they are shown [T,E], Gibbs vectors [T,E,3]; None: not at all.

    Round ones, which may be said to have turned by any angle, do not.
    """
    near = shown & (np.abs((states * look).sum(2)) >= TURNED)
    at = torch.from_numpy(np.where(near[..., None], states, look))
    turns = turn_between(torch.from_numpy(look).expand_as(at), at).numpy()
    return turns if np.abs(turns).max() > _TURNS else None


def _cameras(file: _File, turn: NDArray | None, means: NDArray) -> dict[str, Any]:
    """K, w2c, size, background, name and prompt: ours, else the file's camera, else from afar."""
    title = file.header.attributes.get("title", "")
    ours = file.notes.get("fourreal")
    if ours is not None:
        cameras = json.loads(ours["cameras"])
        return {
            "K": np.array([c["K"] for c in cameras], np.float64).reshape(-1, 3, 3),
            "w2c": np.array([c["w2c"] for c in cameras], np.float64).reshape(-1, 4, 4),
            "size": tuple(json.loads(ours["size"])),
            "background": np.array(json.loads(ours["background"]), np.float32),
            "name": ours.get("name", ""),
            "prompt": ours.get("prompt", title),
        }
    fov, up = 50.0, np.array([0.0, -1.0, 0.0])
    middle = np.median(means, 0).astype(np.float64)
    reach = max(float(np.quantile(np.linalg.norm(means - middle, axis=1), 0.9)), 1e-6)
    eye, aim = middle - [0, 0, 2.2 * reach], middle
    if file.camera is not None and 1 < file.camera.fov_y_deg < 170:
        points = np.array([file.camera.position, file.camera.target], np.float64)
        if np.isfinite(points).all() and np.linalg.norm(points[0] - points[1]) > 1e-9:
            fov = float(file.camera.fov_y_deg)
            eye, aim = points if turn is None else _rotate(points, turn)
    if np.linalg.norm(np.cross(aim - eye, up)) < 1e-6 * np.linalg.norm(aim - eye):
        up = np.array([0.0, 0.0, 1.0])
    height, width = _SIZE
    wide = math.degrees(2 * math.atan(math.tan(math.radians(fov) / 2) * width / height))
    return {
        "K": np.asarray(intrinsics_from_fov(wide, height, width))[None],
        "w2c": np.asarray(look_at(eye, aim, up=up))[None],
        "size": _SIZE,
        "name": title,
        "prompt": title,
    }


def _rotate(points: NDArray, q: NDArray) -> NDArray:
    w, v = q[0], q[1:]
    across = 2 * np.cross(v, points)
    return (points + w * across + np.cross(v, across)).astype(points.dtype)


def _product(a: NDArray, b: NDArray) -> NDArray:
    """Quaternion ``a`` [4] times ``b`` [...,4], w first."""
    w, x, y, z = np.moveaxis(b, -1, 0)
    p, q, r, s = a
    return np.stack(
        [
            p * w - q * x - r * y - s * z,
            p * x + q * w + r * z - s * y,
            p * y - q * z + r * w + s * x,
            p * z + q * y - r * x + s * w,
        ],
        -1,
    ).astype(b.dtype)
