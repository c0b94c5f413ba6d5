"""A lens that zooms while the camera goes around: every view gets its own focal length."""

import cv2
import numpy as np

from scripts.evaluate.tracking_scores import camera_errors
from tests.tracking.textured_room import ROUGH_DEPTH, arc, render_path
from tracking.column import track_column


def zoomed(frames: np.ndarray, by: np.ndarray) -> np.ndarray:
    """The middle of frames [V, H, W, 3], `by` [V] times as large."""
    height, width = frames.shape[1:3]
    out = []
    for frame, z in zip(frames, by, strict=True):
        to = np.array([[z, 0, (1 - z) * (width - 1) / 2], [0, z, (1 - z) * (height - 1) / 2]])
        out.append(cv2.warpAffine(frame, to, (width, height), flags=cv2.INTER_CUBIC))
    return np.clip(np.stack(out), 0, 1)


def test_views_of_a_zoom_have_lenses_of_their_own():
    room = render_path(arc(7, 30.0), size=(144, 192))
    by = np.linspace(1.0, 1.4, 7)
    column = track_column(zoomed(room.frames, by), config=ROUGH_DEPTH)
    assert any("the lens zooms while the camera moves" in line for line in column.notes)
    np.testing.assert_allclose(column.K[:, 0, 0] / column.K[0, 0, 0], by, rtol=0.05)
    # how long the first lens is, an even arc leaves open; not where the cameras are
    assert camera_errors(column.w2c, room.w2c)["centre_percent"] < 1.5
    assert column.moving is None


def test_a_lens_that_does_not_zoom_is_one_for_all_views():
    column = track_column(render_path(arc(7, 30.0)).frames, config=ROUGH_DEPTH)
    assert np.ptp(column.K[:, 0, 0]) == 0
    assert not any("zooms" in line for line in column.notes)
