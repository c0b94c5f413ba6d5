"""USD files: opened by usd-core, values at several times and a picture from its own camera."""

import numpy as np
import pytest

from fourreal.errors import UserError
from run_pipeline import main
from tests.viewer.formats.pictures import drawn, ours
from tests.viewer.toy_scene import psnr, toy_scene, uncommon_scene
from viewer.export.moments import SH_C0, Moment, moment_at
from viewer.export.usd import write_usd
from viewer.player_scene import PlayerScene

pytest.importorskip("pxr", reason="needs usd-core (pip install -e '.[formats]')")


def opened(path):
    """Stage and Gaussians of a file."""
    from pxr import Usd, UsdVol

    stage = Usd.Stage.Open(str(path))
    return stage, UsdVol.ParticleField3DGaussianSplat(stage.GetPrimAtPath("/Scene/Gaussians"))


def read(splats, code: float) -> Moment:
    """What usd-core gives at a time code, in the stage's axes."""
    coefficients = splats.GetRadianceSphericalHarmonicsCoefficientsAttr().Get(code)
    return Moment(
        np.array(splats.GetPositionsAttr().Get(code)),
        np.log(np.array(splats.GetScalesAttr().Get(code))),
        np.roll(np.array(splats.GetOrientationsAttr().Get(code)), 1, axis=1),
        np.array(splats.GetOpacitiesAttr().Get(code)),
        np.array(coefficients) * SH_C0 + 0.5,
    )


@pytest.mark.parametrize("suffix", [".usdc", ".usda", ".usdz"])
def test_usd_core_reads_the_values_of_the_scene_at_and_between_samples(tmp_path, suffix):
    scene = uncommon_scene("shaped", 300)
    player = PlayerScene.from_scene(scene, prompt="a ball", fps=8)
    path = tmp_path / f"a{suffix}"
    assert write_usd(player, path) == path.stat().st_size
    stage, splats = opened(path)
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (0, 3)
    assert stage.GetTimeCodesPerSecond() == 8 and splats.GetPrim().IsValid()
    for code in (0.0, 1.0, 2.0, 3.0, 1.5):
        want, got = moment_at(player, code / 3).upright(), read(splats, code)
        np.testing.assert_allclose(got.means, want.means, atol=2e-6)
        np.testing.assert_allclose(got.log_axes, want.log_axes, atol=1e-5)
        np.testing.assert_allclose(got.opacities, want.opacities, atol=1e-5)
        np.testing.assert_allclose(got.colors, want.colors, atol=1e-5)
        assert np.abs((got.rotations * want.rotations).sum(1)).min() > 1 - 1e-6
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


@pytest.mark.parametrize("code", [0.0, 2.0])
def test_its_cameras_see_what_the_input_cameras_see(tmp_path, code):
    from pxr import UsdGeom

    scene = toy_scene(1200)
    write_usd(scene, tmp_path / "a.usdc", fps=8)
    stage, splats = opened(tmp_path / "a.usdc")
    for v in (0, 2):
        view = UsdGeom.Camera.Get(stage, f"/Scene/View{v + 1:02d}").GetCamera(code)
        flip = np.diag([1.0, -1.0, -1.0, 1.0])  # USD looks along -z, y up
        w2c = flip @ np.array(view.frustum.ComputeViewMatrix()).T
        height, width = scene.size
        f = view.focalLength / view.horizontalAperture * width
        shift = np.array([view.horizontalApertureOffset, -view.verticalApertureOffset])
        middle = np.array([width, height]) / 2 - shift / view.horizontalAperture * width
        K = np.array([[f, 0, middle[0]], [0, f, middle[1]], [0, 0, 1]])
        got = drawn(read(splats, code), scene, w2c, K)
        want = ours(scene, code / 3, scene.w2c[v].numpy(), scene.K[v].numpy())
        assert psnr(got, want) > 45


def test_what_stays_has_one_value_and_frames_are_interpolated(tmp_path):
    scene = toy_scene(300)
    scene.shade = scene.visibility = None
    write_usd(scene, tmp_path / "a.usdc", fps=8, frames=7)
    _, splats = opened(tmp_path / "a.usdc")
    assert splats.GetPositionsAttr().GetNumTimeSamples() == 7
    assert splats.GetScalesAttr().GetNumTimeSamples() == 0
    got = np.array(splats.GetPositionsAttr().Get(1.5))  # 7 samples over 3 time codes
    want = moment_at(PlayerScene.from_scene(scene), 0.5).upright().means
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_the_command_writes_it_and_refuses_another_suffix(tmp_path, capsys):
    toy_scene(60, size=(24, 32)).save(tmp_path / "scene.safetensors")
    assert main(["export", str(tmp_path), "--format", "usd", "--times", "5"]) == 0
    stage, splats = opened(tmp_path / "scene.usdc")
    assert stage and splats.GetPositionsAttr().GetNumTimeSamples() == 5
    command = ["export", str(tmp_path), "--format", "usd", "--out", str(tmp_path / "a.obj")]
    assert main(command) == 2 and "a.obj: name a" in capsys.readouterr().err
    assert not (tmp_path / "a.obj").exists()
    with pytest.raises(UserError, match="at least 1"):
        write_usd(toy_scene(60), tmp_path / "b.usdc", frames=0)
