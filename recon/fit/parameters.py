"""What a fit changes of a scene: the parameters, by name, by learning rate, and back in a scene.

Legend: N Gaussians, T time stamps, V views.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from recon.config import RatesConfig
from recon.gaussians import Gaussians
from recon.motion.offsets import FreeOffsets, MlpOffsets
from recon.scene import Scene4D

MIN_OPACITY_LOGIT, MAX_OPACITY_LOGIT = -7.0, 7.0


class Parameters:
    """A scene's tensors as parameters; those that are None are kept as they are.

    Args:
        scene: where they start.
        motion: makes the nodes' offsets; None: nothing moves.
        shade: let brightness change over time.
        poses: let the cameras change.
    """

    def __init__(
        self,
        scene: Scene4D,
        motion: FreeOffsets | MlpOffsets | None = None,
        shade: bool = False,
        poses: bool = False,
    ) -> None:
        n, times, device = len(scene), len(scene.times), scene.means.device
        self.motion = motion
        self.means = nn.Parameter(scene.means.clone())
        self.log_scales = nn.Parameter(scene.log_scales.clone())
        self.opacity_logits = nn.Parameter(scene.opacity_logits.clone())
        self.colors = nn.Parameter(scene.colors.clone())
        self.log_stretch: nn.Parameter | None = None
        self.rotations: nn.Parameter | None = None
        # how colours change with where they are seen from (`recon.sheen`)
        self.sheen = None if scene.sheen is None else nn.Parameter(scene.sheen.clone())
        if scene.log_stretch is not None and scene.rotations is not None:
            self.log_stretch = nn.Parameter(scene.log_stretch.clone())
            self.rotations = nn.Parameter(scene.rotations.clone())
        # per time stamp: how nodes turn the shapes of what follows them
        self.turns: list[nn.Parameter] = []
        if motion is not None and scene.node_turns is not None:
            self.turns = [nn.Parameter(turns.clone()) for turns in scene.node_turns]
        # a correction [V,6] of every camera (`recon.fit.camera_step`)
        self.poses = nn.Parameter(torch.zeros(len(scene.w2c), 6)) if poses else None
        # per time stamp: what is added to a brightness of 1
        self.shade: list[nn.Parameter] = []
        if shade:
            old = torch.ones(times, n, device=device) if scene.shade is None else scene.shade
            self.shade = [nn.Parameter(s - 1) for s in old]

    def named(self) -> dict[str, nn.Parameter]:
        """All of them, by a name that tells a person what it is."""
        single = {
            "means": self.means,
            "log_scales": self.log_scales,
            "opacity_logits": self.opacity_logits,
            "colors": self.colors,
            "log_stretch": self.log_stretch,
            "rotations": self.rotations,
            "poses": self.poses,
            "sheen": self.sheen,
        }
        out = {name: value for name, value in single.items() if value is not None}
        out |= {f"shade.{t}": value for t, value in enumerate(self.shade)}
        out |= {f"turns.{t}": value for t, value in enumerate(self.turns)}
        if self.motion is not None:
            out |= {f"motion.{n}": value for n, value in self.motion.named_parameters()}
        return out

    def groups(self, rates: RatesConfig, unit: float) -> list[dict[str, Any]]:
        """Groups for an optimiser; rates of lengths are per ``unit``."""
        groups: list[tuple[list[nn.Parameter], float]] = [
            ([self.means], rates.means * unit),
            ([self.log_scales], rates.log_scales),
            ([self.opacity_logits], rates.opacity),
            ([self.colors], rates.colors),
        ]
        if self.log_stretch is not None and self.rotations is not None:
            groups.append(([self.log_stretch], rates.log_scales))
            groups.append(([self.rotations], rates.rotations))
        if isinstance(self.motion, FreeOffsets):
            groups.append((list(self.motion.raw), rates.offsets * unit))
        elif self.motion is not None:
            groups.append((list(self.motion.parameters()), rates.mlp))
        if self.turns:
            groups.append((self.turns, rates.turns))
        if self.shade:
            groups.append((self.shade, rates.shade))
        if self.poses is not None:
            groups.append(([self.poses], rates.pose))
        if self.sheen is not None:
            groups.append(([self.sheen], rates.sheen))
        return [{"params": params, "lr": lr} for params, lr in groups]

    def canonical(self, colors: Tensor) -> Gaussians:
        """The Gaussians at the canonical time, in these ``colors`` [N,3]."""
        shape: tuple[Tensor, ...] = ()
        if self.log_stretch is not None and self.rotations is not None:
            shape = torch.exp(self.log_stretch), self.rotations
        opacities = torch.sigmoid(self.opacity_logits)
        return Gaussians(self.means, torch.exp(self.log_scales), opacities, colors, *shape)

    @torch.no_grad()
    def clamp(self) -> None:
        """Keep them where they can be drawn, after a step."""
        self.opacity_logits.clamp_(MIN_OPACITY_LOGIT, MAX_OPACITY_LOGIT)

    @torch.no_grad()
    def into(self, scene: Scene4D) -> Scene4D:
        """The scene with their values, motion baked into node offsets; not the cameras."""
        out = replace(
            scene,
            means=self.means.detach().clone(),
            log_scales=self.log_scales.detach().clone(),
            opacity_logits=self.opacity_logits.detach().clone(),
            colors=self.colors.detach().clamp(0, 1),
        )
        if self.log_stretch is not None and self.rotations is not None:
            out.log_stretch = self.log_stretch.detach().clone()
            out.rotations = nn.functional.normalize(self.rotations.detach(), dim=-1)
        if self.sheen is not None:
            out.sheen = self.sheen.detach().clone()
        if self.motion is not None:
            out.node_offsets = torch.stack([self.motion(t) for t in range(len(out.times))])
        if self.turns:
            out.node_turns = torch.stack([turns.detach() for turns in self.turns])
        if self.shade:
            out.shade = torch.stack([1 + s for s in self.shade]).clamp_min(0)
            out.shade[out.canonical_time] = 1
        return out
