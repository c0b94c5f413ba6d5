"""What is filled in or matched behind a plane that others see is put onto it.

Between matches by chance in a shadow, depth is filled in below the table. The fit would hide these
points under the table's own, and show them wherever those grow faint.

Legend: V views, H W image, P planes. rho = 1/z in the view's own camera.
"""

from __future__ import annotations

import numpy as np

from fourreal.mask_parts import bordering_on
from tracking.depth.found_planes import NEAR, UNDER, Planes
from tracking.depth.witnesses import Witnesses

_MORE = 2  # views that must see a surface on the plane, beyond those that see one behind it
_TRUST = 0.2  # of what is put there, at least
_BESIDE = np.ones((3, 3), np.uint8)  # what is around a part ...
_WITHIN = 0.3  # ... and share of that which must lie on the plane


def lifted(
    rho: np.ndarray,
    trust: np.ndarray,
    planes: Planes,
    witnesses: Witnesses,
) -> tuple[np.ndarray, np.ndarray]:
    """(rho, trust) [V, H, W] without what lies behind a plane where two views more see a
    surface on the plane.

    Where it has a hole, the others look through as well. What is beside it, not within it, is
    background at an outline.
    """
    out, believed = rho.copy(), trust.copy()
    for there_VHW in planes.there_PVHW:
        for v, there in enumerate(there_VHW):
            behind = there > (1 + UNDER) * out[v]
            if not behind.any():
                continue
            on = witnesses.votes(v, there, rho, trust, behind).solid
            here = witnesses.votes(v, out[v], rho, trust, behind).solid
            take = within(behind & (on >= here + _MORE), np.abs(there / out[v] - 1) < 1.5 * NEAR)
            out[v][take] = there[take]
            believed[v][take] = np.maximum(believed[v][take], _TRUST)
    return out, believed


def within(mask: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """The parts of a mask [H, W] that have pixels of a `plane` [H, W] around them, a third at
    least: they may border on what stands on it."""
    return bordering_on(mask, plane, _WITHIN, _BESIDE, connectivity=4)
