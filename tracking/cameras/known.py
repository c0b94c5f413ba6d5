"""Cameras that are given are trusted: what they are used for is where the scene lies.

Dense depth comes from a sweep along the epipolar lines, which needs only a range of depths. That
range is found from followed points and from sparse matches that are looked for on the epipolar
lines alone, so it does not depend on flow between cameras that are far apart or unlike.

Legend: V views; pixels are working pixels (tracking.flow.optical) with centres at +0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from fourreal.cameras import camera_centres, relative_pose, unproject
from fourreal.epipolar import fundamental
from tracking.cameras.bundle import Observations, Solution, refine, triangulate
from tracking.flow.optical import PairFlows
from tracking.flow.sparse import features


class CamerasDisagree(Exception):
    """The pictures do not show what the given cameras say; the message gives the figures."""


@dataclass(frozen=True)
class KnownConfig:
    """Matching along the epipolar lines of given cameras."""

    line_px: float = 2.0  # of a 512-pixel picture: how far from its line a match may lie
    ratio: float = 0.8  # of the descriptor distances of the best and the second place on a line
    features: int = 4000
    aside_px: float = 12.0  # lines moved by this show how many matches chance gives
    all_pairs_up_to: int = 6  # views; more are matched with their four neighbours
    min_angle_deg: float = 0.3  # between the two rays of a point


def common_pixels(uv: np.ndarray, view: np.ndarray, K_V: np.ndarray, K: np.ndarray) -> np.ndarray:
    """uv [N, 2] of the views [N] with intrinsics K_V [V, 3, 3] as a camera K [3, 3] sees them."""
    turn = K @ np.linalg.inv(K_V)
    homogeneous = np.concatenate([uv, np.ones((len(uv), 1))], 1)
    out = np.einsum("nij,nj->ni", turn[view], homogeneous)
    return out[:, :2] / out[:, 2:]


def in_one_camera(
    obs: Observations, K_V: np.ndarray, focal: float, centre: np.ndarray
) -> Observations:
    """The observations as cameras of one focal length and centre would have made them.

    K_V [V, 3, 3] in working pixels: lenses and principal points may differ, pixels be oblong.
    """
    K = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1.0]])
    if np.abs(K_V - K).max() < 1e-6 * focal:
        return obs
    return Observations(
        obs.anchor,
        common_pixels(obs.anchor_uv, obs.anchor, K_V, K),
        obs.track,
        obs.view,
        common_pixels(obs.uv, obs.view, K_V, K),
    )


def working_cameras(pairs: PairFlows, K: np.ndarray) -> np.ndarray:
    """K [V, 3, 3] of the frames in working pixels."""
    return K * np.array([pairs.scale[0], pairs.scale[1], 1.0])[:, None]


def matches_on_lines(
    a: tuple[np.ndarray, np.ndarray | None],
    b: tuple[np.ndarray, np.ndarray | None],
    F: np.ndarray,
    line_px: float,
    ratio: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of mutual matches of features (uv, RootSIFT) that lie near each other's lines."""
    none = np.zeros(0, int), np.zeros(0, int)
    if a[1] is None or b[1] is None or len(a[0]) < 2 or len(b[0]) < 2:
        return none
    x = np.concatenate([a[0], np.ones((len(a[0]), 1))], 1)
    y = np.concatenate([b[0], np.ones((len(b[0]), 1))], 1)
    line_b, line_a = x @ F.T, y @ F
    off = np.abs(line_b @ y.T)
    off_b = off / np.maximum(np.linalg.norm(line_b[:, :2], axis=1)[:, None], 1e-12)
    off_a = off / np.maximum(np.linalg.norm(line_a[:, :2], axis=1)[None], 1e-12)
    similarity = np.where(np.maximum(off_a, off_b) < line_px, a[1] @ b[1].T, -1.0)
    best, back = similarity.argmax(1), similarity.argmax(0)
    rows = np.arange(len(best))
    top = similarity[rows, best]
    # the second place must be another one: SIFT repeats a point at several scales and angles
    apart = np.linalg.norm(b[0][None] - b[0][best][:, None], axis=-1) > 3.0
    second = np.where(apart, similarity, -1.0).max(1)
    near, next_ = np.sqrt(np.maximum(2 - 2 * top, 0)), np.sqrt(np.maximum(2 - 2 * second, 0))
    keep = (top > 0.5) & (back[best] == rows) & (near < ratio * next_)
    return rows[keep], best[keep]


def points_of_pair(
    x: np.ndarray, y: np.ndarray, K_a: np.ndarray, K_b: np.ndarray, w2c_a: np.ndarray,
    w2c_b: np.ndarray, min_angle_deg: float,
) -> np.ndarray:  # fmt: skip
    """World points [M, 3] where the rays of pixels x and y [N, 2] meet in front of both cameras."""
    directions = []
    for uv, K, w2c in ((x, K_a, w2c_a), (y, K_b, w2c_b)):
        ray = unproject(uv, np.ones(len(uv)), K) @ w2c[:3, :3]
        directions.append(ray / np.linalg.norm(ray, axis=1, keepdims=True))
    p, q = directions
    start, other = camera_centres(w2c_a), camera_centres(w2c_b)
    apart = other - start
    cosine = (p * q).sum(1)
    span = np.maximum(1 - cosine**2, 1e-12)
    s = (p @ apart - cosine * (q @ apart)) / span
    t = (cosine * (p @ apart) - q @ apart) / span
    good = (s > 0) & (t > 0) & (np.sqrt(span) > np.sin(np.radians(min_angle_deg)))
    middle = 0.5 * (start + s[:, None] * p + other + t[:, None] * q)
    return middle[good]


