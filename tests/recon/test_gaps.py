"""Gaps beside the given views are closed as what is around them; no given view sees it."""

from dataclasses import replace

import numpy as np
import torch

from fourreal.cameras import Camera, look_at
from recon.canonical.build import build_canonical
from recon.canonical.gaps import (
    bordered,
    close_gaps,
    going_on,
    share_told,
    viewpoints_beside,
    without_crumbs,
)
from recon.canonical.unseen import unseen_from
from recon.config import CanonicalConfig
from recon.render import render_scene
from recon.sheen import seen_from
from tests.recon.scenes import column_from_depth, painted_planes, row_of_cameras

WALL, CARD = np.array([0.2, 0.5, 0.8]), np.array([0.9, 0.3, 0.1])
VIEWS, HEIGHT, WIDTH = 3, 120, 160


def card_before_a_wall():
    """Views side by side of a card before a wall: what it hides shows from above."""
    K, w2c = row_of_cameras(VIEWS, HEIGHT, WIDTH)
    w2c[:] = [look_at((x, 0, 0), (0, 0, 2), (0, -1, 0)) for x in (-0.05, 0, 0.05)]

    def wall(p):
        return np.ones(len(p), bool), np.tile(WALL, (len(p), 1))

    def card(p):
        return (np.abs(p) < 0.4).all(1), np.tile(CARD, (len(p), 1))

    frames, depth = painted_planes(K, w2c, 1, HEIGHT, WIDTH, lambda t: [(3.0, wall), (2.0, card)])
    column = column_from_depth(frames[:, 0], depth[:, 0], K, w2c, 1)
    config = CanonicalConfig(flat=0.0, plain_background=False)
    scene = build_canonical(frames[:, 0], column, config, np.zeros(1, "f4"))
    scene.opacity_logits[:] = 4.0
    return scene


def shown(scene, w2c):
    return render_scene(scene, 0.0, w2c, scene.K[1])


def test_what_a_card_hides_is_wall_from_above_and_below():
    scene = card_before_a_wall()
    closed = close_gaps(scene, range(VIEWS))
    assert len(closed) > len(scene)
    for y, rows in ((-0.4, slice(8, 60)), (0.4, slice(60, 112))):
        eye = look_at((0, y, 0), (0, 0, 2), (0, -1, 0))
        before, after = shown(scene, eye), shown(closed, eye)
        gap = (before.alpha < 0.5)[rows, 40:120]
        assert gap.sum() > 100
        rest = (after.alpha < 0.5)[rows, 40:120] & gap
        assert rest.sum() < 0.1 * gap.sum()
        colours = after.rgb[rows, 40:120][gap & ~rest]
        assert (colours - torch.tensor(WALL).float()).abs().mean() < 0.1


def test_what_is_added_lies_where_the_wall_goes_on_not_just_behind_the_card():
    scene = card_before_a_wall()
    closed = close_gaps(scene, range(VIEWS))
    kept = len(closed) - int((closed.opacity_logits != 4.0).sum())
    z = closed.means[kept:, 2]
    assert len(z) > 100 and z.median() > 2.8


def test_a_backdrop_that_shines_through_gives_a_sheet_no_colour():
    scene = card_before_a_wall()
    scene.opacity_logits[scene.means[:, 2] > 2.5] = -1.0  # of the wall
    scene.background = torch.tensor([1.0, 0.0, 0.0])
    kept = len(scene)
    added = close_gaps(scene, range(VIEWS)).colors[kept:]
    assert len(added) > 100
    assert (added - torch.tensor(WALL).float()).abs().mean() < 0.04


def test_what_is_there_half_tells_the_colour_of_a_sheet_but_not_what_is_before_it():
    alpha, depth = np.array([0.4, 0.4, 0.0]), np.array([3.0, 2.0, 0.0])
    np.testing.assert_array_equal(share_told(alpha, depth, np.full(3, 3.1)), [0.4, 0.0, 0.0])


def test_a_surface_goes_on_whatever_floats_before_it():
    rng = np.random.default_rng(0)
    off = np.concatenate([rng.uniform(0.2, 2, (1, 60, 1)), rng.uniform(-1, 1, (1, 60, 1))], -1)
    plane = 0.5 + off @ (0.05, -0.03)
    floats = np.arange(60) % 6 == 0
    values = np.where(floats, 1.25 * plane, plane)
    found, fits = going_on(off, values, np.ones((1, 60)))
    assert values.mean() > 0.57 and abs(found[0] - 0.5) < 0.025
    assert fits[0, floats].max() < 0.05 and fits[0, ~floats].mean() > 0.5


