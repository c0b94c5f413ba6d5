"""SPZ and SOG files: read by PlayCanvas' splat-transform, drawn by Spark in a real browser."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fourreal.errors import UserError
from recon.ply import read_ply
from run_pipeline import main
from scripts.tools.js_players import shown_by
from tests.viewer.formats.npm import packages
from tests.viewer.formats.pictures import drawn, ours, square_camera
from tests.viewer.test_splat_transform import convert, splat_transform  # noqa: F401
from tests.viewer.toy_scene import psnr, toy_scene, uncommon_scene
from viewer.export.moments import Moment, moment_at
from viewer.export.sog import find_splat_transform, write_sog
from viewer.export.spz import write_spz
from viewer.player_scene import PlayerScene


def read_back(program: str, path: Path) -> Moment:
    """What splat-transform reads, as Gaussians in our axes and their order."""
    convert(program, path, path.with_suffix(".back.ply"))
    values = read_ply(path.with_suffix(".back.ply"))
    logs = values.get("log_axes", np.repeat(values["log_scales"][:, None], 3, 1))
    turns = values.get("rotations", np.tile(np.array([[1.0, 0, 0, 0]]), (len(logs), 1)))
    opacities = 1 / (1 + np.exp(-values["opacity_logits"]))
    return Moment(values["means"], logs, turns, opacities, values["colors"])


def covariances(moment: Moment) -> np.ndarray:
    """[N,3,3] of a moment."""
    turns = Rotation.from_quat(np.roll(moment.rotations, -1, axis=1)).as_matrix()
    axes = turns * np.exp(moment.log_axes)[:, None]
    return axes @ axes.transpose(0, 2, 1)


@pytest.mark.parametrize("t", [0.0, 0.6])
def test_splat_transform_reads_our_spz(splat_transform, tmp_path, t):  # noqa: F811
    scene = uncommon_scene("shaped", 400)
    want = moment_at(PlayerScene.from_scene(scene), t)
    write_spz(want, tmp_path / "a.spz")
    got = read_back(splat_transform, tmp_path / "a.spz")
    np.testing.assert_allclose(got.means, want.means, atol=1e-5)
    np.testing.assert_allclose(got.log_axes, want.log_axes, atol=1 / 32 + 1e-5)
    np.testing.assert_allclose(got.opacities, want.opacities, atol=0.6 / 255)
    np.testing.assert_allclose(got.colors, want.colors, atol=1 / 255)
    # Which of an ellipsoid's axes point forwards does not matter, so its covariance is compared.
    sizes = np.exp(2 * want.log_axes).max(1)[:, None, None]
    same = Moment(want.means, got.log_axes, want.rotations, want.opacities, want.colors)
    assert (np.abs(covariances(got) - covariances(same)) / sizes).max() < 0.01
    assert (tmp_path / "a.spz").stat().st_size < 20 * len(want.means)


@pytest.mark.parametrize("t", [0.0, 0.6])
def test_our_sog_holds_the_moment(splat_transform, tmp_path, monkeypatch, t):  # noqa: F811
    monkeypatch.setenv("SPLAT_TRANSFORM", splat_transform)
    scene = uncommon_scene("shaped", 900)
    write_sog(moment_at(PlayerScene.from_scene(scene), t), tmp_path / "a.sog")
    got = read_back(splat_transform, tmp_path / "a.sog")
    w2c, K = square_camera(scene)
    assert psnr(drawn(got, scene, w2c, K), ours(scene, t, w2c, K)) > 33


@pytest.mark.slow
@pytest.mark.parametrize("t", [0.0, 0.7])
def test_spark_draws_our_spz(tmp_path, t):
    packages("three", "@sparkjsdev/spark", browser=True)
    scene = uncommon_scene("shaped", 1800, size=(144, 256))
    write_spz(moment_at(PlayerScene.from_scene(scene), t), tmp_path / "a.spz")
    w2c, K = square_camera(scene)
    background = scene.background.numpy()
    shown = shown_by("spark", tmp_path / "a.spz", w2c, K, scene.size, t, background) / 255
    assert psnr(shown, ours(scene, t, w2c, K)) > 30 > psnr(shown, ours(scene, 0.7 - t, w2c, K)) + 4


def test_without_splat_transform_sog_is_refused_and_nothing_is_written(
    tmp_path, monkeypatch, capsys
):
    toy_scene(60, size=(24, 32)).save(tmp_path / "scene.safetensors")
    monkeypatch.delenv("SPLAT_TRANSFORM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["export", str(tmp_path), "--format", "sog"]) == 2
    assert "npm install -g @playcanvas/splat-transform" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["scene.safetensors"]
    with pytest.raises(UserError, match="splat-transform"):
        find_splat_transform()
    monkeypatch.setenv("SPLAT_TRANSFORM", "false")
    moment = moment_at(PlayerScene.from_scene(toy_scene(60)), 0)
    with pytest.raises(UserError, match="false"):
        write_sog(moment, tmp_path / "a.sog")


def test_spz_sequence_from_the_command_line(tmp_path):
    toy_scene(60, size=(24, 32)).save(tmp_path / "scene.safetensors")
    assert main(["export", str(tmp_path), "--format", "spz", "--times", "3"]) == 0
    files = sorted((tmp_path / "spz").iterdir())
    assert [p.name for p in files] == ["frame0001.spz", "frame0002.spz", "frame0003.spz"]
    assert all(p.read_bytes()[:2] == b"\x1f\x8b" for p in files)
