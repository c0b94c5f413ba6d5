"""How many frames of a freeze-time clip, or photos, become views, where nobody says.

Of a camera that goes all the way around something, sixteen views are 22 degrees apart: neighbours
show too little in common to tell where the cameras are. So more are used, as many as it takes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fourreal.console import say
from gen.footage.new_frames import spread
from gen.footage.selection import VIEWS

MOST = 48
_BETWEEN = (24, 32)
# Of the clips that were measured, with a share below the first the cameras of some were not found,
# with more than the second those of all were.
_ENOUGH, _WELL = 0.6, 0.65
_SHORT_SIDE = 216  # px, of the frames that are compared
_GAIN = 0.15  # by which the share must grow: where it is small for another reason, more are no help

Frames = NDArray[np.uint8]
InCommon = Callable[[Frames], float]


def views_of(
    index: NDArray[np.intp],
    asked: int,
    in_common: InCommon | None,
    read: Callable[[NDArray[np.intp], int], Frames],
    what: str,
) -> int:
    """At most how many views are used: as ``asked``, else ``VIEWS``, or more where so few would be
    too far apart, which is said.

    Args:
        index: the views there are, in the order of the camera's path. in_common: of frames
            [n, h, w, 3], the share of one that the next shows as well; None: not looked at.
        read: gives the frames of such views at a short side. what: how these are called.

    Raises:
        UserError: they cannot be read.
    """
    if asked or in_common is None or len(index) < _BETWEEN[0]:
        return asked or VIEWS
    usual = in_common(read(spread(index, VIEWS), _SHORT_SIDE))
    if usual >= _ENOUGH:
        return VIEWS
    closest = read(spread(index, MOST), _SHORT_SIDE)
    most = len(closest)

    def share(views: int) -> float:
        return in_common(closest[spread(np.arange(most), views)])

    if share(most) < usual + _GAIN:
        return VIEWS
    needed = next((n for n in _BETWEEN if n < most and share(n) >= _WELL), most)
    say(
        f"  {what}: {VIEWS} views would have too little in common, {needed} are used "
        "(--max-views chooses)"
    )
    return needed
