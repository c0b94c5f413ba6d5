"""A scene that keeps fewer times than its grid has: options, rates, and what shows both."""

import numpy as np
import pytest

from fourreal.errors import UserError
from gen.footage.selection import check_counts
from gen.grid import VideoGrid
from pipeline.scene_file import title_and_rate
from recon.render import render_scene
from tests.viewer.toy_scene import toy_scene
from viewer.nerfstudio_plugin.data_file import read_data
from viewer.nerfstudio_plugin.export import write_nerfstudio
from viewer.overview import write_overview

SIZE, TIMES, STORED = (24, 32), 13, 4  # every fourth time is stored


@pytest.fixture
def pair():
    scene = toy_scene(150, times=STORED, size=SIZE)
    moments = np.linspace(0, 1, TIMES)
    frames = np.stack(
        [
            [render_scene(scene, float(t), scene.w2c[v], scene.K[v]).rgb.numpy() for t in moments]
            for v in range(len(scene.w2c))
        ]
    )
    return scene, VideoGrid(frames.clip(0, 1), fps=30.0)


def test_all_times_can_be_asked_for_but_not_all_views():
    check_counts(16, 0)
    for views, times in ((0, 16), (16, 1), (16, 257)):
        with pytest.raises(UserError, match="choose 2..256"):
            check_counts(views, times)


def test_a_scene_of_fewer_times_lasts_as_long_as_its_grid(tmp_path, pair):
    scene, grid = pair
    grid.save(tmp_path / "grid")
    seconds = (TIMES - 1) / 30.0
    for stored in (STORED, TIMES):
        rate = title_and_rate(tmp_path, stored)[1]
        assert (stored - 1) / rate == pytest.approx(seconds)
    assert title_and_rate(tmp_path / "none", STORED)[1] == 8.0


def test_nerfstudio_gets_every_frame_of_the_grid_at_its_time(tmp_path, pair):
    scene, grid = pair
    write_nerfstudio(scene, grid, tmp_path / "ns")
    frames = read_data(tmp_path / "ns")["frames"]
    assert len(frames) == len(scene.w2c) * TIMES
    assert np.allclose(sorted({f["time"] for f in frames}), np.linspace(0, 1, TIMES), atol=1e-6)
    other = VideoGrid(grid.frames[:, : TIMES - 1])
    with pytest.raises(UserError, match="not the same run"):
        write_nerfstudio(scene, other, tmp_path / "other")


def test_the_overview_shows_the_frames_of_the_times_that_are_drawn(tmp_path, pair, monkeypatch):
    scene, grid = pair
    shown = {}
    monkeypatch.setattr("viewer.overview._sheet", lambda rows, times: shown.update(rows) or
                        np.zeros((8, 8, 3), np.uint8))  # fmt: skip
    write_overview(scene, grid, tmp_path / "overview.png")
    for v in (1, len(scene.w2c)):
        for given, drawn in zip(shown[f"view {v}|input"], shown[f"view {v}|render"], strict=True):
            assert np.abs(given.astype(int) - drawn).max() <= 1
