"""Where a view looks past the scene at its backdrop, nothing of the scene is left."""

import numpy as np
import torch

from fourreal.image_metrics import psnr
from gen.grid import VideoGrid
from recon.canonical.build import build_canonical
from recon.config import CanonicalConfig, FitConfig, preset
from recon.fit.stage import empty_pixels
from recon.reconstruct import fit_static
from recon.render import render_canonical
from tests.recon.scenes import column_from_depth, moving_square

FRAMES, DEPTH, K, W2C = moving_square()
ABOVE = 10  # rows of the pictures in which a cloud hangs before the backdrop


def fitted(past):
    config = preset("debug")
    config.static_steps = 150
    column = column_from_depth(FRAMES[:, 0], DEPTH[:, 0], K, W2C, 1)
    scene = build_canonical(FRAMES[:, 0], column, CanonicalConfig(flat=0.0), np.zeros(1, "f4"))
    backdrop = np.zeros(FRAMES.shape[:1] + FRAMES.shape[2:4], bool)
    backdrop[:, :ABOVE] = True
    return fit_static(
        scene, VideoGrid(FRAMES[:, :1]), config, backdrop=backdrop, past=backdrop if past else None
    )


def test_clouds_before_a_backdrop_fade_and_the_rest_stays():
    kept, cleared = (render_canonical(fitted(past), 1) for past in (False, True))
    core = slice(0, ABOVE - 4)
    assert kept.alpha[core].mean() > 0.9
    assert cleared.alpha[core].mean() < 0.4
    below = slice(ABOVE + 3, None)
    true = FRAMES[1, 0, below]
    before, after = (psnr(d.rgb[below].clamp(0, 1).numpy(), true) for d in (kept, cleared))
    assert after > before - 0.5


def test_an_outline_may_be_off_by_a_little():
    past = np.zeros((1, 20, 20), bool)
    past[0, 4:15, 4:15] = True
    empty = empty_pixels(past, FitConfig())
    assert empty is not None
    assert torch.equal(empty[0, 6:13, 6:13], torch.ones(7, 7, dtype=torch.bool))
    assert empty.sum() == 49
    assert empty_pixels(None, FitConfig()) is None