def test_gaps_are_looked_for_from_far_above_too():
    scene = card_before_a_wall()
    cameras = list(viewpoints_beside(scene, range(VIEWS)))
    down = np.degrees(np.arcsin([c.w2c[2, 1] for c in cameras]))
    assert down.max() > 20 and down.min() < -20
    assert (np.abs(down) < 15).sum() >= 2 * VIEWS  # and from near, first


def test_thin_parts_of_a_sheet_count_only_beside_what_was_made():
    sheet, end = np.zeros((40, 40)), np.full((40, 40), 4.0)
    sheet[10:30, 20] = 3.0
    made = np.zeros((40, 40), bool)
    assert not without_crumbs(sheet, end, made)[0].any()
    made[20:, :18] = True
    there, depth = without_crumbs(sheet, end, made)
    assert there[20:30, 20].all() and not there[:14].any()
    assert (depth[20:30, 20] == 3.0).all()


def test_a_gap_is_closed_between_what_is_known_and_not_where_the_scene_ends():
    gap, known = np.zeros((40, 60), bool), np.ones((40, 60), bool)
    gap[15:25, 10:20] = gap[15:25, 40:50] = True
    known[:, 42:] = False
    known[gap] = False
    kept = bordered(gap, known)
    assert kept[:, :30].sum() == 100 and not kept[:, 30:].any()


def test_given_views_stay_as_they_are():
    scene = card_before_a_wall()
    closed = close_gaps(scene, range(VIEWS))
    for v in range(VIEWS):
        off = shown(scene, scene.w2c[v]).rgb - shown(closed, scene.w2c[v]).rgb
        assert off.abs().mean() < 1.5e-3
        assert off.abs().max() < 0.15


def test_what_no_view_shows_is_gone():
    scene = card_before_a_wall()
    behind = torch.tensor([[0.0, 0.0, 2.5], [0.05, 0.0, 2.6]]).numpy()
    black = np.zeros((2, 3), np.float32)
    more = scene.with_points(behind, black, np.full(2, 0.01))
    closed = close_gaps(more, range(VIEWS))
    apart = torch.cdist(closed.means, torch.from_numpy(behind)).amin()
    assert apart > 1e-3 and len(closed) > len(scene)


def test_points_that_are_added_have_all_that_a_fit_needs():
    scene = card_before_a_wall().anisotropic()
    sheen = torch.zeros(len(scene), 3, 3)
    scene = replace(scene, sheen=sheen, sheen_from=seen_from(scene.means, scene.w2c))
    closed = close_gaps(scene, range(VIEWS))
    assert len(closed) > len(scene)
    assert len(closed.sheen) == len(closed.log_stretch) == len(closed.rotations) == len(closed)


def test_a_ray_is_unknown_from_behind_what_hides_it_from_all():
    K = np.array([[20.0, 0, 10], [0, 20.0, 10], [0, 0, 1]])
    view = Camera(np.eye(4), K, (20, 20))
    beside = np.full((20, 20), 2.0, np.float32)
    end = np.full((20, 20), 4.0)
    found = unseen_from(view, end, 1.0, [beside] * 2, np.stack([K] * 2), np.stack([np.eye(4)] * 2))
    assert ((found > 2.0) & (found < 2.2)).all()
    free = np.full((20, 20), np.inf, np.float32)
    assert not unseen_from(
        view, end, 1.0, [beside, free], np.stack([K] * 2), np.stack([np.eye(4)] * 2)
    ).any()


def test_what_a_view_sees_through_the_shadow_of_something_is_no_gap():
    """Past the back of a card one sees the wall beside its shadow: there is air in between."""
    K = np.array([[20.0, 0, 10], [0, 20.0, 10], [0, 0, 1]])
    card = np.full((20, 20), 4.0, np.float32)
    card[:, :10] = 2.0
    aside = np.eye(4)
    aside[0, 3] = 2.0
    view = Camera(aside, np.array([[10.0, 0, 10], [0, 10.0, 10], [0, 0, 1]]), (20, 20))
    known = [card] * 2, np.stack([K] * 2), np.stack([np.eye(4)] * 2)
    end = np.full((20, 20), 4.0)
    anywhere = unseen_from(view, end, 1.0, *known)
    found = unseen_from(view, end, 1.0, *known, np.ones((20, 20), bool))
    assert (anywhere[6:14, 16:19] > 2.0).all() and not found[6:14, 16:19].any()
    assert (found[6:14, 12:14] > 2.0).all()
