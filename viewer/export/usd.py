"""A scene as one animated OpenUSD file: a ParticleField3DGaussianSplat with time samples.

Stage: y up, a time code is one stored moment of the scene (``timeCodesPerSecond`` is its rate).
Every attribute that changes has a sample per moment, the others one value; USD interpolates
positions, colours and opacities linearly between samples. Input cameras lie beside the Gaussians.

Needs ``usd-core`` (26.3 or later). Schema: UsdVol of OpenUSD 26.03.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fourreal.atomic import atomic_file
from fourreal.errors import UserError
from viewer.export.moments import SH_C0, Moment, line_moments, moment_at, seconds
from viewer.player_scene import PlayerScene

if TYPE_CHECKING:
    from recon.scene import Scene4D

SUFFIXES = (".usd", ".usdc", ".usda", ".usdz")
_SAME = 1e-7


def write_usd(
    scene: Scene4D | PlayerScene,
    path: str | Path,
    title: str = "",
    fps: float = 8.0,
    frames: int | None = None,
) -> int:
    """Write ``scene`` to ``path`` (.usd and .usdc are binary, .usda is text); bytes written.

    Args:
        title, fps: as in ``viewer.page.html.write_player``.
        frames: number of samples, evenly spaced; None: the stored times, and where motion is
            curved those half-way between.

    Raises:
        UserError: usd-core is missing or too old, or the suffix is none of USD's.
    """
    target = Path(path)
    if target.suffix not in SUFFIXES:
        raise UserError(f"{target}: name a {', '.join(SUFFIXES)} file")
    pxr = _pxr()
    player = PlayerScene.from_scene(scene, prompt=title, fps=fps)
    player.warn_of_lost_axes("USD files")
    times = line_moments(player, frames)
    states = [moment_at(player, float(t)).upright() for t in times]
    stage = _stage(pxr, player, states, times)
    with atomic_file(target) as temporary:
        if target.suffix == ".usdz":
            layer = temporary.with_suffix(".usdc")
            stage.GetRootLayer().Export(str(layer))
            try:
                made = pxr.UsdUtils.CreateNewUsdzPackage(str(layer), str(temporary))
            finally:
                layer.unlink()
            if not made:
                raise UserError(f"{target}: usd-core could not pack it")
        else:
            stage.GetRootLayer().Export(str(temporary))
        return temporary.stat().st_size


def _stage(pxr: Any, player: PlayerScene, states: list[Moment], times: NDArray) -> Any:
    Usd, UsdGeom, UsdVol, Vt = pxr.Usd, pxr.UsdGeom, pxr.UsdVol, pxr.Vt
    stage = Usd.Stage.CreateInMemory()
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    root = UsdGeom.Xform.Define(stage, "/Scene")
    stage.SetDefaultPrim(root.GetPrim())
    if player.prompt:
        root.GetPrim().SetDocumentation(player.prompt)
    codes = seconds(player, times) * player.fps
    stage.SetTimeCodesPerSecond(player.fps)
    stage.SetFramesPerSecond(player.fps)
    stage.SetStartTimeCode(float(codes[0]))
    stage.SetEndTimeCode(float(codes[-1]))

    splats = UsdVol.ParticleField3DGaussianSplat.Define(stage, "/Scene/Gaussians")
    splats.CreateRadianceSphericalHarmonicsDegreeAttr(0)
    last = states[0].rotations
    turns = []
    for s in states:  # q and -q are one rotation; between samples the nearer one is meant
        last = np.where((s.rotations * last).sum(1, keepdims=True) < 0, -s.rotations, s.rotations)
        turns.append(np.roll(last, -1, axis=1))  # x, y, z, w, as quatf lies in memory
    boxes = [np.stack([s.means.min(0), s.means.max(0)]) for s in states]
    vectors, numbers = Vt.Vec3fArray.FromNumpy, Vt.FloatArray.FromNumpy
    for attribute, values, wrap in (
        (splats.CreatePositionsAttr(), [s.means for s in states], vectors),
        (splats.CreateScalesAttr(), [np.exp(s.log_axes) for s in states], vectors),
        (splats.CreateOrientationsAttr(), turns, Vt.QuatfArray.FromNumpy),
        (splats.CreateOpacitiesAttr(), [s.opacities for s in states], numbers),
        (
            splats.CreateRadianceSphericalHarmonicsCoefficientsAttr(),
            [(s.colors - 0.5) / SH_C0 for s in states],
            vectors,
        ),
        (splats.CreateExtentAttr(), boxes, vectors),
    ):
        _sample(Usd, attribute, values, codes, wrap)
    for v in range(len(player.K)):
        _camera(pxr, stage, player, v)
    return stage


def _sample(Usd: Any, attribute: Any, values: list[NDArray], codes: NDArray, wrap: Any) -> None:
    """One value if all moments share it, else a sample at each."""
    ready = [np.ascontiguousarray(v, np.float32) for v in values]
    if all(np.abs(v - ready[0]).max() <= _SAME for v in ready):
        attribute.Set(wrap(ready[0]))
        return
    for code, value in zip(codes, ready, strict=True):
        attribute.Set(wrap(value), Usd.TimeCode(float(code)))


def _camera(pxr: Any, stage: Any, player: PlayerScene, v: int) -> None:
    """Input camera ``v``: USD's cameras look along -z, y up, as the stage does after the turn."""
    Gf, UsdGeom = pxr.Gf, pxr.UsdGeom
    height, width = player.size
    K = player.K[v]
    camera = UsdGeom.Camera.Define(stage, f"/Scene/View{v + 1:02d}")
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    to_world = flip @ np.linalg.inv(player.w2c[v]) @ flip
    camera.AddTransformOp().Set(Gf.Matrix4d(to_world.T.tolist()))
    aperture = 36.0  # millimetres, as usual; only ratios matter
    camera.CreateHorizontalApertureAttr(aperture)
    camera.CreateVerticalApertureAttr(aperture * height * K[0, 0] / (width * K[1, 1]))
    camera.CreateFocalLengthAttr(aperture * K[0, 0] / width)
    camera.CreateHorizontalApertureOffsetAttr(aperture * (0.5 - K[0, 2] / width))
    camera.CreateVerticalApertureOffsetAttr(
        aperture * height * K[0, 0] / (width * K[1, 1]) * (K[1, 2] / height - 0.5)
    )
    camera.CreateClippingRangeAttr(Gf.Vec2f(0.001, 10000.0))


def _pxr() -> Any:
    try:
        import pxr
        from pxr import Gf, Usd, UsdGeom, UsdUtils, UsdVol, Vt  # noqa: F401

        if not hasattr(UsdVol, "ParticleField3DGaussianSplat"):
            raise ImportError("it is older than 26.3")
    except (ImportError, OSError) as error:
        raise UserError(
            f"USD files need usd-core ({str(error).splitlines()[0]}); pip install -e '.[formats]'"
        ) from error
    return pxr
