"""The tracking evaluation at tiny size: its figures exist and mean what they say."""

import json

import cv2
import pytest

from fourreal.errors import UserError
from scripts.evaluate.tracking import Options, run
from scripts.evaluate.tracking_clips import real_clips
from tests.shared_data import shared_data

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


def test_real_clips_are_read_with_their_cameras():
    clips = {c.name: c for c in real_clips(shared_data("real"), [])}
    pot, rig = clips["flowerpot_freeze"], clips["treadmill_4cam"]
    assert len(pot.frames) == len(pot.w2c) == 16 and pot.frames.max() <= 1.0
    assert pot.K[0, 0, 2] == pytest.approx(pot.frames.shape[2] / 2, rel=0.05)
    assert rig.frames.shape[0] == 4 and rig.w2c.shape == (4, 4, 4)
