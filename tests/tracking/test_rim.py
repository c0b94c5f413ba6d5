"""A black rim is found where it is, straight or curved, and nothing else is taken for one."""

import cv2
import numpy as np
import pytest

from tests.tracking.textured_room import at_angles, render_path
from tracking.depth.blank import blank_backdrop
from tracking.depth.rim import empty_rim


@pytest.fixture(scope="module")
def frames():
    return render_path(at_angles(np.linspace(-20, 20, 5))).frames


def test_no_rim_no_mask(frames):
    assert empty_rim(frames) is None


def test_letterbox(frames):
    boxed = frames.copy()
    boxed[:, :9] = boxed[:, -9:] = 0.01
    boxed[:, 9] *= 0.4  # where a smaller picture mixes both
    mask = empty_rim(boxed)
    assert mask is not None
    assert mask[:10].all() and mask[-9:].all() and not mask[12:-12].any()


def test_a_curved_rim_is_followed(frames):
    height, width = frames.shape[1:3]
    x = np.linspace(-1, 1, width)
    deep = np.round(1 + 3 * x**2).astype(int)
    bent = frames.copy()
    for column, lines in enumerate(deep):
        bent[:, :lines, column] = bent[:, height - lines :, column] = 0.0
    mask = empty_rim(bent)
    assert mask is not None
    black = (bent == 0).all(-1).all(0)
    assert mask[black].all()
    assert mask.mean() < 1.6 * black.mean()


def test_darkness_of_the_scene_is_no_rim(frames):
    night = frames * np.linspace(0, 1, frames.shape[1])[None, :, None, None].astype(np.float32) ** 3
    assert empty_rim(night) is None
    floor = frames.copy()
    floor[:, -8:] = 0.0  # one side alone
    assert empty_rim(floor) is None


def test_a_rim_of_less_than_a_pixel_is_found(frames):
    mixed = np.stack([cv2.GaussianBlur(f, (0, 0), 2.0) for f in frames])
    assert empty_rim(mixed) is None
    mixed[:, :, 0] *= 0.5
    mixed[:, :, -1] *= 0.6
    mask = empty_rim(mixed)
    assert mask is not None
    assert mask[:, [0, -1]].all() and not mask[:, 3:-3].any()


def test_black_bars_are_no_backdrop():
    frames = render_path(at_angles(np.linspace(-10, 10, 5))).frames.copy()
    frames[:, :12] = frames[:, -12:] = 0.0
    rim = empty_rim(frames)
    assert rim is not None and blank_backdrop(frames) is not None
    assert blank_backdrop(frames, rim=rim) is None
