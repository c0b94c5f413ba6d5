"""Do neighbouring views of one time fit the true cameras? Sampson error of SIFT matches.

Matches are found on enlarged frames, since SIFT sees little in small ones; the error is in pixels
of the frames as they are. Cameras are those of `fourreal.cameras`. Only some times are looked at:
they say the same and cost time.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fourreal.cameras import camera_centres

SIFT_HEIGHT = 144  # frames are enlarged by a whole factor to at least this height
RATIO = 0.8  # a match must be this much nearer than the second nearest
TIMES = 3  # columns that are looked at

Found = tuple[NDArray[np.float64], NDArray[np.float32] | None]  # keypoints [N, 2], descriptors


def scored_times(times: int) -> list[int]:
    """The columns t >= 1 that are looked at, spread evenly up to the last."""
    return sorted({int(t) for t in np.linspace(1, times - 1, TIMES).round()})


def find_keypoints(frame_HWC: NDArray) -> Found:
    """SIFT keypoints of a frame in 0..1, in its own pixels (centres at +0.5)."""
    grey = cv2.cvtColor((np.clip(frame_HWC, 0, 1) * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
    factor = max(1, -(-SIFT_HEIGHT // grey.shape[0]))
    large = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    keypoints, descriptors = cv2.SIFT.create(contrastThreshold=0.02).detectAndCompute(large, None)
    places = np.array([k.pt for k in keypoints], np.float64).reshape(-1, 2)
    return (places + 0.5) / factor, descriptors


def match(a: Found, b: Found) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places [M, 2] of the matches in either frame (ratio test)."""
    if a[1] is None or b[1] is None or len(b[0]) < 2:
        return np.zeros((0, 2)), np.zeros((0, 2))
    pairs = [
        (m.queryIdx, m.trainIdx)
        for m, second in cv2.BFMatcher().knnMatch(a[1], b[1], k=2)
        if m.distance < RATIO * second.distance
    ]
    index = np.array(pairs, np.intp).reshape(-1, 2)
    return a[0][index[:, 0]], b[0][index[:, 1]]


def sampson_error(
    a_M2: NDArray, b_M2: NDArray, K: tuple[NDArray, NDArray], w2c: tuple[NDArray, NDArray]
) -> NDArray[np.float64]:
    """Sampson distance [M] in pixels of matches a, b to the epipolar geometry of two cameras."""
    from kornia.geometry import epipolar  # slow to import

    R, t = zip(*((m[None, :3, :3], m[None, :3, 3:]) for m in map(_tensor, w2c)), strict=True)
    essential = epipolar.essential_from_Rt(R[0], t[0], R[1], t[1])
    fundamental = epipolar.fundamental_from_essential(essential, *(_tensor(k)[None] for k in K))
    distance = epipolar.sampson_epipolar_distance(
        _tensor(a_M2)[None], _tensor(b_M2)[None], fundamental, squared=False
    )
    return distance[0].numpy()


def _tensor(x: NDArray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, np.float64))


def epipolar_errors(frames_VTHWC: NDArray, K_V33: NDArray, w2c_V44: NDArray) -> list[NDArray]:
    """Sampson errors of all matches, one array a pair of neighbouring views and looked-at time.

    Pairs of views from one and the same place have no epipolar geometry and are left out.
    """
    centres = camera_centres(w2c_V44)
    apart = np.linalg.norm(np.diff(centres, axis=0), axis=-1) > 1e-6
    errors = []
    for t in scored_times(frames_VTHWC.shape[1]):
        found = [find_keypoints(frame) for frame in frames_VTHWC[:, t]]
        for v in np.flatnonzero(apart):
            a, b = match(found[v], found[v + 1])
            cameras = (K_V33[v], K_V33[v + 1]), (w2c_V44[v], w2c_V44[v + 1])
            errors.append(sampson_error(a, b, *cameras) if len(a) else np.zeros(0))
    return errors


def epipolar_summary(errors: list[NDArray]) -> dict[str, float | None]:
    """`sampson_px`: median over all matches; `matches`: their mean number a pair of views."""
    if not errors:
        return {"sampson_px": None, "matches": None}
    every = np.concatenate(errors)
    median = float(np.median(every)) if len(every) else None
    return {"sampson_px": median, "matches": len(every) / len(errors)}
