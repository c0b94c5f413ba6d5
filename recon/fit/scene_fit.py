"""Gradient descent on a scene by its rendering loss: the engine of the static and the joint fit.

Legend: N Gaussians, M nodes, cell = (view, time stamp index). One random known cell per step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourreal.cameras import Camera
from fourreal.console import progress
from fourreal.health import NotFinite
from recon.config import FitConfig
from recon.fit.adam import Adam
from recon.fit.camera_step import corrected
from recon.fit.checkpoint import Checkpoint, check_loss, check_parameters
from recon.fit.drawn import Drawn, drawn_loss
from recon.fit.parameters import Parameters
from recon.fit.photometric import photometric_loss
from recon.fit.shading import shaded
from recon.motion.curve import hermite, spline_slopes
from recon.motion.knots import KnotOffsets
from recon.motion.offsets import FreeOffsets, MlpOffsets
from recon.motion.pyramid import Pyramid
from recon.motion.rigidity import LocalTurns
from recon.motion.spread import Spreader
from recon.place import Moment, Sight, brightened, literal_turn, place
from recon.raster.rasterize import RasterOutput, rasterize
from recon.scene import Scene4D
from recon.sheen import direction, factors
from recon.targets import Targets

Cell = tuple[int, int]
_TURNS_LAST = 8  # visits of a time
_ALONE = 0.1  # of the rate, for single nodes beside what neighbourhoods of them share
_PLAIN = 7  # one step in so many is without sheen: without it colours must do as well
_WATCHED_ON_GPU = 20  # steps between two looks at the loss


class JointFit:
    """A scene under optimisation.

    Args:
        scene: where to start; its times, cameras and compensation are used as they are.
        frames: targets [H, W, 3] of every cell, as ``recon.targets.targets_of`` gives them.
        config: learning rates and losses.
        motion: makes the nodes' offsets; None: nothing moves.
        turns: of the nodes' graph, for rigidity.
        shade: let brightness change over time.
        poses: refine the cameras.
        rigidity_T: factor on the rigidity at every time.
        places_T: where the times of the frames lie among the time stamps of the scene, for clips
            of more times than stamps (``recon.motion.knots``); by default they are the same.
        ignored: bool [V, H, W], pixels of the canonical column that are no part of the scene.
    """

    def __init__(
        self,
        scene: Scene4D,
        frames: Targets,
        config: FitConfig,
        motion: FreeOffsets | MlpOffsets | None = None,
        turns: LocalTurns | None = None,
        shade: bool = False,
        poses: bool = False,
        rigidity_T: Sequence[float] | None = None,
        ignored: Tensor | None = None,
        empty: Tensor | None = None,
        places_T: Sequence[float] | None = None,
    ) -> None:
        self.scene, self.frames, self.config = scene, frames, config
        self.motion, self.turns = motion, turns
        self.rigidity_T = rigidity_T
        self.ignored, self.empty = ignored, empty
        self.places_T = places_T
        self.compensated = config.compensation and bool(scene.view_offsets.any())
        self.parameters = Parameters(scene, motion, shade, poses)
        self._plain = False
        self._apart: dict[int, tuple[int, Tensor]] = {}
        self.spread = None
        if motion is not None:
            self.spread = Spreader(scene.node_index, scene.node_weights, motion.nodes)
        self.unit = median_depth(scene)
        self.optimiser = Adam(self.parameters.groups(config.rates, self.unit))
        self._start = [g["lr"] for g in self.optimiser.param_groups]
        # as printed, Eq. 11 adds offsets in the axes of a camera
        self._by_kernels = not scene.means.is_cuda and scene.offset_frame != "literal"

    def camera(self, view: int) -> Camera:
        """The (refined) camera of an input view."""
        given, poses = self.scene.camera(view), self.parameters.poses
        if poses is None or view == self.scene.canonical_view:
            return given
        return Camera(corrected(given.w2c, poses[view], self.unit), given.K, given.size)

    def render(self, cell: Cell, offsets_M3: Tensor | None = None) -> RasterOutput:
        """Draw one cell (view, time index), its nodes at ``offsets_M3`` if given."""
        return self._draw(cell, self._colors(cell[1])[0], offsets_M3)

    def _place(self, t: int) -> float:
        """Where a time lies among the stamps of the scene."""
        return t if self.places_T is None else self.places_T[t]

    def _colors(self, t: int) -> tuple[Tensor, Tensor | float]:
        """Colours [N, 3] at a time index, and how far their brightness is from the canonical."""
        p, at = self.parameters, self._place(t)
        if not p.shade or at == self.scene.canonical_time:
            return p.colors, 0.0
        return shaded(p.colors, self._between(p.shade, at))

    def _between(
        self, values: Sequence[Tensor] | Tensor, at: float, home_is_zero: bool = True
    ) -> Tensor:
        """Values of a list of one per stamp at a place among them, as ``Scene4D.at`` has them.

        home_is_zero: whatever the list says of the canonical time.
        """
        left = int(at)
        if at == left:
            return values[left]
        f = at - left

        def value(k: int) -> Tensor:
            home = home_is_zero and k == self.scene.canonical_time
            return torch.zeros_like(values[k]) if home else values[k]

        share = hermite(f)[2] if self.config.deformation.curved else f
        return torch.lerp(value(left), value(left + 1), share)

    def _visibility(self, at: float) -> Tensor | None:
        """Factor on opacities [N] at a place among the stamps; None: all is visible always."""
        values = self.scene.visibility
        return None if values is None else self._between(values, at, False).clamp(0, 1)

    def _draw(self, cell: Cell, colors: Tensor, offsets_M3: Tensor | None) -> RasterOutput:
        v, t = cell
        scene, camera, p, at = self.scene, self.camera(v), self.parameters, self._place(t)
        moment, sight = Moment(), Sight()
        if self.spread is not None and self.motion is not None and at != scene.canonical_time:
            values = self.motion(at) if offsets_M3 is None else offsets_M3
            if p.turns:
                values = torch.cat([values, self._between(p.turns, at)], 1)
            moved = self.spread(values)
            moment.moved, moment.turns = moved[:, :3], moved[:, 3:] if p.turns else None
            if scene.offset_frame == "literal":
                home = scene.w2c[scene.canonical_view]
                sight.turn = literal_turn(camera.w2c, home).detach()
        moment.visibility = self._visibility(at)
        if self.compensated:
            sight.offset = scene.view_offsets[v]
        if p.sheen is not None and scene.sheen_from is not None and not self._plain:
            sight.sheen = factors(p.sheen, direction(scene.sheen_from, scene.w2c[v]))
        # the colours are those of the moment already: one kernel makes them and their cost
        return rasterize(place(p.canonical(colors), moment, sight), camera, scene.background)

    def loss(self, cell: Cell, only_N: NDArray[np.bool_] | None = None) -> Tensor:
        """Photometric loss of a cell plus the regularisers at its time.

        only_N: the Gaussians whose slopes are asked for; on a CPU less is drawn then.
        """
        v, t = cell
        weights = self.config.loss
        offsets = None
        extra: Tensor | float = 0.0
        at = self._place(t)
        if self.motion is not None and at != self.scene.canonical_time:
            offsets = self.motion(at)
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
        if self.parameters.turns and at != self.scene.canonical_time:
            turns = self._between(self.parameters.turns, at)
            extra = extra + weights.turns * turns.abs().mean()
        if self.parameters.sheen is not None:
            extra = extra + weights.sheen * self.parameters.sheen.abs().mean()
        if self._by_kernels:
            return self._drawn_loss(cell, offsets, only_N) + extra
        colors, change = self._colors(t)
        extra = extra + weights.shade * change
        drawn = self._draw(cell, colors, offsets)
        image = drawn.rgb
        ignored, past = self._masks(cell)
        if ignored is not None:
            image = torch.where(ignored[..., None], self.frames[v, t], image)
        if past is not None:
            extra = extra + (drawn.alpha * past).sum()
        return photometric_loss(image, self.frames[v, t], weights.ssim) + extra

    def _drawn_loss(
        self, cell: Cell, offsets_M3: Tensor | None, only_N: NDArray[np.bool_] | None
    ) -> Tensor:
        """The photometric loss of a cell with what changes of brightness and opacity cost."""
        v, t = cell
        scene, p, at, weights = self.scene, self.parameters, self._place(t), self.config.loss
        what = Drawn(p.means, p.colors, self.camera(v), scene.background, self.frames[v, t])
        what.ignored, what.past = self._masks(cell)
        what.only = only_N
        if offsets_M3 is not None:
            what.values, what.spread = offsets_M3, self.spread
            if p.turns:
                what.values = torch.cat([offsets_M3, self._between(p.turns, at)], 1)
        what.visibility = self._visibility(at)
        if self.compensated:
            what.means = what.means + scene.view_offsets[v]
        change: Tensor | float = 0.0
        if p.shade and at != scene.canonical_time:
            what.shade = self._between(p.shade, at)
            change = weights.shade * what.shade.abs().mean()
        if p.sheen is not None and scene.sheen_from is not None and not self._plain:
            # its bounds are those of the colours of the moment
            if what.shade is not None:
                what.colors, what.shade = shaded(p.colors, what.shade)[0], None
            sheen = factors(p.sheen, direction(scene.sheen_from, scene.w2c[v]))
            what.colors = brightened(what.colors, sheen)
        return drawn_loss(p, what, weights.ssim) + change

    def _masks(self, cell: Cell) -> tuple[Tensor | None, Tensor | None]:
        """Pixels [H, W] of a cell that do not count, and what opacity costs in a pixel [H, W]."""
        v, t = cell
        if self._place(t) != self.scene.canonical_time:
            return None, None
        ignored = None if self.ignored is None else self.ignored[v]
        past = None
        if self.empty is not None:
            past = self.config.loss.past / self.empty[v].numel() * self.empty[v].float()
        return ignored, past

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
        stop: float = 1.0,
        on_step: Callable[[int], None] | None = None,
        checkpoint: Checkpoint | None = None,
        begin: float = 0.0,
    ) -> None:
        """Take ``steps`` on shuffled ``cells``; rates decay from ``begin`` to ``stop`` of a fit.

        A state that ``checkpoint`` keeps of this run is taken up.

        Raises:
            NotFinite: a loss is not finite; names the parameters that are not.
        """
        rng = np.random.default_rng(self.config.seed)
        first, queue = checkpoint.resume(self, description, rng) if checkpoint else (0, [])
        bar = progress(range(first, steps), description)
        # asking a GPU for a number makes it wait
        watched = _WATCHED_ON_GPU if self.parameters.means.is_cuda else 1
        for step in bar:
            if checkpoint is not None:
                checkpoint.maybe_keep(self, description, step, queue, rng)
            fraction = begin + (stop - begin) * step / max(steps, 1)
            decay = self.config.rates.final**fraction
            for group, lr in zip(self.optimiser.param_groups, self._start, strict=True):
                group["lr"] = lr * decay
            if not queue:
                queue = rng.permutation(len(cells)).tolist()
            cell = cells[queue.pop()]
            self._plain = step % _PLAIN == _PLAIN - 1
            where = f"{description}, step {step}", checkpoint.last_good if checkpoint else ""
            try:
                value = self.loss(cell)
            except NotFinite:  # the rasterizer was given such values
                check_parameters(self.parameters.named(), *where)
                raise
            if step % watched == 0:
                check_loss(self.parameters.named(), value, cell, *where)
            self.optimiser.zero_grad()
            value.backward()
            self.optimiser.step()
            self.parameters.clamp()
            if on_step is not None:
                on_step(step)
        self._plain = False

    def refine_time(self, t: int, views: Sequence[int], steps: int, pyramid: Pyramid) -> None:
        """Gradient steps on the node offsets of one time alone, over ``views``: of the nodes that
        are free in ``pyramid``, on what neighbourhoods share above all, little on single nodes."""
        if not isinstance(self.motion, FreeOffsets) or not steps or not views:
            return
        raw, rate = self.motion.raw[t], 2 * self.config.rates.offsets * self.unit
        parts = pyramid.start(raw)
        coarse = len(parts) > 1
        rates = [rate * (_ALONE if coarse else 1.0), *[rate] * (len(parts) - 1)]
        optimiser = Adam([{"params": [p], "lr": r} for p, r in zip(parts, rates, strict=True)])
        assert self.spread is not None
        followers_N = self.spread.follow(pyramid.free_M1[:, 0])
        for step in range(steps):
            for group, start in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = start * 0.1 ** (step / steps)
            value = self.loss((views[step % len(views)], t), followers_N)
            (grad,) = torch.autograd.grad(value, [raw])
            for part, of_part in zip(parts, pyramid.gradients(grad), strict=True):
                part.grad = of_part
            optimiser.step()
            with torch.no_grad():
                raw.copy_(pyramid.total(parts))

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
        out = self.parameters.into(self.scene)
        if self.motion is not None and self.config.deformation.curved:
            if isinstance(self.motion, KnotOffsets):
                out.node_slopes = self.motion.slopes()
            else:
                out.node_slopes = spline_slopes(out.times, out.node_offsets)
        if self.parameters.poses is not None:
            out.w2c = torch.stack([self.camera(v).w2c for v in range(len(out.w2c))])
        return out


def median_depth(scene: Scene4D) -> float:
    """Median z of the Gaussians in the canonical camera: the unit of lengths."""
    w2c = scene.w2c[scene.canonical_view]
    z = scene.means @ w2c[2, :3] + w2c[2, 3]
    front = z[z > 0]
    return float(front.median()) if len(front) else 1.0
