"""Open .4dgs containers: the package's own validator and reader, its command, and ours."""

import subprocess
import sys
from pathlib import Path

import fourdgs
import fourdgs.keyframe_delta_file as sequence
import numpy as np
import pytest
import torch
from fourdgs.quantization import morton_order
from fourdgs.validate import validate

from fourreal.errors import UserError
from run_pipeline import main
from tests.viewer.formats.pictures import drawn, ours, square_camera
from tests.viewer.toy_scene import psnr, toy_scene, uncommon_scene
from viewer.export.moments import Moment, moment_at, seconds
from viewer.export.open_4dgs import encode_open_4dgs
from viewer.export.ply import write_sequence
from viewer.page.payload import encode, write_fr4d
from viewer.player_scene import PlayerScene
from viewer.read.any_scene import as_scene, read_player_scene
from viewer.read.open_4dgs import decode_open_4dgs


def player_of(scene) -> PlayerScene:
    return PlayerScene.from_scene(scene, prompt="a ball", fps=8)


def as_read_by_fourdgs(data: bytes, t: float) -> Moment:
    """The state at ``t`` seconds by the package's own reader, in file axes and order."""
    at = sequence.render_at(sequence.decode_streamed(data), t)
    turns = np.roll(at["rotations"], 1, axis=1)
    return Moment(at["centers"], np.log(at["scales"]), turns, at["opacity"], at["rgb"])


@pytest.mark.parametrize("codec", ["deflate", "zstd"])
@pytest.mark.parametrize("kind", ["isotropic", "shaped", "turning"])
def test_their_validator_and_reader_take_it_within_the_declared_bounds(kind, codec):
    if codec == "zstd":
        pytest.importorskip("zstandard")
    scene = toy_scene() if kind == "isotropic" else uncommon_scene(kind)
    player = player_of(scene)
    data = encode_open_4dgs(player, codec=codec)
    report = validate(data)
    assert report.ok and not report.findings, [str(f) for f in report.findings]
    decoded = sequence.decode_streamed(data)
    bounds = {name: float(v) for name, v in decoded.quantization.bounds.items()}
    order = morton_order(moment_at(player, 0).upright().means)
    assert 0 < bounds["pos"] < 0.11 * np.exp(np.median(player.log_scales))
    for t in player.times:
        want = moment_at(player, t).upright().keep(order)
        got = as_read_by_fourdgs(data, float(seconds(player, np.array([t]))[0]) + 1e-9)
        near = 1.001
        assert np.abs(got.means - want.means).max() < near * bounds["pos"]
        assert np.expm1(np.abs(got.log_axes - want.log_axes).max()) < near * bounds["scale_rel"]
        assert np.abs(got.colors - want.colors).max() < near * bounds["rgb"]
        assert np.abs(got.opacities - want.opacities).max() < near * bounds["alpha"]
        sign = np.sign((got.rotations * want.rotations).sum(1, keepdims=True))
        rest = np.sort(np.abs(got.rotations - sign * want.rotations), axis=1)[:, :3]
        assert rest.max() < near * bounds["rot"]


@pytest.mark.parametrize("t", [0.0, 0.5, 0.9])
def test_what_their_reader_gives_draws_our_picture_between_the_stamps_too(t):
    scene = uncommon_scene("shaped")
    player = player_of(scene)
    data = encode_open_4dgs(player, frames=13)
    got = as_read_by_fourdgs(data, float(seconds(player, np.array([t]))[0])).upright()
    w2c, K = square_camera(scene)
    assert psnr(drawn(got, scene, w2c, K), ours(scene, t, w2c, K)) > 33


@pytest.mark.parametrize("kind", ["isotropic", "shaped", "turning"])
def test_we_read_it_back_with_cameras_and_clock(kind):
    scene = toy_scene() if kind == "isotropic" else uncommon_scene(kind)
    player = player_of(scene)
    back = decode_open_4dgs(encode_open_4dgs(player))
    np.testing.assert_array_equal(back.w2c, player.w2c)
    np.testing.assert_allclose(back.times, player.times, atol=1e-6)
    assert len(back.means) == len(player.means)  # what turns stays one Gaussian
    assert (back.size, back.prompt, back.fps) == (player.size, "a ball", pytest.approx(8))
    w2c, K = square_camera(scene)
    for t in (0.0, 0.4, 1.0):
        got = drawn(moment_at(back, t), scene, w2c, K)
        assert psnr(got, ours(scene, t, w2c, K)) > 36, t


def test_what_stands_still_is_said_once_and_the_file_is_near_our_payload():
    still = player_of(toy_scene(times=6))
    still.offsets[:] = 0
    still.shade = still.visibility = None
    updates = sequence.decode_streamed(encode_open_4dgs(still)).chunks
    assert [c.update_count for c in updates[1:]] == [0] * 5
    moving = player_of(uncommon_scene("shaped", 4000))
    assert len(encode_open_4dgs(moving)) < 1.5 * len(encode(moving))


def test_where_motion_is_curved_the_lines_turn_half_way_too():
    player = player_of(toy_scene(times=4))
    assert len(decode_open_4dgs(encode_open_4dgs(player)).times) == 4
    player.slopes = np.zeros_like(player.offsets)
    player.slopes[1] = 0.8
    back = decode_open_4dgs(encode_open_4dgs(player))
    np.testing.assert_allclose(back.times, np.arange(7) / 6, atol=1e-6)
    order = morton_order(moment_at(player, 0).upright().means)
    bound = 0.11 * np.exp(np.median(player.log_scales))
    for t in (1 / 6, 0.5):
        assert np.abs(moment_at(back, t).means - moment_at(player, t).means[order]).max() < bound
    assert len(decode_open_4dgs(encode_open_4dgs(player, frames=5)).times) == 5


