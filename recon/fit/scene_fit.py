"""Gradient descent on a scene by its rendering loss: the engine of the static and the joint fit.

Legend: N Gaussians, M nodes, cell = (view, time stamp index). One random known cell per step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from fourreal.console import progress
from fourreal.health import NotFinite
from recon.config import FitConfig
from recon.fit.adam import Adam
from recon.fit.camera_step import corrected
from recon.fit.checkpoint import Checkpoint, check_loss, check_parameters
from recon.fit.photometric import photometric_loss
from recon.fit.shading import shaded
from recon.motion.deformation import FreeOffsets, MlpOffsets, Spreader
from recon.motion.rigidity import LocalTurns
from recon.raster.rasterize import RasterOutput, rasterize
from recon.scene import Scene4D

Cell = tuple[int, int]
_TURNS_LAST = 8  # visits of a time
_WATCHED_ON_GPU = 20  # steps between two looks at the loss
MIN_OPACITY_LOGIT, MAX_OPACITY_LOGIT = -7.0, 7.0


class JointFit:
    """A scene under optimisation.

    Args:
        scene: where to start; its times, cameras and compensation are used as they are.
        frames: float32 [V, T, H, W, 3] targets.
        config: learning rates and losses.
        motion: makes the nodes' offsets; None: nothing moves.
        turns: of the nodes' graph, for rigidity.
        shade: let brightness change over time. visibility: let opacity change over time.
        poses: refine the cameras.
        rigidity_T: factor on the rigidity at every time.
    """

    def __init__(
        self,
        scene: Scene4D,
        frames: Tensor,
        config: FitConfig,
        motion: FreeOffsets | MlpOffsets | None = None,
        turns: LocalTurns | None = None,
        shade: bool = False,
        visibility: bool = False,
        poses: bool = False,
        rigidity_T: Sequence[float] | None = None,
    ) -> None:
        self.scene, self.frames, self.config = scene, frames, config
        self.motion, self.turns = motion, turns
        self.rigidity_T = rigidity_T
        self.compensated = config.compensation and bool(scene.view_offsets.any())
        self._apart: dict[int, tuple[int, Tensor]] = {}
        n, times = len(scene), len(scene.times)
        self.means = nn.Parameter(scene.means.clone())
        self.log_scales = nn.Parameter(scene.log_scales.clone())
        self.opacity = nn.Parameter(scene.opacity_logits.clone())
        self.colors = nn.Parameter(scene.colors.clone())
        self.log_stretch: nn.Parameter | None = None
        self.rotations: nn.Parameter | None = None
        if scene.log_stretch is not None and scene.rotations is not None:
            self.log_stretch = nn.Parameter(scene.log_stretch.clone())
            self.rotations = nn.Parameter(scene.rotations.clone())
        self.pose = nn.Parameter(torch.zeros(len(scene.w2c), 6)) if poses else None
        device = scene.means.device
        self.shade: nn.ParameterList | None = None
        self.visibility: nn.ParameterList | None = None
        if shade:
            old = torch.ones(times, n, device=device) if scene.shade is None else scene.shade
            self.shade = nn.ParameterList([nn.Parameter(s - 1) for s in old])
        if visibility:
            old = scene.visibility
            old = torch.full((times, n), 0.95, device=device) if old is None else old
            raw = torch.logit(old.clamp(0.02, 0.98))
            self.visibility = nn.ParameterList([nn.Parameter(r) for r in raw])
        self.spread = None
        if motion is not None:
            self.spread = Spreader(scene.node_index, scene.node_weights, motion.nodes)
        self.unit = median_depth(scene)
        self.optimiser = self._make_optimiser()
        self._start = [g["lr"] for g in self.optimiser.param_groups]

    def _make_optimiser(self) -> Adam:
        rates = self.config.rates
        groups = [
            {"params": [self.means], "lr": rates.means * self.unit},
            {"params": [self.log_scales], "lr": rates.log_scales},
            {"params": [self.opacity], "lr": rates.opacity},
            {"params": [self.colors], "lr": rates.colors},
        ]
        if self.log_stretch is not None:
            groups.append({"params": [self.log_stretch], "lr": rates.log_scales})
            groups.append({"params": [self.rotations], "lr": rates.rotations})
        if isinstance(self.motion, FreeOffsets):
            groups.append({"params": list(self.motion.raw), "lr": rates.offsets * self.unit})
        elif self.motion is not None:
            groups.append({"params": list(self.motion.parameters()), "lr": rates.mlp})
        if self.shade is not None:
            groups.append({"params": list(self.shade), "lr": rates.shade})
        if self.visibility is not None:
            groups.append({"params": list(self.visibility), "lr": rates.visibility})
        if self.pose is not None:
            groups.append({"params": [self.pose], "lr": rates.pose})
        return Adam(groups)

    def camera(self, view: int) -> Tensor:
        """The (refined) world-to-camera matrix [4, 4] of an input view."""
        w2c = self.scene.w2c[view]
        if self.pose is None or view == self.scene.canonical_view:
            return w2c
        return corrected(w2c, self.pose[view], self.unit)

    def render(self, cell: Cell, offsets_M3: Tensor | None = None) -> RasterOutput:
        """Draw one cell (view, time index), its nodes at ``offsets_M3`` if given."""
        return self._draw(cell, self._colors(cell[1])[0], offsets_M3)

    def _colors(self, t: int) -> tuple[Tensor, Tensor | float]:
        """Colours [N, 3] at a time index, and how far their brightness is from the canonical."""
        if self.shade is None or t == self.scene.canonical_time:
            return self.colors, 0.0
        return shaded(self.colors, self.shade[t])

    def _draw(self, cell: Cell, colors: Tensor, offsets_M3: Tensor | None) -> RasterOutput:
        v, t = cell
        scene = self.scene
        height, width = scene.size
        camera = self.camera(v)
        means = self.means
        if self.spread is not None and self.motion is not None and t != self.motion.canonical:
            moved = self.spread(self.motion(t) if offsets_M3 is None else offsets_M3)
            if scene.offset_frame == "literal":
                turn = camera[:3, :3].T @ scene.w2c[scene.canonical_view, :3, :3]
                moved = moved @ turn.detach().T
            means = means + moved
        if self.compensated:
            means = means + scene.view_offsets[v]
        opacities = torch.sigmoid(self.opacity)
        if self.visibility is not None:
            opacities = opacities * torch.sigmoid(self.visibility[t])
        return rasterize(
            means,
            torch.exp(self.log_scales),
            opacities,
            colors,
            camera,
            scene.K[v],
            width,
            height,
            scene.background,
            stretch=None if self.log_stretch is None else torch.exp(self.log_stretch),
            rotations=self.rotations,
        )

    def loss(self, cell: Cell) -> Tensor:
        """Photometric loss of a cell plus the regularisers at its time."""
        v, t = cell
        weights = self.config.loss
        offsets = None
        extra: Tensor | float = 0.0
        if self.motion is not None and t != self.motion.canonical:
            offsets = self.motion(t)
            if self.turns is None:
                extra = weights.sparsity / self.unit * offsets.abs().mean()
            else:
                scarce = self.rigidity_T[t] if self.rigidity_T else 1.0
                extra = self.turns.penalty(
                    offsets,
                    self._turned(t, offsets),
                    weights.sparsity / self.unit,
                    weights.rigidity * scarce / self.unit,
                )
        colors, change = self._colors(t)
        extra = extra + weights.shade * change
        image = self._draw(cell, colors, offsets).rgb
        return photometric_loss(image, self.frames[v, t], weights.ssim) + extra

    def _turned(self, t: int, offsets_M3: Tensor) -> Tensor:
        """How the offsets of an edge's nodes differ [E, 3] when what is around them turns."""
        assert self.turns is not None
        age, apart = self._apart.get(t, (0, None))
        if apart is None or age >= _TURNS_LAST:
            age, apart = 0, self.turns(offsets_M3)
        self._apart[t] = age + 1, apart
        return apart

    def run(
        self,
        cells: Sequence[Cell],
        steps: int,
        description: str,
        start: float = 0.0,
        stop: float = 1.0,
        on_step: Callable[[int], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Take ``steps`` on shuffled ``cells``; rates decay from ``start`` to ``stop`` of a fit.

        A state that ``checkpoint`` keeps of this run is taken up.

        Raises:
            NotFinite: a loss is not finite; names the parameters that are not.
        """
        rng = np.random.default_rng(self.config.seed)
        first, queue = checkpoint.resume(self, description, rng) if checkpoint else (0, [])
        bar = progress(range(first, steps), description)
        # asking a GPU for a number makes it wait
        watched = _WATCHED_ON_GPU if self.means.is_cuda else 1
        for step in bar:
            if checkpoint is not None:
                checkpoint.maybe_keep(self, description, step, queue, rng)
            fraction = start + (stop - start) * step / max(steps, 1)
            decay = self.config.rates.final**fraction
            for group, lr in zip(self.optimiser.param_groups, self._start, strict=True):
                group["lr"] = lr * decay
            if not queue:
                queue = rng.permutation(len(cells)).tolist()
            cell = cells[queue.pop()]
            where = f"{description}, step {step}", checkpoint.last_good if checkpoint else ""
            try:
                value = self.loss(cell)
            except NotFinite:  # the rasterizer was given such values
                check_parameters(self, *where)
                raise
            if step % watched == 0:
                check_loss(self, value, cell, *where)
            self.optimiser.zero_grad()
            value.backward()
            self.optimiser.step()
            with torch.no_grad():
                self.opacity.clamp_(MIN_OPACITY_LOGIT, MAX_OPACITY_LOGIT)
            if on_step is not None:
                on_step(step)

    def refine_time(self, t: int, views: Sequence[int], steps: int) -> None:
        """Gradient steps on the free node offsets of one time alone, over ``views``."""
        if not isinstance(self.motion, FreeOffsets) or not steps or not views:
            return
        raw = self.motion.raw[t]
        rate = 2 * self.config.rates.offsets * self.unit
        optimiser = Adam([{"params": [raw], "lr": rate}])
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = rate * 0.1 ** (step / steps)
            value = self.loss((views[step % len(views)], t))
            (raw.grad,) = torch.autograd.grad(value, [raw])
            optimiser.step()
        raw.grad = None

    def memory(self) -> dict[str, Tensor]:
        """What steps hand to later ones besides parameters and moments, for a checkpoint."""
        return {f"turned/{t}/{age}": apart for t, (age, apart) in self._apart.items()}

    def remember(self, memory: dict[str, Tensor]) -> None:
        """Take up what ``memory`` gave."""
        for name, apart in memory.items():
            _, t, age = name.split("/")
            self._apart[int(t)] = int(age), apart

    @torch.no_grad()
    def result(self) -> Scene4D:
        """The scene as it stands, motion baked into node offsets."""
        out = replace(
            self.scene,
            means=self.means.detach().clone(),
            log_scales=self.log_scales.detach().clone(),
            opacity_logits=self.opacity.detach().clone(),
            colors=self.colors.detach().clamp(0, 1),
        )
        if self.log_stretch is not None and self.rotations is not None:
            out.log_stretch = self.log_stretch.detach().clone()
            out.rotations = torch.nn.functional.normalize(self.rotations.detach(), dim=-1)
        if self.motion is not None:
            out.node_offsets = torch.stack([self.motion(t) for t in range(len(out.times))])
        if self.pose is not None:
            out.w2c = torch.stack([self.camera(v) for v in range(len(out.w2c))]).detach()
        if self.shade is not None:
            out.shade = torch.stack([1 + s for s in self.shade]).clamp_min(0)
            out.shade[out.canonical_time] = 1
        if self.visibility is not None:
            out.visibility = torch.stack([torch.sigmoid(s) for s in self.visibility])
        return out


def median_depth(scene: Scene4D) -> float:
    """Median z of the Gaussians in the canonical camera: the unit of lengths."""
    w2c = scene.w2c[scene.canonical_view]
    z = scene.means @ w2c[2, :3] + w2c[2, 3]
    front = z[z > 0]
    return float(front.median()) if len(front) else 1.0
