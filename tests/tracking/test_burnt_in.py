"""What is burnt into the pictures of a clip is left out; what merely looks alike is not."""

import cv2
import numpy as np

from tests.tracking.textured_room import ROUGH_DEPTH, arc, render_path, turning
from tracking.column import track_column
from tracking.depth.burnt_in import burnt_in
from tracking.depth.fixed import FixedParts, fixed_parts


def with_logo(frames):
    """Frames [V, H, W, 3] with a name in a corner, and where it is [H, W]."""
    out, logo = frames.copy(), np.zeros((*frames.shape[1:3], 3), np.uint8)
    cv2.rectangle(logo, (60, 6), (90, 22), (220, 30, 30), -1)
    cv2.putText(logo, "TV", (64, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
    on = logo.any(-1)
    out[:, on] = logo[on] / 255.0
    return out, on


def test_a_logo_is_found_and_a_scene_has_none():
    room = render_path(arc(7, 30.0))
    assert burnt_in(room.frames) is None
    assert burnt_in(render_path(turning()).frames) is None
    shown, on = with_logo(room.frames)
    mask = burnt_in(shown)
    assert mask is not None and mask[on].mean() > 0.85 and mask[~on].mean() < 0.12
    # too few views, and a rim that is all there is
    assert burnt_in(shown[:3]) is None and burnt_in(shown, np.ones(on.shape, bool)) is None
    # a camera that stands still says nothing: everything stays where it is
    assert burnt_in(np.repeat(shown[:1], 7, 0)) is None


def test_a_clip_with_a_logo_is_one_of_a_frozen_moment():
    shown, on = with_logo(render_path(arc(7, 30.0)).frames)
    column = track_column(shown, config=ROUGH_DEPTH)
    said = " ".join(column.notes)
    assert "burnt into the pictures" in said and "no frozen moment" not in said
    assert column.backdrop is not None and column.backdrop[:, on].mean() > 0.85
    assert column.past is None  # what is behind it is not known
    assert column.moving is None


def test_what_is_fixed_is_found_once_and_covers_its_pixels_at_any_size():
    shown, on = with_logo(render_path(arc(7, 30.0)).frames)
    barred, on = np.pad(shown, ((0, 0), (8, 8), (0, 0), (0, 0))), np.pad(on, ((8, 8), (0, 0)))
    fixed = fixed_parts(barred)
    assert fixed.rim is not None and fixed.rim[:8].all()
    assert fixed.burnt is not None and fixed.burnt[on].mean() > 0.85
    height, width = on.shape
    small = fixed.resized(height // 3, width // 3)
    assert small.together is not None and small.together.shape == (height // 3, width // 3)
    back = FixedParts(small.together).resized(height, width).together
    assert back is not None and back[fixed.rim | fixed.burnt].all()
    assert FixedParts().resized(4, 4).together is None
