"""Video that no pin-hole camera has taken, or whose colours mean nothing here: 360-degree and
stereo pictures and Dolby Vision without a base are refused by name, told by the marks in the file,
or where shape and picture of a frame leave no doubt."""

from __future__ import annotations

import re
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

# AVSphericalMapping.projection and AVStereo3D.type of libavutil
PROJECTIONS = {0: "equirectangular", 1: "cube map", 2: "equirectangular tile", 3: "half"}
PROJECTIONS |= {5: "fisheye"}
STEREO = {1: "side by side", 2: "top and bottom", 3: "frame by frame", 4: "checkerboard"}
STEREO |= {5: "side by side", 6: "line by line", 7: "column by column"}
WIDE = 2.4  # width over height above which halves that are alike are two eyes'


def special_by_looks(first: Any) -> str:
    """ "360" or "stereo" where shape and picture of a frame leave no doubt, else ""."""
    wide = first.width / first.height
    if abs(wide - 2) < 0.01:
        picture = first.reformat(width=128, height=64, format="gray").to_ndarray().astype(float)
        rough = np.abs(np.diff(picture[8:-8], axis=1)).mean()
        seam = np.abs(picture[8:-8, 0] - picture[8:-8, -1]).mean()
        poles = max(picture[0].std(), picture[-1].std())
        varied = picture[8:-8, 0].std() > 12 and picture[24:40].std(1).mean() > 12
        if varied and poles < 3 and seam < 2.5 * rough + 1:
            return "360"
    if wide > WIDE:
        picture = first.reformat(width=256, height=64, format="gray").to_ndarray().astype(float)
        left, right = picture[:, 12:116], picture[:, 128:]
        fits = [_correlation(left, right[:, s : s + 104]) for s in range(0, 25, 2)]
        if max(fits) > 0.9:
            return "stereo"
    return ""


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    length = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / length if length > 1e3 else 0.0


def refuse_special(first: Any) -> None:
    """Raises ValueError for 360-degree and stereo video, which no pin-hole camera has taken."""
    kind = special_by_looks(first)
    if kind == "360":
        raise ValueError(
            "this seems to be 360-degree video (twice as wide as high, its poles and its two edges "
            "meet): cut an ordinary view out of it first (ffmpeg's filter v360 does that)"
        )
    if kind == "stereo":
        raise ValueError(
            "this seems to be stereo video, side by side (the halves of its wide picture are "
            "alike): cut it into a clip per eye first (ffmpeg's filter crop does that)"
        )
    for side in first.side_data:
        name = getattr(side.type, "name", str(side.type))
        if name not in ("SPHERICAL", "STEREO3D"):
            continue
        kind = struct.unpack("=i", bytes(side)[:4])[0]
        if name == "SPHERICAL" and kind in PROJECTIONS:
            raise ValueError(
                f"360-degree video ({PROJECTIONS[kind]}): cut an ordinary view out of it first "
                "(ffmpeg's filter v360 does that)"
            )
        if name == "STEREO3D" and kind in STEREO:
            raise ValueError(
                f"stereo video ({STEREO[kind]}): two pictures in one frame; cut it into a clip per "
                "eye first (ffmpeg's filter crop or stereo3d)"
            )


def refuse_without_base(head: bytes) -> None:
    """Raises ValueError for Dolby Vision whose picture is no other format's (profile 5, from films
    and series); that of phones (profile 8) is HLG to whoever does not know it.

    Args:
        head: what the file says of its streams.
    """
    for told in re.finditer(rb"dv[cvw]C(?:A\xed.)?(\x01\0.{3})", head, re.DOTALL):
        profile, compatible = told[1][2] >> 1, told[1][4] >> 4
        if not compatible:
            raise ValueError(
                f"Dolby Vision of profile {profile}, whose colours mean nothing without Dolby's "
                "decoder: export it as HDR10, HLG or SDR"
            )
