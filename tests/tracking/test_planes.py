"""Planes carry on where there is nothing to match, and take nothing that lies elsewhere."""

import numpy as np
import pytest

from fourreal.cameras import invert, pixel_grid, transform, unproject
from tests.tracking.textured_room import at_angles, render_path
from tracking.depth import dense, planes
from tracking.depth.found_planes import find_planes, planes_of
from tracking.depth.lifted import lifted, within
from tracking.depth.neighbours import neighbours
from tracking.depth.planes import (
    parts_of,
    put_on_planes,
    sunk_below,
)
from tracking.depth.witnesses import Witnesses

VIEWS = 5


@pytest.fixture(scope="module")
def room():
    """Frames, 1/z, K, w2c of a room with blank paper on its floor; where paper and box are."""
    made = render_path(at_angles(np.linspace(-20, 20, VIEWS)))
    made.depth[~np.isfinite(made.depth)] = 30.0  # past the wall's end
    K = np.broadcast_to(made.K, (VIEWS, 3, 3)).copy()
    frames = made.frames.copy()
    paper, box = np.zeros((2, *made.depth.shape), bool)
    for v, depth in enumerate(made.depth):
        at = unproject(pixel_grid(*depth.shape).reshape(-1, 2), depth.ravel(), K[v])
        world = transform(invert(made.w2c[v]), at).reshape(*depth.shape, 3)
        spot = np.hypot(world[..., 0], world[..., 2] + 0.4) < 0.7
        box[v] = (world[..., 1] < 0.95) & (world[..., 2] < 2)
        paper[v] = spot & (np.abs(world[..., 1] - 1.0) < 1e-3)
    # the lamp's shading stands still in the picture
    frames[paper] = (0.8 + 0.03 * np.mgrid[0:72, 0:96][0] / 72)[..., None].repeat(3, -1)[
        np.nonzero(paper)[1:]
    ]
    return frames, (1.0 / made.depth).astype(np.float32), K, made.w2c, paper, box


def test_wall_and_floor_are_found(room):
    _, rho, K, w2c, paper, _ = room
    planes = find_planes(rho, ~paper, K, w2c)
    assert len(planes) >= 2
    for normal in ([0, 0, 1], [0, 1, 0]):
        assert max(abs(plane[:3] @ normal) for plane in planes) > 0.999


def test_blank_paper_is_put_on_its_floor(room):
    frames, rho, K, w2c, paper, _ = room
    assert paper.mean() > 0.02
    wrong, trust = rho.copy(), np.ones_like(rho)
    wrong[paper], trust[paper] = 0.6 * rho[paper], 0.3
    near = neighbours(w2c, 4)
    out, believed = put_on_planes(wrong, trust, frames, K, w2c, near, 0.03)
    assert (np.abs(out / rho - 1)[paper] < 0.02).mean() > 0.95
    assert believed[paper].mean() > 0.4
    np.testing.assert_array_equal(out[~paper], rho[~paper])


def test_what_stands_on_the_floor_is_left_alone(room):
    frames, rho, K, w2c, _, box = room
    trust = np.ones_like(rho)
    doubtful = box.copy()
    doubtful[:, :, ::2] = False
    trust[doubtful] = 0.3
    near = neighbours(w2c, 4)
    out, _ = put_on_planes(rho, trust, frames, K, w2c, near, 0.03)
    assert (np.abs(out / rho - 1)[doubtful] < 0.03).mean() > 0.98


def test_what_would_lie_behind_the_floor_lies_on_it(room):
    frames, rho, K, w2c, paper, box = room
    floor = ~paper & ~box
    floor[:, :50] = False
    floor[:, :, :40] = floor[:, :, 60:] = False
    floor[[0, 1, 3, 4]] = False  # one view is wrong, the others see it
    assert floor.any()
    wrong, trust = rho.copy(), np.ones_like(rho)
    wrong[floor], trust[floor] = 0.8 * rho[floor], 0.3
    near = neighbours(w2c, 4)
    out, _ = put_on_planes(wrong, trust, frames, K, w2c, near, 0.03)
    assert (np.abs(out / rho - 1)[floor] < 0.02).mean() > 0.9


def test_chance_that_is_sure_below_the_floor_keeps_nothing_there(room):
    """In a shadow that turns, matches are sure by chance, in every view of another depth."""
    frames, rho, K, w2c, paper, box = room
    frames, floor = frames.copy(), np.zeros_like(paper)
    floor[:, 50:] = ~box[:, 50:]
    frames[floor] = (0.4 + 0.2 * frames[floor].mean(-1, keepdims=True)) * (1, 0.5, 0.3)
    shadow = ~paper & ~box
    shadow[:, :50] = False
    shadow[:, :, :40] = shadow[:, :, 60:] = False
    wrong, trust = rho.copy(), np.ones_like(rho)
    for v, share in enumerate((0.85, 0.7, 0.9, 0.75, 0.8)):
        wrong[v][shadow[v]] *= share
    trust[shadow & (np.arange(rho.shape[2]) % 2 == 0)] = 0.3
    near = neighbours(w2c, 4)
    out, _ = put_on_planes(wrong, trust, frames, K, w2c, near, 0.03)
    assert (np.abs(out / rho - 1)[shadow] < 0.02).mean() > 0.8


