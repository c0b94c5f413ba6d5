"""What is filled in or matched behind a plane that others see is put onto it.

Between matches by chance in a shadow, depth is filled in below the table. The fit would hide these
points under the table's own, and show them wherever those grow faint.

Legend: V views, H W image, P planes. rho = 1/z in the view's own camera.
"""

from __future__ import annotations

import numpy as np

from tracking.depth.found_planes import UNDER, Planes
from tracking.depth.witnesses import Witnesses

_MORE = 2  # views that must see a surface on the plane, beyond those that see one behind it
_TRUST = 0.2  # of what is put there, at least


def lifted(
    rho: np.ndarray, trust: np.ndarray, planes: Planes, witnesses: Witnesses
) -> tuple[np.ndarray, np.ndarray]:
    """(rho, trust) [V, H, W] without what lies behind a plane where other views see the plane.

    Where it has a hole, the others look through as well.
    """
    out, believed = rho.copy(), trust.copy()
    for there_VHW in planes.there_PVHW:
        for v, there in enumerate(there_VHW):
            behind = there > (1 + UNDER) * out[v]
            if not behind.any():
                continue
            on = witnesses.votes(v, there, rho, trust, behind).solid
            here = witnesses.votes(v, out[v], rho, trust, behind).solid
            take = behind & (on >= here + _MORE)
            out[v][take] = there[take]
            believed[v][take] = np.maximum(believed[v][take], _TRUST)
    return out, believed
