"""Gaussians ready to be drawn: what a rasterizer takes and a place gives."""

from __future__ import annotations

from dataclasses import dataclass, fields

from torch import Tensor


@dataclass
class Gaussians:
    """N Gaussians in world axes.

    means [N,3]; scales [N], the standard deviation (linear, not its log); opacities [N] in 0..1;
    colors [N,3] RGB. Anisotropic ones also have stretch [N,3], factors on the scale along
    a Gaussian's own axes, and rotations [N,4], quaternions w, x, y, z of those axes in the world
    (of any length but 0).
    """

    means: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    stretch: Tensor | None = None
    rotations: Tensor | None = None

    def __len__(self) -> int:
        return len(self.means)

    def keep(self, mask: Tensor) -> Gaussians:
        """Those in ``mask`` bool [N] (or an index)."""
        kept = {f.name: v[mask] for f in fields(self) if (v := getattr(self, f.name)) is not None}
        return Gaussians(**kept)
