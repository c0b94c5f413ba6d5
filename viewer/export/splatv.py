"""A scene as ``.splatv``: Spacetime Gaussians for gsplat.js and splaTV, played back and forth.

The format knows a cubic curve, a turn at constant speed and a bell of opacity per Gaussian. What
stands still is one Gaussian that never fades; what moves or changes is cut into overlapping
pieces, each a curve fitted to its stretch of time, which fade into each other. So moving parts are
near, not exact. Axes as in the scene (y down), which is what those players expect.

Layout (SplatvLoader and VideoRenderProgram of gsplat.js, convert.py of splaTV, both MIT): magic
0x674b, length of the JSON list of chunks, the list, 64 bytes a Gaussian in rows of 1024.
Shape letters: N Gaussians, S pieces, M moments of a piece.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fourreal.atomic import atomic_file
from fourreal.cameras import camera_centres
from viewer.export.moments import Moment, moment_at
from viewer.player_scene import PlayerScene

if TYPE_CHECKING:
    from recon.scene import Scene4D

MAGIC = 0x674B
_ROW = 1024  # Gaussians in a row of the texture
_ALWAYS = 60_000.0  # width of a bell that is flat (a half float)
_WIDTH = 0.62  # of a bell, in distances between pieces
_REACH = 1.5  # of a fit, in the same
_PER_PIECE = 9  # moments that a curve is fitted to
_STILL = 0.05  # of its radius
_SAME = 2 / 255
_LEAST = 1 / 255


@dataclass(frozen=True)
class _Piece:
    """Curves of n Gaussians around time ``centre``: places and turns as coefficients of dt."""

    centre: float
    width: float
    cubic: NDArray  # [4,n,3]
    turn: NDArray  # [2,n,4]
    scales: NDArray  # [n,3]
    rgba: NDArray  # [n,4]


def write_splatv(scene: Scene4D | PlayerScene, path: str | Path, pieces: int | None = None) -> int:
    """Write ``scene`` to ``path``; bytes written.

    ``pieces``: how many curves a moving Gaussian gets; None: one for every interval between
    stored times, 12 at most.
    """
    player = PlayerScene.from_scene(scene)
    player.warn_of_lost_axes(".splatv files")
    data = splatv_bytes(player, pieces)
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)
    return len(data)


def splatv_bytes(player: PlayerScene, pieces: int | None = None) -> bytes:
    """The file as bytes."""
    count = min(len(player.times) - 1, 12) if pieces is None else pieces
    parts = _pieces(player, max(count, 1))
    table = np.concatenate([_rows(p) for p in parts])
    rows = -(-len(table) // _ROW)
    texture = np.zeros((rows * _ROW, 16), "<u4")
    texture[: len(table)] = table
    chunk = {
        "type": "splat",
        "size": texture.nbytes,
        "texwidth": 4 * _ROW,
        "texheight": rows,
        "cameras": [
            {
                "id": v,
                "position": centre.tolist(),
                "rotation": player.w2c[v, :3, :3].T.tolist(),
                "width": player.size[1],
                "height": player.size[0],
                "fx": float(player.K[v, 0, 0]),
                "fy": float(player.K[v, 1, 1]),
            }
            for v, centre in enumerate(camera_centres(player.w2c))
        ],
    }
    text = json.dumps([chunk], separators=(",", ":")).encode()
    return struct.pack("<II", MAGIC, len(text)) + text + texture.tobytes()


def _pieces(player: PlayerScene, count: int) -> list[_Piece]:
    first, last = float(player.times[0]), float(player.times[-1])

    def at(u: float) -> Moment:
        return moment_at(player, first + u * (last - first))

    samples = [at(u) for u in np.linspace(0, 1, 2 * len(player.times) - 1)]
    peak = np.max([s.opacities for s in samples], axis=0)
    seen = peak >= _LEAST
    start = samples[0]
    limit = _STILL * np.exp(start.log_axes.min(1))
    changing = np.zeros(len(peak), bool)
    for s in samples[1:]:
        changing |= np.linalg.norm(s.means - start.means, axis=1) > limit
        changing |= np.abs(s.colors - start.colors).max(1) > _SAME
        changing |= np.abs(s.opacities - start.opacities) > _SAME
        changing |= np.abs((s.rotations * start.rotations).sum(1)) < 1 - 1e-5
    still, moving = np.flatnonzero(seen & ~changing), np.flatnonzero(seen & changing)
    out = [_flat(start.keep(still))] if len(still) else []
    width = _WIDTH / count if count > 1 else _ALWAYS
    strength = _strengths(width * count) if count > 1 else np.linspace(0, 1, 256)
    for k in range(count + 1 if len(moving) else 0):
        centre = k / count
        span = _REACH / count
        u = np.linspace(max(0.0, centre - span), min(1.0, centre + span), _PER_PIECE)
        out.append(_fitted([at(x).keep(moving) for x in u], u - centre, centre, width, strength))
    return out


def _flat(still: Moment) -> _Piece:
    n = len(still.means)
    cubic = np.zeros((4, n, 3))
    cubic[0] = still.means
    turn = np.zeros((2, n, 4))
    turn[0] = still.rotations
    rgba = np.concatenate([still.colors, still.opacities[:, None]], 1)
    return _Piece(0.0, _ALWAYS, cubic, turn, np.exp(still.log_axes), rgba)


def _fitted(
    moments: list[Moment], dt: NDArray, centre: float, width: float, strength: NDArray
) -> _Piece:
    """Least squares weighted by the bell: cubic places, linear turns, mean colours."""
    weight = np.exp(-((dt / width) ** 2) / 2)[:, None]
    shape = (len(dt), -1)

    def solve(degree: int, values: NDArray) -> NDArray:
        basis = np.vander(dt, degree + 1, increasing=True) * weight
        fit = np.linalg.lstsq(basis, values.reshape(shape) * weight, rcond=None)[0]
        return fit.reshape(degree + 1, *values.shape[1:])

    turns = np.stack([m.rotations for m in moments]).astype(np.float64)
    middle = turns[int(np.abs(dt).argmin())]
    turns *= np.where((turns * middle).sum(2, keepdims=True) < 0, -1, 1)
    rgba = np.stack([np.concatenate([m.colors, m.opacities[:, None]], 1) for m in moments])
    mean = np.clip((rgba * weight[:, :, None]).sum(0) / weight.sum(), 0, 1)
    mean[:, 3] = strength[np.rint(mean[:, 3] * 255).astype(int)]
    logs = np.stack([m.log_axes for m in moments])
    return _Piece(
        centre,
        width,
        solve(3, np.stack([m.means for m in moments]).astype(np.float64)),
        solve(1, turns),
        np.exp((logs * weight[:, :, None]).sum(0) / weight.sum()),
        mean,
    )


def _strengths(width: float) -> NDArray[np.float64]:
    """For each opacity k / 255, that of every piece with which overlapping bells (``width`` in
    distances between them) let through, over time, what one Gaussian would."""
    place = np.linspace(-0.5, 0.5, 21)
    bells = np.exp(-(((place[:, None] - np.arange(-3, 4)) / width) ** 2))
    trial = np.linspace(0, 1, 512)
    together = 1 - np.prod(1 - trial[:, None, None] * bells, axis=2)
    wanted = np.linspace(0, 1, 256)
    return trial[np.abs(together.mean(1)[None] - wanted[:, None]).argmin(1)]


def _rows(piece: _Piece) -> NDArray[np.uint32]:
    """[n,16] words of 32 bits, as the shader unpacks them."""
    n = piece.cubic.shape[1]
    words = np.zeros((n, 16), "<u4")
    words[:, :3] = np.ascontiguousarray(piece.cubic[0], "<f4").view("<u4")
    words[:, 3:5] = _halves(piece.turn[0])
    words[:, 5:7] = _halves(np.concatenate([piece.scales, np.zeros((n, 1))], 1))
    rgba = np.ascontiguousarray(np.rint(np.clip(piece.rgba, 0, 1) * 255).astype(np.uint8))
    words[:, 7] = rgba.view("<u4")[:, 0]
    curve = np.concatenate([*piece.cubic[1:], np.zeros((n, 1))], 1)
    words[:, 8:13] = _halves(curve)
    words[:, 13:15] = _halves(piece.turn[1])
    words[:, 15:] = _halves(np.tile([piece.centre, piece.width], (n, 1)))
    return words


def _halves(values: NDArray) -> NDArray[np.uint32]:
    """Pairs of half floats, the first in the low bits."""
    clipped = np.clip(values, -65504, 65504)
    return np.ascontiguousarray(clipped, "<f2").view("<u4")
