"""Folders of rendered grids as training data: both layouts, what is cut out, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fourreal.errors import UserError
from gen.data.grid_folder import GridFolder
from gen.grid import VideoGrid
from gen.train.mix import Mixture
from tests.shared_data import shared_data

H, W = 16, 24


def numbered(views: int, times: int, height: int = 18, width: int = 32) -> np.ndarray:
    """Red says the view (10 each), green the time (10 each)."""
    frames = np.zeros((views, times, height, width, 3), np.uint8)
    frames[..., 0] = 10 * np.arange(views)[:, None, None, None]
    frames[..., 1] = 10 * np.arange(times)[None, :, None, None]
    return frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("grids")
    (root / "rendered").mkdir()
    np.savez_compressed(root / "rendered" / "grid_18x32.npz", rgb=numbered(12, 10))
    np.savez_compressed(root / "rendered" / "grid_9x16.npz", rgb=numbered(12, 10, 9, 16))
    regular = {"input_views": list(range(10)), "input_times": list(range(9))}
    (root / "rendered" / "cameras.json").write_text(json.dumps(regular))
    (root / "rendered" / "meta.json").write_text(json.dumps({"caption": "a fox runs"}))
    VideoGrid(numbered(8, 8), prompt="ours").save(root / "ours")
    VideoGrid(numbered(4, 8)).save(root / "small")
    known = np.ones((8, 8), bool)
    known[3, 3] = False
    VideoGrid(numbered(8, 8), known=known).save(root / "partial")
    (root / "empty").mkdir()
    return root


def test_both_layouts_are_read_and_the_rest_is_named_once(folder, capfd):
    grids = GridFolder(folder, H, W, 0)
    warnings = capfd.readouterr().err.strip().splitlines()
    assert len(warnings) == 1
    assert all(name in warnings[0] for name in ("small (4 views", "partial (", "empty ("))
    assert [(e.path.name, e.text) for e in grids.entries] == [
        ("ours", "ours"),
        ("grid_18x32.npz", "a fox runs"),  # the other one is lower than 16 pixels
    ]


def test_grids_are_regular_cuts_in_either_order_of_views(folder):
    grids = GridFolder(folder, H, W, 0)
    orders, starts = set(), set()
    for number in range(30):
        grid = grids.item(1, number)
        assert grid.frames.shape == (8, 8, H, W, 3) and grid.frames.dtype == torch.uint8
        view, time = (grid.frames[..., c].float().mean((2, 3)) / 10 for c in (0, 1))
        steps_v, steps_t = view.diff(dim=0), time.diff(dim=1)
        assert torch.equal(steps_v.abs(), torch.ones(7, 8)) and torch.equal(
            steps_t, torch.ones(8, 7)
        )
        assert view.max() <= 9 and time.max() <= 8  # irregular views and times are left out
        orders.add(float(steps_v[0, 0]))
        starts.add((float(view.min()), float(time.min())))
    assert orders == {-1.0, 1.0} and len(starts) > 3
    again = GridFolder(folder, H, W, 0).item(1, 29)
    assert torch.equal(again.frames, grid.frames)


def test_nothing_usable_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        GridFolder(tmp_path / "none", H, W, 0)
    with pytest.raises(UserError, match="no grid"):
        GridFolder(tmp_path, H, W, 0)


def test_mixtures_keep_their_ratios_and_ignore_history(folder):
    one, two = GridFolder(folder, H, W, 0), GridFolder(folder, H, W, 1)
    mixture = Mixture([(one, 3.0), (two, 1.0)], seed=4)
    picks = torch.tensor([mixture.which(s, i) for s in range(20) for i in range(50)])
    assert 0.2 < picks.float().mean() < 0.3
    assert mixture.which(7, 3) == Mixture([(one, 3.0), (two, 1.0)], 4).which(7, 3)
    assert mixture.word_counts()["fox"] == 2
    with pytest.raises(ValueError, match="source"):
        Mixture([], 0)


def test_the_layout_of_the_evaluation_grids_is_readable():
    grids = GridFolder(shared_data("grids"), 36, 64, 0)  # read, never trained on
    assert len(grids.entries) == 4 and all(e.views == tuple(range(8)) for e in grids.entries)
    frames = grids.item(0, 0).frames.float()
    assert frames.shape == (8, 8, 36, 64, 3) and frames.std() > 10
