"""Gibbs vectors turn as rotation matrices do, and the shapes of a scene turn with its nodes."""

import pytest
import torch

from recon.config import FitConfig
from recon.fit.scene_fit import JointFit
from recon.motion.offsets import FreeOffsets
from recon.motion.rigidity import rotations
from recon.motion.turning import _by_torch, composed, turn_between, turned
from recon.render import render_scene
from tests.recon.scenes import tiny_scene


def matrices(quaternions):
    """Rotation matrices [N,3,3] of quaternions [N,4] (w, x, y, z) of any length."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=1).unbind(1)
    half = torch.stack(
        [
            *(0.5 - y * y - z * z, x * y - w * z, x * z + w * y),
            *(x * y + w * z, 0.5 - x * x - z * z, y * z - w * x),
            *(x * z - w * y, y * z + w * x, 0.5 - x * x - y * y),
        ],
        1,
    )
    return 2 * half.unflatten(1, (3, 3))


def vectors(seed, reach):
    """Rotation vectors [9,3] of random axes, by up to ``reach`` rad, and their Gibbs vectors."""
    g = torch.Generator().manual_seed(seed)
    axis = torch.nn.functional.normalize(torch.randn(9, 3, generator=g), dim=1).double()
    angle = reach * torch.linspace(0.1, 1, 9).double()[:, None]
    return axis * angle, axis * torch.tan(angle / 2)


def test_quaternions_turn_as_matrices_do():
    vector, gibbs = vectors(0, 2.5)
    own = torch.randn(9, 4, generator=torch.Generator().manual_seed(1)).double()
    want = rotations(vector) @ matrices(own)
    assert torch.allclose(matrices(turned(own, gibbs)), want, atol=1e-9)
    assert torch.equal(turned(own, torch.zeros(9, 3).double()), own)


def test_the_kernels_slopes_are_those_of_torch():
    leaves = []
    for by in (turned, _by_torch):
        g = torch.Generator().manual_seed(5)
        q, turns, up = (torch.randn(9, c, generator=g).double() for c in (4, 3, 4))
        q.requires_grad_(), turns.requires_grad_()
        out = by(q, turns)
        out.backward(up)
        leaves.append((out, q.grad, turns.grad))
    for found, want in zip(*leaves, strict=True):
        assert torch.allclose(found, want, atol=1e-12)


def test_turns_follow_one_another_and_are_found_again():
    (v, a), (w, b) = vectors(0, 1.4), vectors(2, 1.4)
    start = torch.randn(9, 4, generator=torch.Generator().manual_seed(3)).double()
    both = composed(b, a)
    assert torch.allclose(
        matrices(turned(start, both)), rotations(w) @ rotations(v) @ matrices(start)
    )
    end = -3 * turned(start, both)  # neither sign nor length matters
    assert torch.allclose(turn_between(start, end), both)
    assert composed(a, -a).abs().max() < 1e-12


def bar_scene():
    """A wall of long thin Gaussians on one node that stays and one that turns by 80 degrees."""
    scene = tiny_scene(n=30, times=3, views=2, nodes=2).anisotropic()
    scene.node_offsets = torch.zeros_like(scene.node_offsets)
    scene.view_offsets = torch.zeros_like(scene.view_offsets)
    scene.node_index = torch.arange(30)[:, None] % 2
    scene.node_weights = torch.ones(30, 1)
    scene.log_stretch[:, 0] = 1.5
    scene.node_turns = torch.zeros(3, 2, 3)
    scene.node_turns[2, 1, 2] = float(torch.tan(torch.deg2rad(torch.tensor(40.0))))
    return scene


def bars(scene, t):
    """Angles [N] in degrees of the bars in the picture at time ``t``."""
    first = matrices(scene.at(t).rotations)[:, :, 0]
    return torch.rad2deg(torch.atan2(first[:, 1], first[:, 0]))


def test_shapes_turn_with_their_node_and_come_to_rest_at_stamps():
    scene = bar_scene()
    assert bars(scene, 1.0)[0] == 0 and bars(scene, 1.0)[1] == pytest.approx(80, abs=1e-3)
    assert 20 < bars(scene, 0.75)[1] < 60 and bars(scene, 0.5)[1] == 0
    scene.node_slopes = torch.zeros_like(scene.node_offsets)
    assert bars(scene, 0.51)[1] < 0.2  # curves: no turn jumps away from a stamp


def test_literal_offsets_and_round_gaussians_do_not_turn():
    scene = bar_scene()
    with pytest.raises(ValueError, match="node_turns"):
        type(scene)(**{**vars(scene), "offset_frame": "literal"})
    with pytest.raises(ValueError, match="node_turns"):
        type(scene)(**{**vars(scene), "log_stretch": None, "rotations": None})


def test_a_fit_finds_how_bars_turned():
    """Pictures of bars that turn in place: with turns a fit tells how far, without it cannot."""
    true = bar_scene()
    true.opacity_logits = torch.full((30,), 4.0)
    frames = torch.stack(
        [
            torch.stack([_picture(true, float(t), v) for t in true.times])
            for v in range(len(true.w2c))
        ]
    )
    errors = {}
    for turning in (True, False):
        start = bar_scene()
        start.opacity_logits = true.opacity_logits.clone()
        start.node_turns = torch.zeros(3, 2, 3) if turning else None
        config = FitConfig()
        config.rates.means = config.rates.colors = config.rates.shade = 0.0
        config.rates.log_scales = config.rates.rotations = config.rates.opacity = 0.0
        config.rates.turns = 0.03
        fit = JointFit(start, frames, config, FreeOffsets(2, 3, 0, 0.6))
        fit.run([(v, t) for v in range(2) for t in range(3)], 240, "bars")
        found = fit.result()
        errors[turning] = (_picture(found, 1.0, 0) - frames[0, 2]).abs().mean()
        if turning:
            assert torch.equal(found.node_turns[0], torch.zeros(2, 3))
            assert bars(found, 1.0)[1] == pytest.approx(80, abs=10)
            assert abs(bars(found, 1.0)[0]) < 6
    assert errors[True] < 0.3 * errors[False]


def _picture(scene, t, view):
    return render_scene(scene, t, scene.w2c[view], scene.K[view]).rgb