def test_what_was_filled_in_below_the_floor_is_lifted_onto_it(room):
    frames, rho, K, w2c, paper, box = room
    hole = ~paper & ~box
    hole[:, :50] = False
    hole[:, :, :40] = hole[:, :, 60:] = False
    found, trust = planes_of(rho, np.ones_like(rho), frames, K, w2c), np.ones_like(rho)
    one = hole.copy()
    one[[0, 1, 3, 4]] = False  # one view fills in something below, the others see the floor
    filled = np.where(one, 0.8 * rho, rho)
    trust[one] = 0.0
    out, believed = lifted(filled, trust, found, Witnesses(frames, K, w2c))
    assert (np.abs(out / rho - 1)[one] < 0.02).mean() > 0.9
    assert believed[one].mean() > 0.15
    assert (out == rho)[~one].mean() > 0.999  # but for a pixel at the wall's end
    deep = np.where(hole, 0.8 * rho, rho)  # all of them look into a hole
    out, _ = lifted(deep, np.ones_like(rho), found, Witnesses(frames, K, w2c))
    assert (out == deep)[hole].mean() > 0.9


def test_what_is_beside_a_plane_is_not_within_it():
    plane, mask = np.zeros((2, 40, 40), bool)
    plane[:, :20] = True
    mask[10:14, 8:12] = mask[20:24, 18:22] = mask[30:34, 30:34] = True
    plane &= ~mask
    kept = within(mask, plane)
    assert kept[:25].sum() == 32 and not kept[25:].any()


def test_sides_of_a_thing_before_nothing_lift_nothing(room, monkeypatch):
    frames, rho, K, w2c, _, _ = room
    asked = []

    def noted(rho, trust, *_):
        asked.append(len(rho))
        return rho, trust

    monkeypatch.setattr(dense, "lifted", noted)
    blank, margin = np.zeros(rho.shape, bool), np.ones_like(rho)
    blank[:, :10] = True
    for backdrop in (blank, None):
        dense.settle(rho, 0 * rho, margin, frames, K, w2c, dense.DepthConfig(), backdrop)
        assert len(asked) == (backdrop is None)


def test_two_views_do_not_say_what_is_below_the_floor(room, monkeypatch):
    """Of two views, one other is sure at most, of what is really there as well."""
    frames, rho, K, w2c, _, _ = room
    asked = []

    def noted(plane, *_):
        asked.append(plane)
        return np.zeros(plane.shape, bool)

    monkeypatch.setattr(planes, "sunk_below", noted)
    for views, near in (([1, 3], [[1], [0]]), (range(VIEWS), [[2]] * VIEWS)):
        assert not asked
        some = list(views)
        trust = np.ones_like(rho[some])
        put_on_planes(rho[some], trust, frames[some], K[some], w2c[some], near, 0.03)
    assert asked


def test_three_views_say_it_where_most_of_what_one_is_sure_of_others_are_too():
    """Three cameras 20 degrees apart: a fourth of it lies where only two of them look."""
    sure, solid = np.ones((3, 4, 10), bool), np.full((3, 4, 10), 2.0)
    solid[:, :, :3] = 1.0
    assert planes.many_are_sure(sure, solid)
    solid[:, :, :6] = 1.0
    assert not planes.many_are_sure(sure, solid)


def test_whether_many_are_sure_is_asked_of_what_they_saw_alone(room, monkeypatch):
    """What is put on a plane is sure in one view at a time, so later rounds would deny it."""
    frames, rho, K, w2c, _, _ = room
    said, sunk = [], []

    def first_alone(sure, solid):
        said.append(not said)
        return said[-1]

    def noted(plane, *_):
        sunk.append(plane)
        return np.zeros(plane.shape, bool)

    monkeypatch.setattr(planes, "many_are_sure", first_alone)
    monkeypatch.setattr(planes, "sunk_below", noted)
    near = neighbours(w2c, 4)
    put_on_planes(rho, np.ones_like(rho), frames, K, w2c, near, 0.03)
    assert said == [True]
    found = planes_of(rho, np.ones_like(rho), frames, K, w2c).there_PVHW
    assert len(sunk) == planes._ROUNDS * VIEWS * len(found)


