"""A file of one animated asset is footage: `grid FILE.glb`. Skips where OpenGL is missing."""

import os

import numpy as np
import pytest

import run_pipeline
from fourreal.errors import UserError
from gen.data.assets.as_grid import AssetRequest, asset_files, asset_grid, describe_asset, is_asset
from gen.data.assets.context import open_context
from gen.grid import VideoGrid
from pipeline.grid import Grid
from tests.gen.data.tiny_gltf import bent_box


@pytest.fixture(scope="module", autouse=True)
def opengl():
    try:
        open_context().release()
    except UserError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def box(tmp_path):
    path = tmp_path / "box.glb"
    path.write_bytes(bent_box().glb())
    return path


@pytest.mark.parametrize("arc", [60.0, 360.0])
def test_the_grid_has_exact_cameras_on_an_arc_or_a_ring(box, arc):
    ask = AssetRequest(views=4, times=3, clip="bend", arc=arc, size=(48, 64))
    grid = asset_grid(box, ask)
    assert grid.frames.shape == (4, 3, 48, 64, 3) and grid.complete
    assert grid.prompt == "box, bend over" and grid.fps == pytest.approx(3)
    centres = -np.einsum("vij,vi->vj", grid.w2c[:, :3, :3], grid.w2c[:, :3, 3])
    assert np.allclose(centres[:, 2], centres[0, 2])  # one height
    angle = np.degrees(np.unwrap(np.arctan2(centres[:, 1], centres[:, 0])))
    step = 90 if arc == 360 else 20
    assert np.allclose(np.abs(np.diff(angle)), step, atol=1e-3)
    # the asset moves, stands before white, and is in the middle of every picture
    assert np.abs(np.diff(grid.frames, axis=1)).max(axis=(2, 3, 4)).min() > 0.2
    seen = grid.frames.min(-1) < 0.95
    assert (grid.frames[:, :, 0] > 0.999).all() and seen.mean((2, 3)).min() > 0.01


def test_the_command_goes_on_to_a_scene(box, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    size = ["--views", "3", "--times", "2", "--size", "32x48", "--preset", "debug", "--out", "run"]
    assert run_pipeline.main(["grid", "box.glb", *size]) == 0
    grid = VideoGrid.load("run/grid")
    assert (grid.V, grid.T) == (3, 2) and grid.w2c is not None
    assert (tmp_path / "run" / "index.html").is_file()
    capsys.readouterr()
    assert run_pipeline.main(["grid", "box.glb", *size]) == 0
    assert "done before" in capsys.readouterr().out


def test_text_assets_count_with_what_lies_beside_them(box, tmp_path):
    made = bent_box()
    (tmp_path / "a.gltf").write_bytes(made.gltf("a.bin"))
    (tmp_path / "a.bin").write_bytes(made.data)
    (tmp_path / "box.txt").write_text("a bending box\n")
    assert asset_files(tmp_path / "a.gltf")[:2] == [tmp_path / "a.gltf", tmp_path / "a.bin"]
    assert asset_files(box) == [box, tmp_path / "box.txt"]
    ask = AssetRequest(views=2, times=2, size=(32, 32))
    assert asset_grid(tmp_path / "a.gltf", ask).V == 2
    assert asset_grid(box, ask).prompt == "a bending box"
    assert is_asset(box) and not is_asset(tmp_path)
    assert "--clip 'Rig|Bend_Over': 1.00 s" in "\n".join(describe_asset(box))


def test_assets_that_cannot_be_filmed_say_why(box, tmp_path):
    (tmp_path / "still.glb").write_bytes(bent_box(clips=False).glb())
    with pytest.raises(UserError, match="has no animation"):
        asset_grid(tmp_path / "still.glb", AssetRequest())
    with pytest.raises(UserError, match="--arc 400"):
        asset_grid(box, AssetRequest(arc=400.0))
    with pytest.raises(UserError, match="--clip goes with"):
        Grid(str(tmp_path), clip="walk").check()
