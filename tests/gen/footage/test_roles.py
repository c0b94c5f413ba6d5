"""Which clip has the still camera, and what is said of clips given in the wrong places."""

import numpy as np
import pytest

from fourreal.errors import UserError
from fourreal.video_io import write_video
from gen.footage.pair import PairRequest, load_pair
from gen.footage.roles import goes_on, stands_still
from tests.shared_data import shared_data
from tests.tracking.textured_room import arc, render_path, turning

SIZE = 72, 96


@pytest.fixture(scope="module")
def walk():
    return render_path(arc(20, 80.0), SIZE).frames


@pytest.fixture(scope="module")
def stands():
    """The first view of the arc, before which the box moves."""
    return render_path(arc(20, 80.0)[:1].repeat(20, 0), SIZE, np.linspace(0, 0.8, 20)).frames


@pytest.fixture
def clips(tmp_path, walk, stands):
    write_video(tmp_path / "walk.mp4", walk, 10)
    write_video(tmp_path / "stands.mp4", stands, 10)
    return tmp_path


def load(folder, fixed, freeze, **options):
    return load_pair(PairRequest(str(folder / freeze), str(folder / fixed), **options))


def test_the_two_kinds_of_camera(walk, stands):
    assert stands_still(stands, 0) and not goes_on(stands, 0)
    assert goes_on(walk, 0) and not stands_still(walk, 0)
    assert goes_on(render_path(turning(16, 80.0), SIZE).frames, 0)
    plain = np.full_like(walk, 0.9)  # nothing tells
    assert not goes_on(plain, 0) and not stands_still(plain, 0)


def test_clips_in_the_right_places_are_a_pair(clips):
    assert load(clips, "stands.mp4", "walk.mp4").frames.shape[:2] == (16, 16)


def test_swapped_clips_are_told(clips):
    with pytest.raises(UserError, match=r"are they swapped\? Try --fixed-view \S+stands.mp4"):
        load(clips, "walk.mp4", "stands.mp4")


def test_a_fixed_view_that_moves_on_is_refused_unless_forced(clips, capsys):
    with pytest.raises(UserError, match="is not fixed: it moves on from frame to frame"):
        load(clips, "walk.mp4", "walk.mp4")
    load(clips, "walk.mp4", "walk.mp4", force=True)
    assert "going on because of --force-pair" in capsys.readouterr().err


def test_real_cameras():
    from gen.footage.views import open_clip

    for name, moves in (("flowerpot_freeze.mp4", True), ("walk_fixed.mp4", False)):
        view, count, _ = open_clip(shared_data("real") / name)
        frames = view.read(list(range(0, count, max(1, count // 16))), *view.size)
        assert (goes_on(frames, 0), stands_still(frames, 0)) == (moves, not moves)


def test_two_clips_of_a_still_camera_are_no_pair(clips):
    with pytest.raises(UserError, match="both stand still: a freeze-time clip is filmed by a"):
        load(clips, "stands.mp4", "stands.mp4")
