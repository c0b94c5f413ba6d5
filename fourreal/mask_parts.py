"""Connected parts of a mask, judged by what they border on."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def bordering_on(
    mask_HW: Mask, what_HW: Mask, share: float, rim: NDArray[Any], connectivity: int
) -> Mask:
    """The parts of a mask of whose surroundings ``what`` is a ``share`` or more.

    rim: the kernel uint8 [k, k] by which a part grows to its surroundings, of which other parts are
    none; connectivity: of the pixels of a part, 4 or 8.
    """
    count, labels = cv2.connectedComponents(mask_HW.astype(np.uint8), connectivity=connectivity)
    beside = cv2.dilate(labels.astype(np.float32), rim).astype(np.int32)
    around = (beside > 0) & ~mask_HW
    all_of_it = np.bincount(beside[around], minlength=count)
    of_that = np.bincount(beside[around & what_HW], minlength=count)
    return mask_HW & (of_that >= share * all_of_it)[labels]
