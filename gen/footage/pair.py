"""A fixed-view clip and a freeze-time clip of the user become a grid of one row and one column.

The clips meet in one frame, which is found; the fixed view is held still, and both are brought to
one exposure. Views stay in the order of the freeze-time clip, so the row may be any row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourreal.console import say, warn
from fourreal.errors import UserError
from fourreal.image_metrics import decibel
from fourreal.video_io import resize_frames, to_float
from gen.footage.bend import bend_of, lens_of
from gen.footage.borders import borders_of
from gen.footage.column import Column, open_column
from gen.footage.exposure import colour_match, exposed, flicker
from gen.footage.how_many import InCommon, views_of
from gen.footage.lens import Lens
from gen.footage.new_frames import new_frames, spread
from gen.footage.roles import why_no_pair
from gen.footage.selection import VIEWS, choose_times, choose_views, default_size, fine_size, thin
from gen.footage.shake import Shake, measure_shake, stabilise
from gen.footage.shared_frame import (
    SharedFrame,
    find_shared_frame,
    nearest_moment,
    parse_shared_frame,
    thumbnail_size,
)
from gen.footage.shots import one_shot
from gen.footage.views import VideoView, View, open_clip
from gen.grid import VideoGrid
from gen.grid_file import MAX_CELLS

SAME_SCENE = 0.75
DIFFERENT_SHAPE = 0.03
LOST = 0.3  # of the frames may be beyond comparison
STILL = 0.0006  # shake below this fraction of the width is left alone
SHAKY, WANDERS = 0.02, 0.1  # ... above this is worth a warning, or more than a fixed view can have


@dataclass(frozen=True)
class Clip:
    """A clip and the indices of the frames of it that may be used."""

    view: View
    index: NDArray[np.intp]
    fps: float
    path: str
    lens: Lens | None = None

    @property
    def stamps(self) -> NDArray[Any]:
        """When each frame is shown, in frames of the average rate."""
        return self.view.stamps if isinstance(self.view, VideoView) else self.index

    def read(self, index: NDArray[np.intp], size: tuple[int, int]) -> NDArray[np.uint8]:
        """Frames at a size. Raises UserError."""
        try:
            return self.view.read(index.tolist(), *size, self.lens)
        except ValueError as error:
            raise UserError(f"cannot read {self.path}: {error}") from error


@dataclass(frozen=True)
class PairRequest:
    """What is asked of ``load_pair``.

    Attributes:
        freeze_time, fixed_view: paths of the clips (video, or folder of images); '' for no fixed
            view: a static scene.
        cameras: what holds the cameras of the freeze-time clip; '' to look beside photos for them.
        pick_views, pick_times: ``A:B[:STEP]`` on the frames of each clip.
        start, fps: seconds of the fixed-view clip to leave out, and its frames per second to use.
        size: (height, width) to work at; by default the short side becomes
            288 px, or stays what it is if that is less.
        shared_frame: ``A:B``, frame A of the fixed view is frame B of the other; '' to find it.
        max_views, max_times: so many frames of each clip are used at most; 0 times are all, 0 views
            what ``views_of`` finds with ``in_common``.
        stabilise: whether shake of the fixed view is taken out.
        straighten: whether the bending of a lens without a calibration is looked for and undone.
        force: go on although the clips do not seem to belong together.
    """

    freeze_time: str
    fixed_view: str = ""
    cameras: str = ""
    pick_views: str = ""
    pick_times: str = ""
    start: float = 0.0
    fps: float = 0.0
    size: tuple[int, int] | None = None
    max_views: int = 0
    max_times: int = 16
    shared_frame: str = ""
    stabilise: bool = True
    straighten: bool = True
    force: bool = False
    in_common: InCommon | None = None


def load_pair(ask: PairRequest) -> VideoGrid:
    """Read the clips into a grid of which one row and one column are known (T = 1 without a row).

    Raises:
        UserError: a clip is missing, unreadable, too short, or the two do not belong together.
    """
    column = open_column(ask.freeze_time, ask.cameras, "freeze-time clip")
    for note in column.lines:
        say(f"  freeze-time clip: {note}")
    column_index = choose_views(column.count, ask.pick_views)
    if len(column_index) < 2:
        raise UserError(
            f"the freeze-time clip {ask.freeze_time} has {len(column_index)} frame(s) after "
            "picking; at least 2 views are needed"
        )
    small = thumbnail_size(*column.size)
    told = ask.shared_frame or ask.pick_views or column.w2c is not None
    what = "freeze-time clip"
    shots = np.zeros(len(column_index), np.intp)
    if isinstance(column.source, VideoView) and not told:
        column_index, shots = new_frames(
            column.source, column_index, small, what, ask.max_views or VIEWS
        )
    borders = None
    if isinstance(column.source, VideoView) and column.w2c is None:
        borders = borders_of(column.source, column_index)
        column = column.of(borders.cut(column.source))
    size = ask.size or default_size(*column.size)
    views = "--pick-views or --max-views"
    if not ask.fixed_view:
        say("  no fixed-view clip: a static scene")
        column_index = one_shot(column_index, shots, what)
        most = views_of(column_index, ask.max_views, ask.in_common, column.small, what)
        column_index = thin(column_index, most, what, views)
        column, read, fine = _straight(column, column_index, size, ask.straighten)
        K, w2c = column.cameras(column_index, size)
        return VideoGrid(to_float(read)[:, None], K=K, w2c=w2c, fine=fine)

    row = _open_row(ask.fixed_view, column)
    row_index = choose_times(row.stamps / row.fps, ask.pick_times, ask.start, ask.fps)
    if len(row_index) < 2:
        raise UserError(
            f"the fixed-view clip {ask.fixed_view} has {len(row_index)} frame(s) after picking; at "
            "least 2 times are needed (leave --fixed-view away for a static scene)"
        )
    row_shots = np.zeros(len(row_index), np.intp)
    if isinstance(row.view, VideoView) and not (ask.shared_frame or ask.pick_times):
        row_index, row_shots = new_frames(row.view, row_index, small, "fixed-view clip")
    if isinstance(row.view, VideoView) and borders is not None:
        row = replace(row, view=borders.cut_row(row.view, row_index))
    shared = _meet(row, row_index, column, column_index, ask)
    row_index = one_shot(row_index, row_shots, "fixed-view clip", shared[0])
    column_index = one_shot(column_index, shots, what, shared[1])
    most = views_of(column_index, ask.max_views, ask.in_common, column.small, what)
    column_index = thin(column_index, most, what, views, shared[1])
    times = "--pick-times, --fps or --max-times"
    row_index = thin(row_index, ask.max_times, "fixed-view clip", times, shared[0])
    if len(row_index) * len(column_index) > MAX_CELLS:
        raise UserError(
            f"{len(column_index)} views x {len(row_index)} times is more than {MAX_CELLS} cells; "
            f"pick fewer ({views}, {times})"
        )
    at = int(np.flatnonzero(row_index == shared[0])[0])
    over = int(np.flatnonzero(column_index == shared[1])[0])

    # Shake is taken out at up to twice the size that is worked at, so that nothing is blurred.
    own = row.view.size
    twice = own if own[0] * own[1] <= 4 * size[0] * size[1] else (2 * size[0], 2 * size[1])
    bent = column
    column, read, fine = _straight(column, column_index, size, ask.straighten)
    if column is not bent:
        row = _as_the_column(row, column)
    row_frames = to_float(row.read(row_index, twice))
    column_frames = to_float(read)
    meeting = to_float(column.read(np.array([shared[1]]), twice))[0]
    _check_roles(row_frames, at, column_frames, over, ask)
    row_frames = _bring_together(row_frames, meeting, at, ask)
    row_frames = resize_frames(row_frames, *size)

    frames = np.zeros((len(column_frames), len(row_frames), *size, 3), np.float32)
    frames[over] = row_frames
    frames[:, at] = column_frames
    known = np.zeros(frames.shape[:2], bool)
    known[over] = known[:, at] = True
    stamps = row.stamps[row_index] - row.stamps[row_index[0]]
    K, w2c = column.cameras(column_index, size)
    return VideoGrid(
        frames,
        known,
        times=(stamps / stamps[-1]).astype(np.float32),
        K=K,
        w2c=w2c,
        fps=row.fps * (len(row_index) - 1) / float(stamps[-1]),
        shared=(over, at),
        fine=fine,
    )


def _straight(
    column: Column, index: NDArray[np.intp], size: tuple[int, int], look: bool
) -> tuple[Column, NDArray[np.uint8], NDArray[np.uint8] | None]:
    """The column without the bending of its lens, and its frames at ``size`` and as ``_fine``.

    Looked for in the frames where neither cameras nor a lens are given, if ``look``.
    """
    frames, fine = column.read(index, size), _fine(column, index, size)
    known = column.w2c is not None or any(column.lenses)
    if not look or known or not column.one_size:
        return column, frames, fine
    bend = bend_of(list(frames if fine is None else fine))
    if bend is None:
        return column, frames, fine
    corner = 100 * abs(1 / (1 + bend) - 1)
    say(
        f"  freeze-time clip: its lens bends straight lines (the corners are {corner:.0f} % off): "
        "straightened (--no-straighten leaves it)"
    )
    column = column.through(lens_of(bend, column.size))
    return column, column.read(index, size), _fine(column, index, size)


def _fine(
    column: Column, index: NDArray[np.intp], size: tuple[int, int]
) -> NDArray[np.uint8] | None:
    """The frames as they were taken, where cameras have to be found and ``size`` is coarser."""
    finer = fine_size(column.size, size) if column.w2c is None else None
    return None if finer is None else column.read(index, finer)


def _open_row(path: str, column: Column) -> Clip:
    """The fixed-view clip; a lens that all of the freeze-time clip has is its own as well."""
    what = "fixed-view clip"
    view, count, fps = open_clip(path, what)
    for note in view.notes:
        say(f"  {what}: {note}")
    return _as_the_column(Clip(view, np.arange(count), fps, f"the {what} {path}"), column)


def _as_the_column(row: Clip, column: Column) -> Clip:
    """The fixed-view clip through the lens that all of the freeze-time clip has."""
    lens = column.lens_at(row.view.size)
    if lens is not None:
        how = "undistorted as the freeze-time clip is"
        say(f"  fixed-view clip: {how}, for the same camera took both")
    return replace(row, lens=lens)


def _meet(
    row: Clip, row_index: NDArray, column: Column, column_index: NDArray, ask: PairRequest
) -> tuple[int, int]:
    """The shared frame: its number in the fixed-view and in the freeze-time clip.

    Raises:
        UserError: there is none, unless ``force``.
    """
    (rh, rw), (ch, cw) = row.view.size, column.size
    reason = ""
    if abs(rw * ch / (rh * cw) - 1) > DIFFERENT_SHAPE:
        reason = f"the clips have different shapes ({rh}x{rw} and {ch}x{cw})"
    if ask.shared_frame:
        a, b = parse_shared_frame(ask.shared_frame, len(row.index), column.count)
        if a not in row_index or b not in column_index:
            raise UserError(
                f"--shared-frame {ask.shared_frame} is not among the picked frames; change "
                "--pick-views, --pick-times, --start or --fps"
            )
        row_index, column_index = np.array([a]), np.array([b])
    rows, columns = spread(row_index), spread(column_index)
    small = thumbnail_size(ch, cw)
    found = find_shared_frame(row.read(rows, small), column.read(columns, small))
    if found.similarity < SAME_SCENE:
        different = (
            f"{ask.fixed_view} and {ask.freeze_time} seem to show different scenes (their best "
            f"frames agree by {found.similarity:.2f}, {SAME_SCENE} is needed)"
        )
        reason = f"{reason} and show different scenes" if reason else different
    if reason and not ask.force:
        raise UserError(f"{reason}; --force-pair goes on all the same")
    if reason:
        warn(f"{reason}; going on because of --force-pair")
        if not ask.shared_frame:
            return int(row_index[0]), int(column_index[0])
    time = found.row
    if time and len(found.nearly) > 1:
        fine = thumbnail_size(ch, cw, 384)
        meeting = column.read(columns[[found.column]], fine)[0]
        time = found.nearly[nearest_moment(row.read(rows[list(found.nearly)], fine), meeting)]
    shared = int(rows[time]), int(columns[found.column])
    if shared != (int(row.index[0]), 0):
        _tell(shared, found, ask)
    return shared


def _tell(shared: tuple[int, int], found: SharedFrame, ask: PairRequest) -> None:
    how = "as told" if ask.shared_frame else f"agree by {found.similarity:.3f}"
    first = "" if ask.shared_frame else f"; the first frames by {found.first:.3f}"
    say(
        f"  shared frame: {shared[0]} of the fixed-view clip is {shared[1]} of the freeze-time "
        f"clip ({how}{first})"
    )


def _bring_together(
    row: NDArray[np.float32], meeting: NDArray[np.float32], at: int, ask: PairRequest
) -> NDArray[np.float32]:
    """The fixed-view frames [T, H, W, 3], still, in the place and with the colours of ``meeting``,
    the frame of the freeze-time clip that frame ``at`` is the same as."""
    before = agreement(row[at], meeting)
    width = row.shape[2]
    if ask.stabilise:
        shake = _check_fixed(measure_shake(row, row[at]), ask)
        apart = measure_shake(row[at : at + 1], meeting)
        offset = float(apart.displacement[0]) if apart.found[0] else 0.0
        moved = shake.displacement.max() > STILL * width
        if moved:
            rms = float(np.sqrt((shake.displacement**2).mean()))
            say(f"  stabilised: {rms:.1f} px of shake removed (frames {width} px wide)")
        if offset > STILL * width:
            say(f"  aligned: the fixed view was {offset:.1f} px from the shared frame")
        if moved or offset > STILL * width:
            to_row = apart.homographies[0] if offset > STILL * width else np.eye(3)
            row = stabilise(row, shake.homographies @ to_row, meeting)
    gains = flicker(row, row[at])
    if (swing := float(np.abs(gains - 1).max())) > 0:
        say(f"  exposure evened out: it changed by up to {100 * swing:.0f} % over the fixed view")
        row = exposed(row, gains)
    gain = colour_match(row[at], meeting)
    if gain is not None:
        matched = exposed(row, gain)
        if agreement(matched[at], meeting) > agreement(row[at], meeting):
            listed = " ".join(f"{g:.2f}" for g in gain)
            say(f"  colours matched: the fixed-view clip times {listed} (red, green, blue)")
            row = matched
    after = agreement(row[at], meeting)
    better = f" ({before:.1f} before)" if after > before + 0.1 else ""
    say(f"  the clips agree in their shared frame: {after:.1f} dB{better}")
    return row


def _check_roles(
    row: NDArray[np.float32], at: int, column: NDArray[np.float32], over: int, ask: PairRequest
) -> None:
    """Refuse clips that are no pair, unless ``force``; ``at``, ``over``: the shared frame in each.

    Raises:
        UserError: why not.
    """
    reason = why_no_pair(row, at, column, over, (ask.fixed_view, ask.freeze_time))
    if reason and not ask.force:
        raise UserError(f"{reason} (--force-pair goes on all the same)")
    if reason:
        warn(f"{reason}; going on because of --force-pair")


def _check_fixed(shake: Shake, ask: PairRequest) -> Shake:
    """Say what kind of fixed view it is; no shake where that cannot be told.

    Raises:
        UserError: it is no fixed view.
    """
    width = shake.size[1]
    lost = int((~shake.found).sum())
    largest = float(shake.displacement.max())
    if largest > WANDERS * width:
        reason = (
            f"the camera of {ask.fixed_view} is not fixed: the image moves by {largest:.0f} px of "
            f"{width}"
        )
        if not ask.force:
            raise UserError(f"{reason}; put it on something solid, or go on with --force-pair")
        warn(f"{reason}; going on because of --force-pair")
    elif lost <= LOST * len(shake.found) and largest > SHAKY * width:
        warn(f"the fixed view is shaky (up to {largest:.0f} px of {width}): a tripod helps")
    if lost > LOST * len(shake.found):
        warn(
            "too little stands still all over the fixed view to tell whether it is fixed: it is "
            "taken as it is"
        )
        return replace(shake, homographies=np.tile(np.eye(3), (len(shake.found), 1, 1)))
    if lost:
        warn(f"{lost} frame(s) of the fixed view cannot be compared with the shared one")
    parallax = float(np.median(shake.residual[shake.found]))
    if parallax > 0.004 * width:
        warn(
            f"the fixed view's camera does more than turn: {parallax:.1f} px of its motion stay, "
            "since near and far things move differently"
        )
    return shake


def agreement(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """PSNR in dB of two pictures in 0..1, at most 60."""
    return float(decibel(np.mean((np.asarray(a, np.float64) - b) ** 2)))
