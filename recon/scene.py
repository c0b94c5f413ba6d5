"""Scene4D: Gaussians, their motion and their view-dependent compensation.

Legend: N Gaussians, M control nodes, K nodes a Gaussian follows, T time stamps, V input views.
World axes are OpenCV's in the canonical view (x right, y down, z forward). Time is 0..1. On disk:
one .safetensors with JSON metadata, see docs/FORMATS.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fourreal.atomic import atomic_file
from fourreal.cameras import Camera
from fourreal.errors import UserError
from fourreal.health import NotFinite
from fourreal.read_text import parse_json
from recon.gaussians import Gaussians
from recon.motion.curve import curve_at, eased, straight
from recon.place import Moment, Sight, literal_turn, place, view_weights
from recon.sheen import direction, factors

FORMAT, VERSION = "fourreal-scene", 4  # of what readers of earlier ones would draw wrongly
_READ = (1, 2, 3, 4)
HALF = ("view_offsets", "shade", "visibility", "node_turns", "sheen")  # as float16 on disk
OFFSET_FRAMES = ("rotated", "literal")
ADDED_LOGIT = 0.85  # of the opacity of points that are added


@dataclass
class Scene4D:
    """A 4D scene.

    Attributes:
        means: [N,3] positions at the canonical time. log_scales: [N]. opacity_logits: [N].
        colors: [N,3] RGB, clamped to 0..1 when rendered.
        times: [T] the time stamps of ``node_offsets``, increasing in 0..1.
        node_offsets: [T,M,3] displacement of every control node; zero at the canonical time.
        node_slopes: optional [T,M,3] its change per unit of time (``recon.motion.curve``); absent:
            straight lines between stamps, as scenes of version 1 have them.
        node_turns: optional [T,M,3] how every node turns what follows it, as Gibbs vectors
            (``recon.motion.turning``) in world axes; zero at the canonical time. Needs rotations,
            and offsets that are "rotated".
        node_index: int64 [N,K] and node_weights: [N,K]: the nodes each Gaussian follows.
        view_offsets: [V,N,3] compensation d_i in world axes (float16 on disk).
        K: [V,3,3] and w2c: [V,4,4]: the input cameras.
        size: (height, width) of the input frames. canonical_time: index into ``times``.
        canonical_view: index of the view whose camera frame is the world. background: [3] RGB.
        offset_frame: "rotated" (x = R (p + dp_t) + t + e) or "literal" (Eq. 11 as printed: dp_t
            is added in the axes of the rendering camera).
        shade: optional [T,N] brightness of a Gaussian over time (1 = unchanged), for shadows.
        visibility: optional [T,N] factor on the opacity over time, for surfaces that appear. Below
            0 it counts as 0 when drawn: such a point comes later and goes sooner between stamps.
        log_stretch: optional [N,3] log of the factors on the radius along a Gaussian's own axes,
            and rotations: optional [N,4] quaternions w, x, y, z of those axes; absent: isotropic.
        sheen: optional [N,3,3] how colours change with where they are seen from, per axis and
            channel, and sheen_from: [7] what directions are counted from (``recon.sheen``).
    """

    means: Tensor
    log_scales: Tensor
    opacity_logits: Tensor
    colors: Tensor
    times: Tensor
    node_offsets: Tensor
    node_index: Tensor
    node_weights: Tensor
    view_offsets: Tensor
    K: Tensor
    w2c: Tensor
    size: tuple[int, int]
    canonical_time: int = 0
    canonical_view: int = 0
    background: Tensor = field(default_factory=lambda: torch.zeros(3))
    offset_frame: str = "rotated"
    shade: Tensor | None = None
    visibility: Tensor | None = None
    log_stretch: Tensor | None = None
    rotations: Tensor | None = None
    node_slopes: Tensor | None = None
    node_turns: Tensor | None = None
    sheen: Tensor | None = None
    sheen_from: Tensor | None = None

    def __post_init__(self) -> None:
        n, v, t = len(self.means), len(self.w2c), len(self.times)
        m = self.node_offsets.shape[1] if self.node_offsets.ndim == 3 else -1
        k = self.node_index.shape[1] if self.node_index.ndim == 2 else -1
        expected: dict[str, tuple[int, ...]] = {
            "means": (n, 3),
            "log_scales": (n,),
            "opacity_logits": (n,),
            "colors": (n, 3),
            "times": (t,),
            "node_offsets": (t, m, 3),
            "node_index": (n, k),
            "node_weights": (n, k),
            "view_offsets": (v, n, 3),
            "K": (v, 3, 3),
            "w2c": (v, 4, 4),
            "background": (3,),
        }
        for name in ("shade", "visibility"):
            if getattr(self, name) is not None:
                expected[name] = (t, n)
        for name in ("node_slopes", "node_turns"):
            if getattr(self, name) is not None:
                expected[name] = (t, m, 3)
        if (self.log_stretch is None) != (self.rotations is None):
            raise ValueError("Scene4D: log_stretch and rotations go together")
        if (self.sheen is None) != (self.sheen_from is None):
            raise ValueError("Scene4D: sheen and sheen_from go together")
        if self.sheen is not None:
            expected |= {"sheen": (n, 3, 3), "sheen_from": (7,)}
        if self.log_stretch is not None:
            expected |= {"log_stretch": (n, 3), "rotations": (n, 4)}
        for name, shape in expected.items():
            value = getattr(self, name)
            if tuple(value.shape) != shape:
                raise ValueError(f"Scene4D: {name} must be {shape}, got {tuple(value.shape)}")
            if value.is_floating_point() and not torch.isfinite(value).all():
                raise NotFinite(f"Scene4D: {name} holds NaN or infinity")
        if t < 1 or (self.times.diff() <= 0).any() or self.times[0] < 0 or self.times[-1] > 1:
            raise ValueError("Scene4D: times must increase within 0..1")
        if n and k > 0 and not (0 <= int(self.node_index.min()) and int(self.node_index.max()) < m):
            raise ValueError(f"Scene4D: node_index must lie in 0..{m - 1}")
        if not (0 <= self.canonical_time < t and 0 <= self.canonical_view < max(v, 1)):
            raise ValueError("Scene4D: canonical_time or canonical_view is out of range")
        for name in ("node_offsets", "node_turns"):
            value = getattr(self, name)
            if value is not None and bool((value[self.canonical_time] != 0).any()):
                raise ValueError(f"Scene4D: {name} must be 0 at the canonical time")
        if self.node_turns is not None and (
            self.rotations is None or self.offset_frame == "literal"
        ):
            raise ValueError("Scene4D: node_turns need rotations and offset_frame 'rotated'")
        if self.offset_frame not in OFFSET_FRAMES:
            raise ValueError(f"Scene4D: offset_frame must be one of {OFFSET_FRAMES}")
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"Scene4D: size must be (height, width), got {self.size}")

    def __len__(self) -> int:
        return len(self.means)

    def camera(self, view: int) -> Camera:
        """The camera of an input view."""
        return Camera(self.w2c[view], self.K[view], self.size)

    def cameras(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """K [V,3,3] and w2c [V,4,4] of all input views, for NumPy."""
        return self.K.cpu().double().numpy(), self.w2c.cpu().double().numpy()

    def displacement(self, t: float) -> Tensor:
        """dp_t of every Gaussian [N,3] at time ``t`` in 0..1."""
        return self._followed(curve_at(self.times, self.node_offsets, self.node_slopes, t))

    def offsets(self) -> Tensor:
        """dp_t of every Gaussian at every time stamp, [T,N,3]."""
        return torch.stack([self.displacement(float(t)) for t in self.times])

    def slopes(self) -> Tensor | None:
        """Change of dp_t per unit of time of every Gaussian at every time stamp, [T,N,3]."""
        if self.node_slopes is None:
            return None
        return torch.stack([self._followed(slopes) for slopes in self.node_slopes])

    def turns(self) -> Tensor | None:
        """How every Gaussian turns at every time stamp, Gibbs vectors [T,N,3]."""
        if self.node_turns is None:
            return None
        return torch.stack([self._followed(turns) for turns in self.node_turns])

    def _followed(self, nodes_MC: Tensor) -> Tensor:
        """Values [M,C] of the nodes, handed on to the Gaussians [N,C]."""
        return (nodes_MC[self.node_index] * self.node_weights[..., None]).sum(1)

    def view_weights(self, camera: Tensor) -> Tensor:
        """Weights [V] of the input views for a camera [4,4] (``recon.place.view_weights``)."""
        return view_weights(self.w2c, camera, self.means[:: max(1, len(self) // 1000)])

    def canonical(self) -> Gaussians:
        """The Gaussians at the canonical time."""
        shape: tuple[Tensor, ...] = ()
        if self.log_stretch is not None and self.rotations is not None:
            shape = torch.exp(self.log_stretch), self.rotations
        opacities = torch.sigmoid(self.opacity_logits)
        scales, colors = torch.exp(self.log_scales), self.colors.clamp(0, 1)
        return Gaussians(self.means, scales, opacities, colors, *shape)

    def moment(self, t: float) -> Moment:
        """What is different at time ``t`` in 0..1 (clamped)."""
        over_time = straight if self.node_slopes is None else eased  # as the motion is

        def at(values: Tensor | None) -> Tensor | None:
            return None if values is None else over_time(self.times, values, t)

        turns, visibility = at(self.node_turns), at(self.visibility)
        return Moment(
            self.displacement(t),
            None if turns is None else self._followed(turns),
            at(self.shade),
            None if visibility is None else visibility.clamp(0, 1),
        )

    def sight(self, camera: Tensor | None, compensation: float = 1.0) -> Sight:
        """What is different from a camera; arguments as in ``at``."""
        if camera is None:
            return Sight()
        camera = torch.as_tensor(camera, device=self.means.device)
        turn, offset, sheen = None, None, None
        if self.offset_frame == "literal":
            home = self.w2c[self.canonical_view]
            turn = literal_turn(camera.to(self.means), home.to(self.means))
        if self.sheen is not None and self.sheen_from is not None:
            there = direction(self.sheen_from, camera.to(self.sheen_from))
            sheen = factors(self.sheen, there)
        if compensation:
            weights = self.view_weights(camera) * compensation
            near = torch.nonzero(weights > 1e-3 * abs(compensation)).flatten()
            apart = self.view_offsets[near].to(self.means)
            offset = torch.einsum("v,vnc->nc", weights[near], apart)
        return Sight(turn, offset, sheen)

    def at(self, t: float, camera: Tensor | None = None, compensation: float = 1.0) -> Gaussians:
        """The Gaussians at time ``t`` as seen by a camera.

        Args:
            t: time in 0..1 (clamped).
            camera: w2c [4,4]; None leaves out the view-dependent compensation, colours too.
            compensation: 0 is one consistent scene, 1 is exact at the input views.
        """
        return place(self.canonical(), self.moment(t), self.sight(camera, compensation))

    def anisotropic(self) -> Scene4D:
        """The same scene with three radii and a rotation each, all equal yet, for a fit."""
        if self.log_stretch is not None:
            return self
        rotations = torch.zeros(len(self), 4).to(self.means)
        rotations[:, 0] = 1
        return replace(self, log_stretch=torch.zeros_like(self.means), rotations=rotations)

    def keep(self, mask: Tensor) -> Scene4D:
        """The scene of the Gaussians in ``mask`` bool [N] (or an index)."""
        per_point = ("means", "log_scales", "opacity_logits", "colors", "node_index")
        out: dict[str, Any] = {n: getattr(self, n)[mask] for n in (*per_point, "node_weights")}
        for name in ("view_offsets", "shade", "visibility"):
            value = getattr(self, name)
            out[name] = None if value is None else value[:, mask]
        for name in ("log_stretch", "rotations", "sheen"):
            value = getattr(self, name)
            out[name] = None if value is None else value[mask]
        return replace(self, **out)

    def with_points(
        self, means_P3: ArrayLike, colors_P3: ArrayLike, sigmas_P: ArrayLike
    ) -> Scene4D:
        """With round points after the others, nearly opaque, that stand still and are there at all
        times: positions, RGB, standard deviations."""
        count = len(np.asarray(sigmas_P))
        unhung, flat = np.zeros((count, self.node_index.shape[1])), np.zeros((count, 3))
        turns = np.tile([1.0, 0.0, 0.0, 0.0], (count, 1))
        none = self.view_offsets.new_zeros(len(self.w2c), count, 3)

        def more(name: str, values: ArrayLike) -> Tensor:
            old = getattr(self, name)
            return torch.cat([old, torch.from_numpy(np.ascontiguousarray(values)).to(old)])

        def always(values_TN: Tensor | None) -> Tensor | None:
            if values_TN is None:
                return None
            return torch.cat([values_TN, values_TN.new_ones(len(values_TN), count)], 1)

        return replace(
            self,
            means=more("means", means_P3),
            log_scales=more("log_scales", np.log(sigmas_P)),
            opacity_logits=more("opacity_logits", np.full(count, ADDED_LOGIT)),
            colors=more("colors", colors_P3),
            node_index=more("node_index", unhung),
            node_weights=more("node_weights", unhung),
            view_offsets=torch.cat([self.view_offsets, none], 1),
            shade=always(self.shade),
            visibility=always(self.visibility),
            log_stretch=None if self.log_stretch is None else more("log_stretch", flat),
            rotations=None if self.rotations is None else more("rotations", turns),
            sheen=None if self.sheen is None else more("sheen", np.zeros((count, 3, 3))),
        )

    def to(self, device: str | torch.device) -> Scene4D:
        """The scene with every tensor on ``device``."""
        moved = {
            f.name: getattr(self, f.name).to(device)
            for f in fields(self)
            if isinstance(getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

    def save(self, path: str | Path) -> None:
        """Write one .safetensors, atomically."""
        tensors = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                half = f.name in HALF
                value = value.detach().cpu()
                tensors[f.name] = (value.half() if half else value).contiguous()
        tensors["node_index"] = tensors["node_index"].int()
        meta = {
            "format": FORMAT,
            "version": self._version(),
            "size": list(self.size),
            "canonical_time": self.canonical_time,
            "canonical_view": self.canonical_view,
            "offset_frame": self.offset_frame,
            "conventions": "OpenCV axes, world to camera, pixel centres at +0.5, time 0..1",
        }
        with atomic_file(path) as temporary:
            save_file(tensors, str(temporary), metadata={"scene": json.dumps(meta)})

    def _version(self) -> int:
        """The earliest version whose readers draw the scene rightly."""
        if self.sheen is not None:
            return VERSION
        if self.node_turns is not None:
            return 3
        return 1 if self.node_slopes is None else 2

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> Scene4D:
        """Read a scene; everything in the file is checked.

        Raises:
            UserError: no such file, not a scene, damaged, or of a later version.
        """
        file = Path(path)
        if not file.is_file():
            raise UserError(f"no such scene: {file}; give a scene.safetensors")
        try:
            with safe_open(str(file), framework="pt") as handle:
                header = handle.metadata() or {}
                tensors = {name: handle.get_tensor(name) for name in handle.keys()}
            meta = parse_json(header["scene"])
            if meta["format"] != FORMAT or meta["version"] not in _READ:
                raise ValueError(f"its version is {meta.get('version')}, expected 1 to {VERSION}")
            known = {f.name for f in fields(cls)}
            if unknown := set(tensors) - known:
                raise ValueError(f"it holds an unknown tensor '{sorted(unknown)[0]}'")
            ready = {name: _as_used(name, value) for name, value in tensors.items()}
            height, width = (int(s) for s in meta["size"])
            scene = cls(
                **ready,
                size=(height, width),
                canonical_time=int(meta["canonical_time"]),
                canonical_view=int(meta["canonical_view"]),
                offset_frame=str(meta["offset_frame"]),
            )
        except (
            *(SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError),
            *(AttributeError, IndexError, OverflowError),
        ) as error:
            reason = str(error).split("\n")[0]
            raise UserError(f"{file} is not a usable scene ({reason}); make it again") from error
        return scene.to(device)


def _as_used(name: str, value: Tensor) -> Tensor:
    """A stored tensor in the type it is used in. Raises ValueError for any other kind."""
    if name == "node_index":
        if value.dtype not in (torch.int32, torch.int64):
            raise ValueError(f"{name} holds {value.dtype}")
        return value.long()
    doubles = name in ("K", "w2c") and value.dtype == torch.float64
    if value.dtype not in (torch.float16, torch.float32) and not doubles:
        raise ValueError(f"{name} holds {value.dtype}")
    return value if doubles else value.float()


def empty_motion(points: int, times: int) -> dict[str, Any]:
    """Node fields of a scene in which nothing moves: one node, zero offsets."""
    return {
        "node_offsets": torch.zeros(times, 1, 3),
        "node_index": torch.zeros(points, 1, dtype=torch.long),
        "node_weights": torch.ones(points, 1),
    }
