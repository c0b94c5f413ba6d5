"""What no frozen moment can show is said of a static fit, and nothing of one that fits."""

from dataclasses import replace

import numpy as np
import pytest

from gen.grid import VideoGrid
from recon.config import preset
from recon.reconstruct import fit_scene
from tests.tracking.textured_room import arc, render_path
from tracking.column import track_column

SHIFTS = [0.0, 0.5, -0.4, 0.5, -0.5, 0.3]


@pytest.mark.slow
@pytest.mark.parametrize("shifts", [None, SHIFTS])
def test_a_box_that_jumps_about_is_called_no_frozen_moment(shifts, capsys):
    room = render_path(arc(6, 24.0), shifts=shifts)
    column = replace(track_column(room.frames), moving=None)  # flow alone may not see it
    capsys.readouterr()
    config = preset("quick")
    config.most_steps = 1.0
    _, report = fit_scene(VideoGrid(room.frames[:, None]), column, config)
    said = "fit no frozen moment" in capsys.readouterr().err
    assert said == (shifts is not None)
    assert (report["unexplained"] > 0.01) == (shifts is not None)
    assert np.isfinite(report["psnr_input"])


def test_a_clip_in_which_nothing_moves_is_a_static_scene(capsys):
    room = render_path(arc(4, 15.0))
    frames = np.stack([room.frames] * 3, 1)
    column = track_column(room.frames)
    capsys.readouterr()
    scene, _ = fit_scene(VideoGrid(frames), column, preset("debug"))
    assert "nothing moves in the fixed-view videos" in capsys.readouterr().err
    assert not scene.node_offsets.any()
