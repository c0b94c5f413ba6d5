"""Clip pairs: where they meet, shake, exposure, what is thinned, and what is refused."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from fourreal.errors import UserError
from fourreal.option_values import parse_size, parse_slice
from fourreal.video_io import read_clip, write_video
from gen.data.world.grid import make_grid
from gen.footage.exposure import colour_match, exposed
from gen.footage.pair import PairRequest, agreement, load_pair
from gen.footage.shake import measure_shake, stabilise
from gen.footage.shared_frame import find_shared_frame, parse_shared_frame
from tests.shared_data import shared_data


def texture(H=144, W=192, seed=0):
    """A picture with corners all over, and a margin of 40 px to move in."""
    rng = np.random.default_rng(seed)
    small = rng.random(((H + 80) // 8, (W + 80) // 8, 3), np.float32)
    return np.clip(cv2.resize(small, (W + 80, H + 80), interpolation=cv2.INTER_CUBIC), 0, 1)


def fixed_view(frames, seed=0, H=144, W=192):
    """A still texture before which a red square wanders: [F, H, W, 3]."""
    out = np.stack([texture(H, W, seed)[40 : 40 + H, 40 : 40 + W]] * frames).copy()
    for k in range(frames):
        out[k, 60:84, 20 + 6 * k : 44 + 6 * k] = [0.9, 0.1, 0.1]
    return out


def freeze_time(frames, at, moment, seed=0, H=144, W=192):
    """The texture with its square as at ``moment``, panned; frame ``at`` is the fixed view."""
    big = texture(H, W, seed)
    big[100:124, 60 + 6 * moment : 84 + 6 * moment] = [0.9, 0.1, 0.1]
    shifts = [4 * (k - at) for k in range(frames)]
    return np.stack([big[40 : 40 + H, 40 + s : 40 + s + W] for s in shifts])


def shaken(frames, amplitude, seed=1):
    """Frames displaced by random turns and shifts, frame 0 by none; also the homographies."""
    rng = np.random.default_rng(seed)
    H, W = frames.shape[1:3]
    out, moved = [], []
    for k, frame in enumerate(frames):
        angle, shift = rng.normal() * 0.004 * amplitude, rng.normal(size=2) * amplitude
        M = np.eye(3)
        if k:
            M[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
            M[:2, 2] = shift
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        out.append(
            cv2.warpPerspective(
                frame, np.linalg.inv(half) @ M @ half, (W, H), flags=cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REFLECT,
            )
        )  # fmt: skip
        moved.append(M)
    return np.clip(np.stack(out), 0, 1), np.stack(moved)


@pytest.fixture
def clips(tmp_path):
    write_video(tmp_path / "freeze.mp4", freeze_time(6, 0, 0), 8)
    write_video(tmp_path / "fixed.mp4", fixed_view(12), 10)
    write_video(tmp_path / "other.mp4", fixed_view(5, seed=7), 10)
    write_video(tmp_path / "one.mp4", fixed_view(1), 10)
    return tmp_path


def pair(folder, fixed="fixed.mp4", freeze="freeze.mp4", **options):
    fixed_path = str(folder / fixed) if fixed else ""
    return load_pair(PairRequest(str(folder / freeze), fixed_path, **options))


def test_pair_becomes_row_and_column(clips):
    grid = pair(clips, max_times=8)
    assert grid.frames.shape == (6, 8, 144, 192, 3) and grid.shared == (0, 0)
    assert grid.known.sum() == 6 + 8 - 1 and not grid.complete
    assert grid.times[0] == 0 and grid.times[-1] == 1
    row, _ = read_clip(clips / "fixed.mp4")
    assert np.abs(grid.frames[0, -1] - row[-1]).mean() < 0.01


def test_a_whole_clip_is_used_when_asked_for_and_refused_when_too_long(clips, monkeypatch):
    assert pair(clips, max_times=0, size=(36, 48)).T == 12
    monkeypatch.setattr("gen.footage.pair.MAX_CELLS", 6 * 12 - 1)
    with pytest.raises(UserError, match="6 views x 12 times is more than 71 cells"):
        pair(clips, max_times=0)


def test_freeze_time_clip_alone_is_a_static_scene(clips):
    assert pair(clips, "", size=(32, 48)).frames.shape == (6, 1, 32, 48, 3)


def test_picking_frames(clips):
    grid = pair(clips, pick_views="0:4", pick_times="0:10:3")
    assert (grid.V, grid.T) == (4, 4)
    grid = pair(clips, start=0.5, fps=5.0)  # frames 5, 7, 9, 11 of 12 at 10 a second
    assert grid.T == 4 and grid.fps == pytest.approx(5)


def test_a_fixed_view_of_uneven_rate_keeps_its_times(clips):
    from tests.gen.footage.footage_files import ffmpeg

    kept = "select='lt(n,4)+gt(n,8)'"  # frames 4 to 8 of 12 are missing
    ffmpeg("-i", clips / "fixed.mp4", "-vf", kept, "-fps_mode", "vfr", "-crf", "5",
           clips / "uneven.mp4")  # fmt: skip
    grid = pair(clips, "uneven.mp4")
    assert np.allclose(grid.times, np.array([0, 1, 2, 3, 9, 10, 11]) / 11, atol=1e-3)
    assert grid.fps * (grid.T - 1) ** -1 == pytest.approx(1 / 1.1, rel=0.01)  # 1.1 s in all
    row, _ = read_clip(clips / "fixed.mp4")
    assert np.abs(grid.frames[0, 4] - row[9]).mean() < 0.02


@pytest.mark.parametrize(("at", "moment"), [(0, 4), (2, 0), (3, 5), (5, 11)])
def test_shared_frame_is_found_wherever_it_is(tmp_path, capsys, at, moment):
    write_video(tmp_path / "freeze.mp4", freeze_time(6, at, moment), 8)
    write_video(tmp_path / "fixed.mp4", 0.85 * fixed_view(12), 10)
    grid = pair(tmp_path)
    assert grid.shared == (at, moment)
    assert f"{moment} of the fixed-view clip is {at} of" in capsys.readouterr().out
    # views stay in the order of the path, the row is the view where the clips meet
    freeze, _ = read_clip(tmp_path / "freeze.mp4")
    assert np.abs(grid.freeze_time - freeze).mean() < 0.01
    assert np.array_equal(grid.fixed_view[moment], grid.freeze_time[at])


def test_shared_frame_of_a_rendered_scene():
    grid, _, _ = make_grid(seed=5, V=5, T=5, size=(72, 128))
    small = (grid.frames * 255).astype(np.uint8)
    for v in range(5):
        found = [find_shared_frame(small[v], small[:, t]) for t in range(5)]
        assert [(f.column, f.row) for f in found] == [(v, t) for t in range(5)]


def test_shared_frame_can_be_told(clips, capsys):
    assert pair(clips, shared_frame="3:0").shared == (0, 3)
    assert "as told" in capsys.readouterr().out
    assert parse_shared_frame("3:4", 5, 5) == (3, 4)
    for text in ("3", "a:b", "-1:0"):
        with pytest.raises(UserError, match="--shared-frame.*write A:B"):
            parse_shared_frame(text, 5, 5)
    with pytest.raises(UserError, match="frames 0..4"):
        parse_shared_frame("9:0", 5, 5)
    with pytest.raises(UserError, match="not among the picked"):
        pair(clips, shared_frame="3:0", pick_times="5:")


def test_thinning_keeps_the_shared_frame(tmp_path):
    write_video(tmp_path / "freeze.mp4", freeze_time(9, 4, 5), 8)
    write_video(tmp_path / "fixed.mp4", fixed_view(12), 10)
    grid = pair(tmp_path, max_views=4, max_times=3)
    assert (grid.V, grid.T) == (4, 3)
    v, t = grid.shared
    freeze, _ = read_clip(tmp_path / "freeze.mp4")
    assert np.abs(grid.frames[v, t] - freeze[4]).mean() < 0.01


def test_shake_is_measured_to_a_tenth_of_a_pixel_and_taken_out():
    true = fixed_view(6)
    seen, homographies = shaken(true, 2.0)
    shake = measure_shake(seen, seen[0])
    assert shake.found.all()
    exact = replace(shake, homographies=homographies)
    assert exact.displacement.max() > 1.5
    error = replace(shake, homographies=np.linalg.inv(homographies) @ shake.homographies)
    assert error.displacement.max() < 0.15
    still = stabilise(seen, shake.homographies, true[0])
    inner = (slice(None), slice(8, -8), slice(8, -8))
    assert agreement(still[inner], true[inner]) > agreement(seen[inner], true[inner]) + 8


def test_what_only_the_subject_shows_is_no_shake():
    blank = np.full((4, 144, 192, 3), 0.95, np.float32)
    for k in range(4):
        blank[k, 40:90, 30 + 6 * k : 90 + 6 * k] = texture()[:50, :60]
    assert not measure_shake(blank[1:], blank[0]).found.any()


def test_shaken_and_darker_clip_is_brought_together(tmp_path, capsys):
    true = fixed_view(8)
    seen, _ = shaken(true, 1.5)
    seen = seen * np.array([0.8, 0.9, 0.95]) * (1 - 0.02 * np.arange(8))[:, None, None, None]
    write_video(tmp_path / "freeze.mp4", freeze_time(5, 0, 0), 8)
    write_video(tmp_path / "fixed.mp4", seen, 10)
    grid = pair(tmp_path)
    said = capsys.readouterr().out
    assert "px of shake removed" in said and "colours matched" in said and "evened out" in said
    inner = (slice(None), slice(8, -8), slice(8, -8))
    assert agreement(grid.fixed_view[inner], true[inner]) > 30 > agreement(seen[inner], true[inner])
    plain = pair(tmp_path, stabilise=False)
    assert agreement(plain.fixed_view[inner], true[inner]) < 28


def test_clip_that_is_well_is_left_as_it_is(clips, capsys):
    pair(clips)
    said = capsys.readouterr().out
    assert "stabilised" not in said and "matched" not in said and "evened" not in said


def test_wandering_camera_is_no_fixed_view(tmp_path):
    write_video(tmp_path / "freeze.mp4", freeze_time(6, 0, 0), 8)
    pan = freeze_time(9, 0, 0)  # moves by 4 px a frame
    write_video(tmp_path / "fixed.mp4", pan, 10)
    with pytest.raises(UserError, match="is not fixed: the image moves by .*--force-pair"):
        pair(tmp_path)
    assert pair(tmp_path, force=True).T == 9


def test_what_a_fixed_view_is_like_is_said(tmp_path, capsys):
    """Shaky, displaced, before a blank wall, with something before the lens."""

    def said(fixed, freeze, **options):
        write_video(tmp_path / "freeze.mp4", freeze, 8)
        write_video(tmp_path / "fixed.mp4", fixed, 10)
        pair(tmp_path, **options)
        output = capsys.readouterr()
        return output.out + output.err

    still, around = fixed_view(8), freeze_time(5, 0, 0)
    assert "the fixed view is shaky (up to" in said(shaken(still, 4.0)[0], around)
    moved = np.stack([np.roll(frame, 3, 1) for frame in still])
    assert "aligned: the fixed view was" in said(moved, around)
    covered = still.copy()
    covered[4] = texture(seed=9)[:144, :192]
    assert "1 frame(s) of the fixed view cannot be compared" in said(covered, around)
    blank = np.full((8, 144, 192, 3), 0.95, np.float32)
    for k in range(8):
        blank[k, 40:90, 30 + 6 * k : 90 + 6 * k] = texture()[:50, :60]
    line = "too little stands still all over the fixed view to tell"
    assert line in said(blank, np.stack([np.roll(blank[0], 4 * k, 1) for k in range(4)]))


def test_a_fixed_view_that_is_carried_sideways_is_told_from_one_that_turns(tmp_path, capsys):
    """Near and far things move by different amounts: no shake takes that out."""
    big = texture(72, 96)
    y, x = np.mgrid[40:112, 40:136].astype(np.float32)
    near = 1.2 * np.sin(y / 6.0)
    frames = []
    for k in (0, 1, -1, 1, -1, 1):  # to and fro
        frames.append(cv2.remap(big, x + k * (2.0 + near), y, cv2.INTER_LINEAR))
    write_video(tmp_path / "freeze.mp4", freeze_time(5, 0, 0, H=72, W=96), 8)
    write_video(tmp_path / "fixed.mp4", np.stack(frames), 10)
    pair(tmp_path, force=True)
    assert "camera does more than turn" in capsys.readouterr().err


def test_colours_of_what_is_cut_off_stay_white():
    gain = np.array([0.8, 0.9, 1.1])
    picture = np.concatenate([texture()[:60, :60] * 0.8, np.ones((20, 60, 3), np.float32)])
    found = colour_match(picture, np.clip(picture * gain, 0, 1))
    assert np.allclose(found, gain, atol=0.01)
    assert np.allclose(exposed(picture, found)[60:], 1, atol=1e-5)


def test_different_scenes_are_refused_unless_forced(clips, capsys):
    with pytest.raises(UserError, match="different scenes.*--force-pair"):
        pair(clips, "other.mp4")
    assert pair(clips, "other.mp4", force=True).T == 5
    assert "warning:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("freeze", "fixed", "message"),
    [
        ("missing.mp4", "", "no such freeze-time clip"),
        ("freeze.mp4", "missing.mp4", "no such fixed-view clip"),
        ("one.mp4", "", "at least 2 views"),
        ("freeze.mp4", "one.mp4", "at least 2 times"),
    ],
)
def test_unusable_clips_are_user_errors(clips, freeze, fixed, message):
    with pytest.raises(UserError, match=message):
        pair(clips, fixed, freeze)


def test_unreadable_video_is_a_user_error(clips):
    (clips / "broken.mp4").write_bytes((clips / "freeze.mp4").read_bytes()[:200])
    with pytest.raises(UserError, match="cannot read the freeze-time clip"):
        pair(clips, "", "broken.mp4")


def test_slices_and_sizes():
    assert parse_slice("1:5:2", "--x") == slice(1, 5, 2) and parse_slice("", "--x") == slice(None)
    assert parse_slice("3:", "--x") == slice(3, None)
    assert parse_size("36x64") == (36, 64) and parse_size("") is None
    for text in ("1", "a:b", "0:4:0"):
        with pytest.raises(UserError, match="--x"):
            parse_slice(text, "--x")
    for text in ("36", "36*64", "4x4", "99999x10"):
        with pytest.raises(UserError, match="--size"):
            parse_size(text)


def test_real_mismatched_pair_is_noticed():
    flowerpot = shared_data("real", "flowerpot_freeze.mp4")
    with pytest.raises(UserError, match="different"):
        load_pair(PairRequest(str(flowerpot), str(shared_data("real", "walk_fixed.mp4"))))


@pytest.mark.parametrize("name", ["walk_fixed.mp4", "gesture_fixed.mp4"])
def test_real_fixed_views_are_called_fixed(name):
    frames, _ = read_clip(shared_data("real", name))
    shake = measure_shake(frames[::10], frames[0])
    assert shake.found.all() and shake.displacement.max() < 0.005 * frames.shape[2]


def test_true_clips_that_meet_in_the_middle_are_brought_together():
    npz = shared_data("grids", "fox_run", "grid_144x256.npz")
    true = np.load(npz)["rgb"][:8, :8].astype(np.float32) / 255
    small = np.load(npz)["rgb"][:8, :8][..., ::2, ::2, :]
    for v, t in ((0, 0), (3, 5), (7, 2)):
        found = find_shared_frame(small[v], small[:, t])
        assert (found.row, found.column) == (t, v)
    seen, homographies = shaken(true[3], 1.5)
    shake = measure_shake(seen, seen[0])
    error = replace(shake, homographies=np.linalg.inv(homographies) @ shake.homographies)
    assert shake.found.all() and error.displacement.max() < 0.25
