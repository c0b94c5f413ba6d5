"""How many frames of a freeze-time clip become views, where nobody says."""

import numpy as np
import pytest

from fourreal.video_io import write_video
from gen.footage import detect
from gen.footage.column import open_column
from gen.footage.how_many import MOST, views_of
from gen.footage.pair import PairRequest, load_pair
from gen.footage.selection import VIEWS
from gen.grid import VideoGrid
from pipeline import grid, videos
from tests.gen.footage import footage_files as files
from tests.tracking.textured_room import arc, render_path
from tracking.flow.in_common import share_in_common


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """60 frames of an arc."""
    path = tmp_path_factory.mktemp("clip") / "walk.mp4"
    write_video(path, render_path(arc(60, 60.0)).frames, 10)
    return open_column(str(path), "", "freeze-time clip")


class Shares:
    """A measure that says what it is told to of so many frames."""

    def __init__(self, **of: float) -> None:
        self.of, self.asked = {int(name[1:]): share for name, share in of.items()}, []

    def __call__(self, frames):
        assert frames.dtype == np.uint8 and frames.shape[-1] == 3
        self.asked.append(len(frames))
        return self.of[len(frames)]


ALL = np.arange(60)


def test_sixteen_that_show_enough_in_common_are_kept_and_no_others_looked_at(clip, capsys):
    shares = Shares(n16=0.61)
    assert views_of(ALL, 0, shares, clip.small, "clip") == VIEWS
    assert shares.asked == [VIEWS] and not capsys.readouterr().out


@pytest.mark.parametrize(
    ("of", "needed"),
    [
        ({"n24": 0.66, "n48": 0.8}, 24),
        ({"n24": 0.5, "n32": 0.7, "n48": 0.8}, 32),
        ({"n24": 0.5, "n32": 0.6, "n48": 0.64}, MOST),
    ],
)
def test_more_are_used_where_sixteen_are_too_far_apart(clip, capsys, of, needed):
    assert views_of(ALL, 0, Shares(n16=0.4, **of), clip.small, "clip") == needed
    assert f"too little in common, {needed} are used" in capsys.readouterr().out


def test_more_of_what_cannot_be_matched_are_no_help(clip, capsys):
    assert views_of(ALL, 0, Shares(n16=0.3, n48=0.4), clip.small, "clip") == VIEWS
    assert not capsys.readouterr().out


def test_a_short_clip_gives_all_it_has(clip):
    assert views_of(ALL[:30], 0, Shares(n16=0.3, n24=0.5, n30=0.6), clip.small, "clip") == 30


@pytest.mark.parametrize("asked", [8, 40])
def test_what_is_asked_for_is_used(clip, asked):
    assert views_of(ALL, asked, Shares(), clip.small, "clip") == asked


def test_few_frames_and_no_measure_are_not_looked_at(clip):
    assert views_of(ALL[:20], 0, Shares(), clip.small, "clip") == VIEWS
    assert views_of(ALL, 0, None, clip.small, "clip") == VIEWS


def test_neighbours_farther_apart_have_less_in_common():
    near, far = (render_path(arc(4, degrees)).frames for degrees in (9.0, 75.0))
    as_bytes = [(frames * 255).astype(np.uint8) for frames in (near, far)]
    shares = [share_in_common(frames) for frames in as_bytes]
    assert shares[0] > 0.7 and shares[1] < 0.4


@pytest.mark.parametrize("fixed", [False, True])
def test_a_pair_is_read_with_as_many(tmp_path, fixed):
    walk = render_path(arc(48, 40.0)).frames
    write_video(tmp_path / "freeze.mp4", walk, 10)
    write_video(tmp_path / "fixed.mp4", walk[:1].repeat(4, 0), 10)
    row = {"fixed_view": str(tmp_path / "fixed.mp4"), "force": True} if fixed else {}
    shares = Shares(n16=0.4, n24=0.7, n48=0.8)
    ask = PairRequest(str(tmp_path / "freeze.mp4"), straighten=False, in_common=shares, **row)
    assert load_pair(ask).V == 24


def test_the_command_measures(monkeypatch):
    asked = []
    made = VideoGrid(np.zeros((2, 1, 16, 16, 3), np.float32))
    monkeypatch.setattr(videos, "load_pair", lambda ask: asked.append(ask) or made)
    videos._make_grid(videos.Videos("a.mp4"))
    assert asked[0].max_views == 0 and asked[0].in_common is share_in_common


@pytest.mark.parametrize(("times", "expected"), [(1, 24), (2, VIEWS)])
def test_photos_with_cameras_give_as_many_and_films_of_a_rig_sixteen(
    tmp_path, monkeypatch, times, expected
):
    shares = Shares(n16=0.4, n24=0.7, n26=0.8)
    monkeypatch.setattr(grid, "share_in_common", shares)
    files.nerfstudio(files.scene(V=26, T=times, size=(32, 48)), tmp_path / "capture")
    source = detect.read_source(str(tmp_path / "capture"))
    used = grid._part(grid.Grid(str(tmp_path / "capture"), sync="off"), source)
    assert used.V == expected and bool(shares.asked) == (times == 1)
