"""Where the adjustment of cameras starts: what far views share may be what moves on its own."""

from dataclasses import replace

import numpy as np

from scripts.evaluate.tracking_scores import camera_errors
from tests.tracking.textured_room import at_angles
from tracking.cameras.bundle import Observations
from tracking.cameras.poses import PoseConfig, focal_of_fov, solve_poses
from tracking.flow.optical import PairFlows

SIZE, VIEWS, CENTRAL = (144, 192), 11, 5
STILL, RUN = 80, 17  # points that start in a view


def a_runner_in_a_plain_room() -> tuple[PairFlows, Observations, np.ndarray]:
    """Points of the room are followed to the next views alone, the runner's through the clip."""
    rng = np.random.default_rng(4)
    w2c = at_angles(np.linspace(-30, 30, VIEWS))
    focal = focal_of_fov(55.0, SIZE)
    rows: list[tuple[np.ndarray, ...]] = []
    tracks = 0
    for anchor in range(VIEWS):
        still = rng.uniform([-1.5, -1.2, 1.2], [1.5, 0.9, 2.5], (STILL, 3))
        runner = rng.uniform([-0.2, -0.4, -0.2], [0.2, 0.5, 0.2], (RUN, 3))
        points, reach = np.concatenate([still, runner]), np.repeat([2, VIEWS], [STILL, RUN])
        swing = np.zeros((len(points), 3))
        swing[STILL:] = 0.25 * rng.normal(size=(RUN, 3))
        for v in range(VIEWS):
            moved = points + swing * np.sin(1.3 * v + np.arange(len(points)))[:, None]
            seen = moved @ w2c[v][:3, :3].T + w2c[v][:3, 3]
            uv = focal * seen[:, :2] / seen[:, 2:] + np.array(SIZE[::-1]) / 2
            use = (np.abs(v - anchor) <= reach) & ((uv > 0) & (uv < SIZE[::-1])).all(1)
            rows.append((
                np.full(use.sum(), anchor), tracks + np.flatnonzero(use), np.full(use.sum(), v),
                uv[use],
            ))  # fmt: skip
        tracks += len(points)
    anchor, track, view, uv = (np.concatenate(column) for column in zip(*rows, strict=True))
    own = view == anchor
    place, of = np.full((tracks, 2), np.nan), np.zeros(tracks, int)
    place[track[own]], of[track[own]] = uv[own], anchor[own]
    use = ~own & np.isfinite(place[track, 0])
    uv = uv + 0.1 * rng.normal(size=uv.shape)
    obs = Observations(of, np.nan_to_num(place), track[use], view[use], uv[use])
    return PairFlows(SIZE, (1.0, 1.0), np.zeros((VIEWS, *SIZE), np.uint8)), obs, w2c


def test_nearer_pairs_start_where_the_widest_share_a_runner_alone():
    pairs, obs, w2c = a_runner_in_a_plain_room()
    found = solve_poses(pairs, obs, CENTRAL)
    assert found.registered.all()
    assert camera_errors(found.w2c, w2c)["rotation_max_deg"] < 1.0
    few = solve_poses(pairs, obs, CENTRAL, config=replace(PoseConfig(), start_pairs=(2, 2)))
    assert camera_errors(few.w2c, w2c)["rotation_max_deg"] > 10.0  # the two widest alone mislead
