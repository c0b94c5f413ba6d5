"""The gallery script at tiny size: it moves, loops, stays below its limit and refuses nonsense."""

import numpy as np
import pytest
from PIL import Image, ImageSequence

from fourreal.errors import UserError
from scripts.tools.make_gallery import Args, main
from tests.viewer.toy_scene import toy_scene


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    toy_scene(400, size=(36, 64)).save(folder / "scene.safetensors")
    return folder


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".png"])
def test_three_pictures_move_as_they_say(run, tmp_path, suffix):
    out = tmp_path / f"gallery{suffix}"
    main(Args((run,), out, width=96, frames=4, captions=("a ball",)))
    frames = [np.asarray(f.convert("RGB"), int) for f in ImageSequence.Iterator(Image.open(out))]
    assert len(frames) == 4 and frames[0].shape == (22 + 54 + 22, 3 * 96 + 8, 3)
    panels = [[f[22:76, 100 * k : 100 * k + 96] for k in range(3)] for f in frames]
    assert all(p.std() > 15 for one in panels for p in one)  # none is black
    moves = [np.abs(panels[0][k] - panels[2][k]).mean() for k in range(3)]
    assert min(moves) > 1


def test_the_limit_is_kept_or_refused(run, tmp_path):
    out = tmp_path / "gallery.webp"
    main(Args((run, run), out, width=160, frames=3, limit=12_000))
    assert out.stat().st_size <= 12_000
    with pytest.raises(UserError, match="not below 50 bytes"):
        main(Args((run,), out, width=96, frames=2, limit=50))


def test_nonsense_is_refused(run, tmp_path):
    for wrong in (
        {"runs": ()},
        {"captions": ("one", "two")},
        {"out": tmp_path / "a.mp4"},
        {"width": 3},
        {"frames": 1},
    ):
        with pytest.raises(UserError):
            Args(**({"runs": (run,)} | wrong))
    with pytest.raises(UserError, match="no scene"):
        main(Args((tmp_path,), tmp_path / "a.webp"))