def test_far_views_object_to_a_wrong_depth_alone(room):
    frames, rho, K, w2c, _, box = room
    trust = np.ones_like(rho)
    witnesses = Witnesses(frames, K, w2c)
    right = witnesses.votes(2, rho[2], rho, trust)
    assert right.other.mean() < 0.1 and right.solid.mean() > 2
    nearer = witnesses.votes(2, 1.5 * rho[2], rho, trust)
    assert nearer.against[~box[2]].mean() > 3 * right.against[~box[2]].mean()
    assert nearer.solid.mean() < 0.5
    # what the views have before it hides it: they say nothing of its colour
    behind = witnesses.votes(2, 0.5 * rho[2], rho, trust)
    assert (behind.alike + behind.other).mean() < 0.5
    some = np.zeros(rho[2].shape, bool)
    some[::3, ::5] = True
    asked = witnesses.votes(2, rho[2], rho, trust, some)
    np.testing.assert_array_equal(asked.alike, np.where(some, right.alike, 0))


def test_few_sure_pixels_make_no_plane(room):
    _, rho, K, w2c, _, _ = room
    sure = np.zeros(rho.shape, bool)
    sure[:, 60:63, 40:60] = True  # less than a hundredth of the pictures
    assert find_planes(rho, sure, K, w2c) == []


def test_the_sky_over_hills_behind_a_wall_is_not_put_on_the_wall(room):
    frames, rho, K, w2c, _, _ = room
    frames, truth = frames.copy(), rho.copy()
    sky, hills = np.zeros((2, *rho.shape), bool)
    rng = np.random.default_rng(0)
    tones = rng.random((400, 400, 3)).astype(np.float32)
    for v in range(VIEWS):
        grid = pixel_grid(*rho.shape[1:])
        at = unproject(grid.reshape(-1, 2), (1 / rho[v]).ravel(), K[v])
        height = transform(invert(w2c[v]), at).reshape(*rho.shape[1:], 3)[..., 1]
        ray = unproject(grid, np.ones(rho.shape[1:]), K[v]) @ w2c[v, :3, :3]
        way = ray / np.linalg.norm(ray, axis=-1, keepdims=True)
        spot = np.floor(20 * way[..., :2] + 200).astype(int)
        # in two of the views, the wall hides most of the hills
        hidden = (np.arange(rho.shape[2]) < 60) & (v < 2)
        sky[v] = height < np.where(hidden, -0.2, -0.5)
        hills[v] = (height < -0.2) & ~sky[v]
        frames[v][sky[v]] = 0.8
        frames[v][hills[v]] = tones[spot[..., 0], spot[..., 1]][hills[v]]
    assert sky.mean() > 0.02 and hills.mean() > 0.02
    truth[sky | hills] = 1 / 30
    trust = np.where(sky, 0.3, 1.0).astype(np.float32)
    near = neighbours(w2c, 4)
    out, _ = put_on_planes(truth, trust, frames, K, w2c, near, 0.03)
    assert (out[sky] > 0.5 * rho[sky]).mean() < 0.05


def test_a_blank_part_goes_as_a_whole_where_views_object_less():
    image = np.zeros((20, 90, 3), np.float32)
    image[:, 30:60] = 0.5
    parts = parts_of(np.ones((20, 90), bool), image)
    objected, there = np.zeros((2, 20, 90), bool)
    objected[:8, :30] = objected[:1, 30:60] = objected[:8, 60:] = True  # much, little, much
    there[:2, :30] = there[:6, 60:] = True  # far less there, hardly less
    torn = parts.torn(objected, there)
    assert torn[2:, :28].all() and not torn[:2].any()  # but for what is objected to there
    assert not torn[:, 30:].any()


def test_shares_of_parts_are_those_of_the_part_a_pixel_is_in():
    image = np.zeros((12, 20, 3), np.float32)
    image[:, 10:] = 0.5
    parts = parts_of(np.ones((12, 20), bool), image)
    mask = np.zeros((12, 20), bool)
    mask[:3, :5] = True
    share = parts.shares(mask)
    assert share[6, 2] == pytest.approx(15 / (12 * 9))  # the step in colour is in neither part
    assert (share[:, 9:] == 0).all()


def test_what_nobody_is_sure_of_does_not_show_through_a_plane_of_its_colours():
    plane, rho = np.full((1, 5), 1.0), np.array([[0.9, 0.9, 0.9, 0.99, 1.2]])
    same, solid = np.array([[0.8, 0.1, 0.8, 0.8, 0.8]]), np.array([[1, 0, 2, 0, 0]])
    # one; of another colour, seen by two, as good as on it, before it
    assert sunk_below(plane, rho, same, solid).tolist() == [[True, False, False, False, False]]
