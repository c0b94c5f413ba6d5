"""A lens that bends straight lines is found in the frames, and undone in both clips."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from fourreal.video_io import to_uint8, write_video
from gen.footage.bend import bend_of, lens_of
from gen.footage.pair import PairRequest, load_pair
from tests.tracking.textured_room import arc, render_path

SIZE = 216, 288


@pytest.fixture(scope="module")
def straight():
    """A room seen from an arc, larger than what the bent lens shows of it."""
    return render_path(arc(8, 28.0), size=(288, 384)).frames


def bent(frames, bend):
    """What a lens with this bend shows of the middle of frames [V, H, W, 3]: [V, *SIZE, 3]."""
    height, width = SIZE
    unit = np.hypot(height, width) / 2
    y, x = np.mgrid[:height, :width]
    u, v = (x + 0.5 - width / 2) / unit, (y + 0.5 - height / 2) / unit
    by = 1 / (1 + bend * (u * u + v * v))
    h, w = frames.shape[1:3]
    maps = [(a * by * unit + c / 2 - 0.5).astype(np.float32) for a, c in ((u, w), (v, h))]
    return np.stack([cv2.remap(f, *maps, cv2.INTER_CUBIC) for f in frames]).clip(0, 1)


@pytest.mark.parametrize("bend", [-0.15, 0.12])
def test_the_bend_is_found(straight, bend):
    found = bend_of(list(to_uint8(bent(straight, bend))))
    assert found is not None and abs(found - bend) < 0.03


def test_a_straight_lens_has_no_bend(straight):
    assert bend_of(list(to_uint8(bent(straight, 0.0)))) is None


def test_what_is_burnt_in_is_no_bend(straight):
    frames = to_uint8(bent(straight, 0.0))
    for frame in frames:
        for k, text in enumerate(("@somebody 2026", "12:34:56 REC")):
            at = (130, 40 + 160 * k)
            cv2.putText(frame, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2)
    assert bend_of(list(frames)) is None


def test_the_lens_undoes_the_bend(straight):
    lens = lens_of(-0.15, SIZE)
    undone = lens.undistort(to_uint8(bent(straight[:1], -0.15))[0])
    # the pin-hole that is left sees a little less, evenly enlarged
    K, unit = lens.pinhole, np.hypot(*SIZE) / 2
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    place = [
        ((a + 0.5 - K[i, 2]) / K[i, i] * unit + c / 2 - 0.5).astype(np.float32)
        for i, (a, c) in enumerate(((x, 384), (y, 288)))
    ]
    wanted = cv2.remap(straight[0], *place, cv2.INTER_CUBIC)
    assert np.abs(undone / 255.0 - wanted).mean() < 0.02


def test_two_clips_of_one_bent_lens_become_straight(straight, tmp_path, capsys):
    seen = bent(straight, -0.15)
    fixed = np.repeat(seen[:1], 6, 0).copy()
    for t in range(1, 6):
        fixed[t, 90:110, 40 * t : 40 * t + 20] = (0.9, 0.1, 0.1)
    write_video(tmp_path / "freeze.mp4", seen, 8)
    write_video(tmp_path / "fixed.mp4", fixed, 8)
    ask = PairRequest(str(tmp_path / "freeze.mp4"), str(tmp_path / "fixed.mp4"))
    grid = load_pair(ask)
    said = capsys.readouterr().out
    assert "its lens bends straight lines" in said and "as the freeze-time clip is" in said
    left = load_pair(replace(ask, straighten=False))
    assert "bends" not in capsys.readouterr().out
    assert np.abs(left.frames[4, 0] - seen[4]).mean() < 0.05  # what the codec loses
    wanted = lens_of(-0.15, SIZE).undistort(to_uint8(seen)[4]) / 255.0
    off, before = (np.abs(g.frames[4, 0] - wanted).mean() for g in (grid, left))
    assert off < 0.5 * before, (off, before)


def test_frames_that_say_nothing_have_no_bend(straight):
    rng = np.random.default_rng(0)
    still = to_uint8(np.repeat(straight[:1], 6, 0))
    noise = rng.integers(0, 256, (6, 96, 128, 3)).astype(np.uint8)
    plain = np.full((6, 96, 128, 3), 128, np.uint8)
    for frames in (still, noise, plain, still[:2]):
        assert bend_of(list(frames)) is None
    grown = [cv2.resize(still[0], None, fx=z, fy=z)[:288, :384] for z in np.linspace(1, 1.5, 8)]
    assert bend_of(grown) is None  # a zoom from one place
