"""A scene as a viewer sees it: NumPy arrays and any moment of them, view compensation left out.

Shape letters: N points, T times, V cameras. OpenCV cameras, world-to-camera, pixel centres at +0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from fourreal.console import warn
from recon.motion.curve import bracket, hermite
from recon.motion.turning import turned
from recon.sheen import direction, factors

Floats = NDArray[np.float32]


@dataclass
class PlayerScene:
    """What a viewer needs of a scene.

    means [N,3] world; log_scales [N] (natural log of the isotropic radius); opacities [N] and
    colors [N,3] in 0..1; times [T] increasing in 0..1; offsets [T,N,3] added to the means at
    each time; slopes [T,N,3] their change per unit of time (`recon.motion.curve`; None: straight
    lines in between, of shade and visibility too); K [V,3,3] pixels; w2c [V,4,4]; size (height,
    width) of the input frames; background [3]; shade [T,N] multiplies the colours and visibility
    [T,N] the opacities over time (None: 1). stretch [N,3] multiplies the radius along the axes that
    the quaternions rotations [N,4] (w, x, y, z) turn (None: isotropic); turns [T,N,3] are Gibbs
    vectors that turn those on over time (`recon.motion.turning`; None: nothing turns).
    offset_axes [3,3]: the offsets are seen by every camera as offset_axes @ offset in its own axes
    (Eq. 11 as printed); None: they are in world axes. sheen [N,3,3] is how colours change with
    where they are seen from, per axis and channel, counted from sheen_from [7] (`recon.sheen`).
    """

    means: Floats
    log_scales: Floats
    opacities: Floats
    colors: Floats
    times: Floats
    offsets: Floats
    K: NDArray[np.float64]
    w2c: NDArray[np.float64]
    size: tuple[int, int]
    background: Floats = field(default_factory=lambda: np.zeros(3, np.float32))
    shade: Floats | None = None
    visibility: Floats | None = None
    stretch: Floats | None = None
    rotations: Floats | None = None
    offset_axes: NDArray[np.float64] | None = None
    slopes: Floats | None = None
    turns: Floats | None = None
    sheen: Floats | None = None
    sheen_from: Floats | None = None
    name: str = ""
    prompt: str = ""
    fps: float = 8.0

    def __post_init__(self) -> None:
        n, t, v = len(self.means), len(self.times), len(self.K)
        expected = {
            "means": (n, 3),
            "log_scales": (n,),
            "opacities": (n,),
            "colors": (n, 3),
            "times": (t,),
            "offsets": (t, n, 3),
            "background": (3,),
        }
        optional: dict[str, tuple[int, ...]] = {"shade": (t, n), "visibility": (t, n)}
        optional |= {"stretch": (n, 3), "rotations": (n, 4)}
        optional |= {"slopes": (t, n, 3), "turns": (t, n, 3)}
        optional |= {"sheen": (n, 3, 3), "sheen_from": (7,)}
        expected |= {k: v for k, v in optional.items() if getattr(self, k) is not None}
        for name, shape in expected.items():
            value = np.ascontiguousarray(getattr(self, name), dtype=np.float32)
            _require(value.shape == shape, f"{name} is {value.shape}, expected {shape}")
            _require(bool(np.isfinite(value).all()), f"{name} has values that are not finite")
            setattr(self, name, value)
        _require((self.stretch is None) == (self.rotations is None), "stretch needs rotations")
        _require(self.turns is None or self.rotations is not None, "turns need rotations")
        _require((self.sheen is None) == (self.sheen_from is None), "sheen needs sheen_from")
        exact: dict[str, tuple[int, ...]] = {"K": (v, 3, 3), "w2c": (v, 4, 4)}
        exact |= {} if self.offset_axes is None else {"offset_axes": (3, 3)}
        for name, shape in exact.items():
            value = np.asarray(getattr(self, name), dtype=np.float64)
            _require(value.shape == shape, f"{name} is {value.shape}, expected {shape}")
            _require(bool(np.isfinite(value).all()), f"{name} has values that are not finite")
            setattr(self, name, value)
        _require(n > 0 and t > 0 and v > 0, f"{n} points, {t} times, {v} cameras: none may be 0")
        _require(bool((np.diff(self.times) > 0).all()), "times must increase")
        self.size = (int(self.size[0]), int(self.size[1]))
        _require(min(self.size) > 0, f"size is {self.size}")

    @classmethod
    def from_scene(
        cls, scene: Any, name: str = "", prompt: str = "", fps: float = 8.0
    ) -> PlayerScene:
        """Take what a viewer needs from a ``recon.scene.Scene4D`` (view compensation left out)."""
        if isinstance(scene, PlayerScene):
            return scene
        literal = scene.offset_frame == "literal" and bool((scene.node_offsets != 0).any())
        axes = _numpy(scene.w2c)[scene.canonical_view, :3, :3].astype(np.float64)
        logits = _numpy(scene.opacity_logits).astype(np.float64)
        return cls(
            means=_numpy(scene.means),
            log_scales=_numpy(scene.log_scales),
            opacities=(1 / (1 + np.exp(-np.clip(logits, -50, 50)))).astype(np.float32),
            colors=np.clip(_numpy(scene.colors), 0, 1),
            times=_numpy(scene.times),
            offsets=_numpy(scene.offsets()),
            K=_numpy(scene.K),
            w2c=_numpy(scene.w2c),
            size=tuple(scene.size),
            background=_numpy(scene.background),
            shade=None if scene.shade is None else _numpy(scene.shade),
            visibility=None if scene.visibility is None else _numpy(scene.visibility),
            stretch=None if scene.log_stretch is None else np.exp(_numpy(scene.log_stretch)),
            rotations=None if scene.rotations is None else _numpy(scene.rotations),
            offset_axes=axes if literal else None,
            slopes=None if scene.node_slopes is None else _numpy(scene.slopes()),
            turns=None if scene.node_turns is None else _numpy(scene.turns()),
            sheen=None if scene.sheen is None else _numpy(scene.sheen),
            sheen_from=None if scene.sheen_from is None else _numpy(scene.sheen_from),
            name=name,
            prompt=prompt,
            fps=fps,
        )

    def at(self, t: float, w2c: ArrayLike | None = None) -> tuple[Floats, Floats, Floats, Floats]:
        """Means [N,3], radii [N], opacities [N], colours [N,3] at time ``t`` in 0..1.

        ``w2c`` [4,4] is the camera that looks; ``offset_axes`` depend on it, and without one they
        are those of the canonical view; so does ``sheen``, which is left out without one.
        """
        k, after, f = bracket(self.times.tolist(), t)
        rise, early, late = np.float32(f), 0.0, 0.0
        if self.slopes is not None:
            _, early, rise, late = (np.float32(weight) for weight in hermite(f))

        def between(values: Floats) -> Floats:
            return (1 - rise) * values[k] + rise * values[after]

        colors, opacities, offsets = self.colors, self.opacities, between(self.offsets)
        if self.slopes is not None:
            span = self.times[after] - self.times[k]
            offsets = offsets + span * (early * self.slopes[k] + late * self.slopes[after])
        if self.shade is not None:
            colors = np.clip(colors * between(self.shade)[:, None], 0, 1)
        if self.sheen is not None and self.sheen_from is not None and w2c is not None:
            camera = torch.as_tensor(np.asarray(w2c), dtype=torch.float32)
            there = direction(torch.from_numpy(self.sheen_from), camera)
            colors = np.clip(colors * factors(torch.from_numpy(self.sheen), there).numpy(), 0, 1)
        if self.visibility is not None:
            opacities = np.clip(opacities * between(self.visibility), 0, 1)
        if self.offset_axes is not None and w2c is not None:
            turn = np.asarray(w2c)[:3, :3].T @ self.offset_axes
            offsets = (offsets @ turn.T).astype(np.float32)
        return self.means + offsets, np.exp(self.log_scales), opacities, colors

    def axes_at(self, t: float) -> Floats | None:
        """Quaternions [N,4] (w, x, y, z) of the points' axes at time ``t``, of any length but 0."""
        if self.turns is None or self.rotations is None:
            return self.rotations
        k, after, f = bracket(self.times.tolist(), t)
        rise = np.float32(f if self.slopes is None else hermite(f)[2])
        turns = (1 - rise) * self.turns[k] + rise * self.turns[after]
        return turned(torch.from_numpy(self.rotations), torch.from_numpy(turns)).numpy()

    def log_axes(self) -> Floats:
        """Natural log of the radii along the three axes of every point, [N,3]."""
        logs = np.repeat(self.log_scales[:, None], 3, 1)
        return logs if self.stretch is None else logs + np.log(self.stretch)

    def warn_of_lost_axes(self, what: str) -> None:
        """Warn that files without a camera (``what``) cannot keep ``offset_axes``."""
        if self.offset_axes is not None:
            warn(
                f"the scene's offsets are in camera axes (Eq. 11 as printed); {what} have them in "
                "those of the canonical view: from other viewpoints its motion differs"
            )


def _numpy(value: Any) -> NDArray:
    """A NumPy array of a tensor (any device, with or without gradient) or array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
