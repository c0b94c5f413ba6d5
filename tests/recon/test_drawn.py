"""A step of a fit by kernels alone: its loss and slopes are those of the long way."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recon.config import FitConfig
from recon.fit import drawn, drawn_kernels
from recon.fit.scene_fit import JointFit
from recon.motion import follow
from recon.motion.follow import FrameFlow
from recon.motion.knots import KnotOffsets
from recon.motion.spread import Spreader
from recon.raster.cpu.project import CULLED
from recon.sheen import seen_from
from tests.recon.scenes import moving_square, tiny_scene
from tests.recon.test_place import moving
from tracking.flow.trusted import trusted_flow

POINTS = 60
CASES = {
    "round": set(),
    "round and moving": {"motion", "poses"},
    "long": {"long", "poses"},
    "long and turning": {"long", "motion", "turns", "shade", "poses", "visibility"},
    "seen from somewhere": {"long", "sheen", "compensation", "masks"},
    "between stamps": {"long", "motion", "turns", "shade", "visibility", "between"},
}


def a_fit(has: set[str]) -> JointFit:
    scene = tiny_scene(n=POINTS, times=4, views=3)
    g = torch.Generator().manual_seed(4)
    if "compensation" not in has:
        scene.view_offsets = torch.zeros_like(scene.view_offsets)
    if "long" in has:
        scene = scene.anisotropic()
        scene.log_stretch = 0.5 * torch.randn(POINTS, 3, generator=g)
        scene.rotations = torch.randn(POINTS, 4, generator=g)
    if "turns" in has:
        scene.node_turns = torch.zeros_like(scene.node_offsets)
    if "visibility" in has:
        scene = replace(scene, visibility=torch.rand(4, POINTS, generator=g))
    if "sheen" in has:
        sheen = 0.3 * torch.randn(POINTS, 3, 3, generator=g)
        scene = replace(scene, sheen=sheen, sheen_from=seen_from(scene.means, scene.w2c))
    frames = torch.rand(3, 4, *scene.size, 3, generator=g)
    masks = {}
    if "masks" in has:
        some = torch.rand(2, 3, *scene.size, generator=g) > 0.7
        masks = {"ignored": some[0], "empty": some[1]}
    motion = moving("nodes", scene) if "motion" in has else None
    places = None
    if "between" in has:
        motion, places = KnotOffsets(motion, scene.times.tolist()), [0.0, 0.4, 1.0, 2.5]
    fit = JointFit(
        scene, frames, FitConfig(), motion, shade="shade" in has, poses="poses" in has,
        places_T=places, **masks,
    )  # fmt: skip
    with torch.no_grad():
        for values in (*fit.parameters.shade[1:], *fit.parameters.turns[1:]):
            values.copy_(0.3 * torch.randn(values.shape, generator=g))
    return fit


def slopes(fit: JointFit, cell, by_kernels: bool, only=None):
    fit.optimiser.zero_grad()
    fit._by_kernels = by_kernels
    value = fit.loss(cell, only)
    value.backward()
    named = fit.parameters.named().items()
    return float(value.detach()), {n: p.grad.clone() for n, p in named if p.grad is not None}


@pytest.mark.parametrize("case", CASES)
def test_slopes_are_those_of_the_long_way(case):
    has = CASES[case]
    fit = a_fit(has)
    seen = set()
    for cell in [(0, 0), (1, 1), (2, 3)]:
        value, ours = slopes(fit, cell, True)
        expected, theirs = slopes(fit, cell, False)
        assert value == pytest.approx(expected, rel=1e-5)
        assert ours.keys() == theirs.keys()
        for name, grad in theirs.items():
            scale = float(grad.abs().max()) + 1e-12
            torch.testing.assert_close(ours[name], grad, atol=2e-5 * scale, rtol=1e-4)
            seen |= {name.split(".")[0]} if grad.any() else set()
    assert {"means", "log_scales", "opacity_logits", "colors"} <= seen
    for what, name in (("motion", "motion"), ("turns", "turns"), ("shade", "shade")):
        assert (name in seen) == (what in has)
    assert ("rotations" in seen) == ("long" in has) and ("sheen" in seen) == ("sheen" in has)
    assert ("poses" in seen) == ("poses" in has)


def speck_fit(monkeypatch) -> tuple[JointFit, list[int]]:
    """Ten points in a corner of a large picture that follow nodes, fifty around that do not."""
    fit = a_fit({"motion"})
    scene = fit.scene
    height, width = 120, 200
    scene.size = height, width
    scene.K[:, 0, 2], scene.K[:, 1, 2] = width / 2, height / 2
    uv = np.random.default_rng(0).uniform([5, 5], [width - 5, height - 5], (POINTS, 2))
    uv[:10] = np.random.default_rng(1).uniform([20, 20], [35, 35], (10, 2))
    focal = float(scene.K[0, 0, 0])
    places = np.c_[(uv - [width / 2, height / 2]) * 4 / focal, np.full(POINTS, 4.0)]
    scene.means = torch.from_numpy(places.astype(np.float32))
    scene.log_scales = torch.full((POINTS,), float(np.log(8 / focal)))
    scene.w2c = torch.eye(4).repeat(3, 1, 1)
    weights = scene.node_weights.clone()
    weights[10:] = 0
    scene = replace(scene, node_weights=weights)
    frames = torch.rand(3, 4, height, width, 3, generator=torch.Generator().manual_seed(2))
    fit = JointFit(scene, frames, FitConfig(), moving("nodes", scene))
    with torch.no_grad():
        for raw in fit.motion.raw:
            raw.mul_(0.05)
    shown: list[int] = []
    loss_of = drawn.loss_and_slopes

    def watched(shown_HW3, *rest):
        shown.append(shown_HW3.shape[0] * shown_HW3.shape[1])
        return loss_of(shown_HW3, *rest)

    monkeypatch.setattr(drawn, "loss_and_slopes", watched)
    return fit, shown


def test_less_is_drawn_where_the_slopes_of_some_are_asked_for(monkeypatch):
    fit, shown = speck_fit(monkeypatch)
    only = fit.spread.follow(torch.ones(fit.motion.nodes))
    assert only[:10].all() and not only[10:].any()
    _, whole = slopes(fit, (0, 1), True)
    _, part = slopes(fit, (0, 1), True, only)
    assert torch.equal(part["motion.raw.1"], whole["motion.raw.1"]) and whole["motion.raw.1"].any()
    for name in ("means", "colors", "opacity_logits"):
        assert torch.equal(part[name][:10], whole[name][:10])
    far = whole["colors"].abs().sum(1) > part["colors"].abs().sum(1)
    assert far[10:].sum() > 30
    assert shown[1] < 0.2 * 120 * 200 < 0.8 * 120 * 200 < shown[0]


def test_what_is_near_enough_is_kept():
    bits = np.zeros((4, 16), np.int32)
    #  columns, then rows: what counts; beside it; far right; culled before
    bits[:, 10:14] = [[40, 44, 30, 33], [50, 54, 36, 38], [100, 104, 30, 33], [41, 43, 30, 33]]
    keys = np.array([1, 2, 3, CULLED], np.uint32)
    only = np.array([True, False, False, True])
    box = drawn_kernels.cull_away_from(keys, bits, only, 10, 128, 64)
    assert box == (30, 54, 20, 43)
    assert keys.tolist() == [1, 2, CULLED, CULLED]
    assert drawn_kernels.cull_away_from(keys, bits, ~only, 10, 128, 64)[0] == 40
    nothing = np.full(4, CULLED, np.uint32)
    assert drawn_kernels.drawn_box(nothing, bits) == (0, 0, 0, 0)
    assert drawn_kernels.cull_away_from(nothing, bits, only, 10, 128, 64) == (0, 0, 0, 0)


def test_a_fit_of_which_nothing_is_in_sight_has_no_slopes():
    fit = a_fit({"motion"})
    with torch.no_grad():
        fit.parameters.means[:, 2] = -5.0
    value, found = slopes(fit, (0, 1), True)
    assert np.isfinite(value)
    assert not found["means"].any() and not found["colors"].any()


def test_points_that_follow():
    index, weights = (
        torch.tensor([[0, 1], [1, 2], [2, 0]]),
        torch.tensor([[1.0, 0], [0.5, 0.5], [0, 0]]),
    )
    spread = Spreader(index, weights, 3)
    assert spread.follow(torch.tensor([True, False, False])).tolist() == [True, False, False]
    assert spread.follow(torch.tensor([False, False, True])).tolist() == [False, True, False]
    assert spread.follow(torch.ones(3)).tolist() == [True, True, False]


def test_flow_is_found_once_for_both_ways(monkeypatch):
    frames, *_ = moving_square()
    found = []
    both = follow.trusted_both_ways
    monkeypatch.setattr(follow, "trusted_both_ways", lambda *a: found.append(1) or both(*a))
    flow = FrameFlow(torch.from_numpy(frames))
    for view, before, after in ((0, 0, 1), (0, 1, 0), (0, 0, 1), (1, 0, 1)):
        got, trust = flow(view, before, after)
        want, sure = trusted_flow(frames[view, before], frames[view, after])
        np.testing.assert_allclose(got, want, atol=0.01)
        np.testing.assert_allclose(trust, sure, atol=1e-3)
        assert got.dtype == trust.dtype == np.float32
    assert len(found) == 2
    monkeypatch.setattr(follow, "_FLOWS", 2)
    flow(1, 1, 2)
    flow(0, 0, 1)  # no longer kept
    assert len(found) == 4
