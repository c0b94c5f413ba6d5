"""Views far apart: features and incremental mapping stand in for flow, twice the same."""

import cv2
import numpy as np
import pytest

from scripts.evaluate.tracking_scores import camera_errors
from tests.tracking import textured_room
from tests.tracking.textured_room import at_angles, render_path
from tracking.cameras.fallbacks import FallbackConfig
from tracking.cameras.wide import WideCameras, mostly_far, not_usable, wide_cameras


@pytest.fixture(scope="module")
def room():
    """Five views 15 degrees apart of walls that do not repeat: what repeats is found elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        once = tuple((corner, a, b, (1.0, 1.0)) for corner, a, b, _ in textured_room.SURFACES)
        patch.setattr(textured_room, "SURFACES", once)
        return render_path(at_angles(np.linspace(-30, 30, 5)), size=(144, 192))


@pytest.mark.slow
def test_cameras_of_far_views_are_found_twice_alike(room):
    first = wide_cameras(room.frames)
    assert first is not None and first.placed.all()
    assert camera_errors(first.w2c, room.w2c)["rotation_deg"] < 1.0
    again = wide_cameras(room.frames)
    assert again is not None
    np.testing.assert_array_equal(first.w2c, again.w2c)


@pytest.mark.slow
def test_features_come_from_the_larger_frames(room):
    small = np.stack([cv2.resize(f, (32, 24), interpolation=cv2.INTER_AREA) for f in room.frames])
    alone = wide_cameras(small)
    assert alone is None or not alone.placed.all()
    fine = (room.frames * 255).astype(np.uint8)
    found = wide_cameras(small, fine=fine)
    assert found is not None and found.placed.all()
    assert found.focal == pytest.approx(room.K[0, 0] / 6, rel=0.1)  # of the small frames


def test_more_matches_are_believed_where_they_say_the_same(monkeypatch):
    w2c = at_angles(np.linspace(-20, 20, 5))
    wrong = w2c.copy()
    wrong[3, :3, :3] = cv2.Rodrigues(np.array([0, 0.5, 0]))[0] @ wrong[3, :3, :3]

    def model(cameras, focal):
        return WideCameras(focal, cameras, np.ones(5, bool), np.ones((60, 3)), 0.7, 55.0)

    for guided, focal in ((w2c, 310.0), (wrong, 300.0)):
        models = {False: model(w2c, 300.0), True: model(guided, 310.0)}
        mapped = lambda *_, guided=False, models=models: models[guided]  # noqa: E731
        monkeypatch.setattr("tracking.cameras.wide._mapped", mapped)
        found = wide_cameras(np.zeros((5, 800, 600, 3), np.float32))
        assert found is not None and found.focal == focal


def test_what_is_not_enough_is_said_with_its_figure():
    limits, w2c, all_of_them = FallbackConfig(), np.tile(np.eye(4), (5, 1, 1)), np.ones(5, bool)

    def reason(placed=all_of_them, points=60, explained=0.7, field=55.0):
        found = WideCameras(300.0, w2c, placed, np.ones((points, 3)), explained, field)
        return not_usable(found, limits) or ""

    assert reason() == ""
    assert "no model" in (not_usable(None, limits) or "") and "no model" in reason(points=5)
    assert "no model" in reason(field=1.0) and "no model" in reason(field=160.0)
    assert "2 of 5" in reason(placed=np.arange(5) < 2)
    assert "only 20 %" in reason(explained=0.2)


@pytest.mark.parametrize(("step", "far"), [(7.0, False), (20.0, True)])
def test_only_views_far_apart_are_adjusted_once_more(step, far):
    w2c, points = at_angles((np.arange(5) - 2) * step), np.zeros((60, 3)) + [0.0, 0.1, 0.6]
    assert mostly_far(WideCameras(300.0, w2c, np.ones(5, bool), points, 0.7, 55.0)) == far


@pytest.mark.slow
def test_wrong_points_do_not_turn_cameras_that_are_far_apart(monkeypatch, capfd):
    once = tuple((corner, a, b, (1.0, 1.0)) for corner, a, b, _ in textured_room.SURFACES)
    monkeypatch.setattr(textured_room, "SURFACES", once)
    room = render_path(at_angles((np.arange(4) - 1.5) * 25.0), size=(288, 384))
    grain = 0.02 * np.random.default_rng(0).normal(0, 1, room.frames.shape)
    found = wide_cameras(np.clip(room.frames + grain, 0, 1).astype(np.float32))
    assert found is not None and found.placed.all()
    assert camera_errors(found.w2c, room.w2c)["rotation_deg"] < 0.07  # 0.11 by squares alone
    assert capfd.readouterr().err == ""  # pycolmap keeps its log to itself