def test_a_straight_path_is_stated_by_its_speed():
    scene = toy_scene(times=2)
    scene.shade = scene.visibility = None
    decoded = sequence.decode_streamed(encode_open_4dgs(player_of(scene), frames=21))
    stated = [c.update_count for c in decoded.chunks[1:]]
    assert sum(stated[:-1]) < 0.1 * len(stated) * stated[-1]  # at the end everything stops


def test_other_peoples_files_open(tmp_path):
    """Made by the package's own command from a PLY sequence: another temporal model, no camera."""
    scene = toy_scene(400, times=5)
    scene.shade = None
    write_sequence(scene, tmp_path / "ply")
    made = tmp_path / "theirs.4dgs"
    words = [sys.executable, "-m", "fourdgs.cli", "convert", str(tmp_path / "ply"), "-o", str(made)]
    done = subprocess.run([*words, "--fps", "8"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert fourdgs.read(str(made)).header.temporal_model == "gaussian-birth"
    player = read_player_scene(made)
    assert len(player.times) == 5 and player.name == "theirs"
    w2c, K = square_camera(scene)
    for t in (0.0, 0.75):
        got = drawn(moment_at(player, t), scene, w2c, K)
        assert psnr(got, ours(scene, t, w2c, K)) > 30, t


@pytest.mark.parametrize("system", ["y-up-right-handed", "z-up-right-handed"])
def test_declared_axes_are_turned_into_ours(tmp_path, system):
    up = {"y-up-right-handed": [0, 1, 0], "z-up-right-handed": [0, 0, 1]}[system]
    n = 3
    far = np.full(n, 10.0)
    gaussians = fourdgs.GaussianSet(
        positions=np.array([[0, 0, 0], up, [1, 0, 0]], np.float32),
        scales=np.full((n, 3), 0.1, np.float32),
        rotations=np.tile([0, 0, 0, 1.0], (n, 1)).astype(np.float32),
        colors=np.tile([0.2, 0.5, 0.8, 0.9], (n, 1)).astype(np.float32),
        motions=np.zeros((n, 3), np.float32),
        mu_t=np.zeros(n, np.float32),
        sigma_t=np.full(n, np.inf, np.float32),
        win_lo=np.zeros(n),
        win_hi=far,
    )
    options = fourdgs.WriteOptions(metadata={"coordinate_system": system})
    fourdgs.write(str(tmp_path / "a.4dgs"), gaussians, 10.0, options=options)
    player = read_player_scene(tmp_path / "a.4dgs")
    places = {tuple(np.rint(m).astype(int)) for m in player.means}
    assert places == {(0, 0, 0), (0, -1, 0), (1, 0, 0)}  # up is -y
    assert np.linalg.inv(player.w2c[0])[1, 1] > 0.9  # and the camera stands upright


def test_files_are_told_by_their_content_and_shown_by_every_command(tmp_path, capsys):
    scene = toy_scene(300, size=(24, 32))
    write_fr4d(scene, tmp_path / "new.fr4d", "a ball")
    (tmp_path / "old.4dgs").write_bytes((tmp_path / "new.fr4d").read_bytes())
    (tmp_path / "open.4dgs").write_bytes(encode_open_4dgs(player_of(scene)))
    for name in ("new.fr4d", "old.4dgs", "open.4dgs"):
        assert main(["inspect", str(tmp_path / name)]) == 0
        assert "300 Gaussians, 4 times, 3 cameras of 24x32" in capsys.readouterr().out
        out = tmp_path / name.replace(".", "-")
        for form in ("html", "4dgs", "fourreal", "ply-sequence"):
            command = ["export", str(tmp_path / name), "--format", form, "--out", f"{out}-{form}"]
            assert main(command) == 0
        again = read_player_scene(Path(f"{out}-fourreal"))
        assert again.prompt == "a ball" and again.size == (24, 32) and again.fps == pytest.approx(8)
    (tmp_path / "stranger.4dgs").write_bytes(b"PK\x03\x04 no scene")
    capsys.readouterr()
    assert main(["export", str(tmp_path / "stranger.4dgs")]) == 2
    assert "is no 4D scene" in capsys.readouterr().err


def test_a_file_becomes_a_scene_with_nodes():
    for kind in ("isotropic", "shaped", "literal"):
        scene = toy_scene() if kind == "isotropic" else uncommon_scene(kind)
        again = as_scene(PlayerScene.from_scene(scene))
        for t in (0.0, 0.4, 1.0):
            got, want = again.at(t, scene.w2c[0]), scene.at(t, scene.w2c[0], compensation=0.0)
            torch.testing.assert_close(got.means, want.means, atol=1e-5, rtol=0)
            torch.testing.assert_close(got.opacities, want.opacities, atol=1e-5, rtol=0)


def test_an_invisible_scene_and_an_empty_file_are_refused():
    scene = toy_scene(50)
    scene.opacity_logits[:] = -12.0
    with pytest.raises(UserError, match="no visible point"):
        encode_open_4dgs(player_of(scene))
    with pytest.raises(UserError, match="x.4dgs: damaged"):
        decode_open_4dgs(encode_open_4dgs(player_of(toy_scene(50)))[:-200], "x.4dgs")
