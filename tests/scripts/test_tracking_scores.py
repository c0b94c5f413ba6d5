"""The tracking evaluation at tiny size: its figures exist and mean what they say."""

import json

import cv2
import numpy as np
import pytest

from fourreal.cameras import pixel_grid
from fourreal.errors import UserError
from scripts.evaluate.tracking import Options, run
from scripts.evaluate.tracking_clips import real_clips
from scripts.evaluate.tracking_scores import row_errors
from tests.shared_data import shared_data
from tracking.row import RowTracks

NAMED = (
    "rotation_deg centre_percent focal_percent depth_rel_median coverage epe3d aj3d apd3d seconds "
    "peak_mb"
).split()


@pytest.mark.slow
def test_a_procedural_clip_is_scored_drawn_and_kept(tmp_path, capsys):
    options = Options(
        data=(), size="72x128", procedural=1, json=tmp_path / "t.json", pictures=tmp_path
    )
    document = run(options)
    row = document["results"]["procedural000@72x128"]["default"]
    assert set(NAMED) <= set(row)
    assert row["rotation_deg"] < 2.0 and row["depth_rel_median"] < 0.1 and row["apd3d"] > 5
    drawn = cv2.imread(str(tmp_path / "procedural000_72x128.png"))
    assert drawn.shape == (72, 6 * 128, 3) and drawn.std() > 20
    capsys.readouterr()
    again = run(options)
    assert "procedural000" not in capsys.readouterr().out, "it was evaluated twice"
    assert again["results"] == json.loads((tmp_path / "t.json").read_text())["results"]


def test_wrong_options_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="--size"):
        run(Options(size="big"))
    with pytest.raises(UserError, match="no scenes"):
        run(Options(data=(tmp_path,), procedural=0))


def test_row_errors_are_zero_for_exact_tracks_and_see_what_is_missed():
    times, size = 4, (20, 30)
    grid = pixel_grid(*size).reshape(-1, 2).astype(np.float32)
    moving = np.zeros(size, bool)
    moving[5:15, 5:15] = True
    uv = np.repeat(grid[None], times, 0)
    uv[:, moving.ravel()] += np.arange(times)[:, None, None] * np.float32([2, 0])
    seen = np.ones(uv.shape[:2], bool)
    exact = RowTracks(uv, seen, np.ones(seen.shape, np.float32), moving, 0, size)
    points = uv + np.float32([0.3, -0.2])  # anywhere inside their pixel
    errors = row_errors(exact, points, seen)
    assert errors["row_epe2d_px"] < 1e-5 and errors["row_still_px"] < 1e-5
    assert errors["row_moving_recall"] == errors["row_moving_precision"] == 1.0
    missed = moving.copy()
    missed[:10] = False
    still = np.where(missed.ravel()[None, :, None], uv, grid[None])
    half = RowTracks(still, seen, np.ones(seen.shape, np.float32), missed, 0, size)
    assert row_errors(half, points, seen)["row_moving_recall"] == 0.5
    assert row_errors(half, points, seen)["row_epe2d_px"] > 0.5


def test_real_clips_are_read_with_their_cameras():
    clips = {c.name: c for c in real_clips(shared_data("real"), [])}
    pot, rig = clips["flowerpot_freeze"], clips["treadmill_4cam"]
    assert len(pot.frames) == len(pot.w2c) == 16 and pot.frames.max() <= 1.0
    assert pot.K[0, 0, 2] == pytest.approx(pot.frames.shape[2] / 2, rel=0.05)
    assert rig.frames.shape[0] == 4 and rig.w2c.shape == (4, 4, 4)