@dataclass
class SparseAgreement:
    """Matches on the epipolar lines of given cameras, and how many chance alone would give.

    points [M, 3] in the world; by_chance: as many as lie on lines moved aside, where no point is.
    """

    points: np.ndarray
    by_chance: float

    @property
    def holds(self) -> bool:
        """More points than chance explains, by three standard deviations and a fifth."""
        chance = self.by_chance
        return len(self.points) > max(1.2 * chance, chance + 3.0 * np.sqrt(chance)) + 12


def epipolar_pairs(
    K: np.ndarray, w2c: np.ndarray, all_up_to: int
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Pairs of views (a, b), a < b, from different places, and their fundamental matrix; of more
    than ``all_up_to`` views only near neighbours."""
    for a, b in combinations(range(len(w2c)), 2):
        if len(w2c) > all_up_to and b - a > 2:
            continue
        move = relative_pose(w2c[a], w2c[b])
        if np.linalg.norm(move[:3, 3]) >= 1e-9:
            yield a, b, fundamental(K[a], K[b], move)


def sparse_points(
    pairs: PairFlows, K: np.ndarray, w2c: np.ndarray, config: KnownConfig | None = None
) -> SparseAgreement:
    """World points of sparse matches on the epipolar lines; K [V, 3, 3] in working pixels."""
    config = config or KnownConfig()
    found = [features(gray, config.features) for gray in pairs.gray_Vhw]
    line = config.line_px * max(pairs.size) / 512.0
    out, by_chance = [np.zeros((0, 3))], 0.0
    for a, b, F in epipolar_pairs(K, w2c, config.all_pairs_up_to):

        def met(F: np.ndarray, a: int = a, b: int = b) -> np.ndarray:
            i, j = matches_on_lines(found[a], found[b], F, line, config.ratio)
            x, y = found[a][0][i], found[b][0][j]
            return points_of_pair(x, y, K[a], K[b], w2c[a], w2c[b], config.min_angle_deg)

        out.append(met(F))
        across = F @ np.array([pairs.size[1] / 2, pairs.size[0] / 2, 1.0])
        step = config.aside_px * across[:2] / max(float(np.linalg.norm(across[:2])), 1e-12)
        counts = []
        for side in (1, -1):
            back = np.array([[1, 0, -side * step[0]], [0, 1, -side * step[1]], [0, 0, 1.0]])
            counts.append(len(met(back.T @ F)))
        by_chance += float(np.mean(counts))
    return SparseAgreement(np.concatenate(out), by_chance)


def without_strays(points: np.ndarray, w2c: np.ndarray) -> np.ndarray:
    """Points [M, 3] but those much nearer, or much farther, than nineteen in twenty.

    A wrong match on the right line is a wrong depth, and few of them would set the range.
    """
    keep = np.ones(len(points), bool)
    for matrix in w2c:
        z = points @ matrix[2, :3] + matrix[2, 3]
        front = z > 1e-6
        if front.sum() < 20:
            continue
        rho = 1.0 / z[front]
        low, high = np.percentile(rho, [5, 95])
        keep[front] &= (rho > 0.5 * low) & (rho < 2.0 * high)
    return points[keep]


def known_points(
    pairs: PairFlows,
    followed_obs: Observations,
    central: int,
    K: np.ndarray,
    w2c: np.ndarray,
    outlier_px: float,
    world_points: Callable[[Solution, Observations], np.ndarray],
    pinhole: tuple[float, np.ndarray],
) -> np.ndarray:
    """World points [M, 3] of a clip whose cameras K [V, 3, 3], w2c [V, 4, 4] are given.

    Followed points first; where too few agree with the cameras, sparse matches along the epipolar
    lines. followed_obs: points of `follow`; pinhole: the (focal, centre) in working pixels that
    they are brought to.

    Raises CamerasDisagree when chance explains all that agrees.
    """
    own = working_cameras(pairs, K)
    focal, centre = pinhole
    obs = in_one_camera(followed_obs, own, focal, centre)
    rotation, translation = w2c[:, :3, :3], w2c[:, :3, 3]
    registered = np.ones(pairs.views, bool)
    rho = triangulate(obs, rotation, translation, focal, centre, registered)
    start = Solution(rotation, translation, focal, rho, np.empty(0), np.inf, registered)
    solution = refine(
        obs, start, centre, central, fixed_focal=True, fixed_cameras=True, iterations=15
    )
    solution.residual[~(solution.residual < outlier_px)] = np.nan
    points = world_points(solution, obs)
    followed = len(np.unique(obs.track[np.isfinite(solution.residual)]))
    if followed < 0.3 * max(len(obs.anchor), 1) or len(points) < 200:
        # few followed points among many wrong ones agree by chance
        sparse = sparse_points(pairs, own, w2c)
        if sparse.holds:
            return without_strays(sparse.points, w2c)
        if followed < 0.3 * max(len(obs.anchor), 1) or len(points) < 12:
            raise CamerasDisagree(
                f"{len(sparse.points)} matches agree with the given cameras, "
                f"{sparse.by_chance:.0f} would by chance"
            )
    return points
