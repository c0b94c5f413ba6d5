"""Curves through stamps: smooth where motion is, stiff where it stops."""

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from recon.motion.curve import curve_at, eased, spline_slopes, straight

UNEVEN = torch.tensor([0.0, 0.1, 0.35, 0.5, 0.8, 1.0], dtype=torch.float64)


def positions(values, times=UNEVEN, count=401):
    slopes = spline_slopes(times, values)
    return torch.stack([curve_at(times, values, slopes, t) for t in np.linspace(0, 1, count)])


def test_a_curve_goes_through_its_values_and_stops_at_the_ends():
    values = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    slopes = spline_slopes(UNEVEN, values)
    for k, t in enumerate(UNEVEN.tolist()):
        assert torch.allclose(curve_at(UNEVEN, values, slopes, t), values[k])
    assert torch.equal(curve_at(UNEVEN, values, slopes, -1.0), values[0])
    assert torch.equal(curve_at(UNEVEN, values, slopes, 2.0), values[-1])


def test_speed_does_not_jump_at_a_stamp():
    values = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(1)).double()
    slopes, step = spline_slopes(UNEVEN, values), 1e-6
    for t in UNEVEN[1:-1].tolist():
        at = [curve_at(UNEVEN, values, slopes, t + k * step) for k in (-1, 0, 1)]
        assert torch.allclose((at[1] - at[0]) / step, (at[2] - at[1]) / step, atol=1e-3)
        lines = [straight(UNEVEN, values, t + k * step) for k in (-1, 0, 1)]
        assert ((lines[2] - 2 * lines[1] + lines[0]) / step).abs().max() > 0.5


def test_even_motion_is_straight_whatever_the_stamps():
    velocity = torch.tensor([[0.3, -0.2, 0.5]], dtype=torch.float64)
    values = UNEVEN[:, None, None] * velocity
    for t in (0.05, 0.2, 0.62, 0.99):
        slopes = spline_slopes(UNEVEN, values)
        assert torch.allclose(curve_at(UNEVEN, values, slopes, t), t * velocity)


def test_smooth_motion_has_the_slopes_of_the_natural_spline():
    angle = 2.5 * UNEVEN
    values = torch.stack([angle.cos(), angle.sin(), 0.2 * angle], 1)[:, None]
    want = CubicSpline(UNEVEN.numpy(), values.numpy(), bc_type="natural")(UNEVEN.numpy(), 1)
    assert np.abs(spline_slopes(UNEVEN, values).numpy() - want).max() < 1e-9
    middle = torch.tensor([0.5 * 2.5 * (0.35 + 0.5)], dtype=torch.float64)
    truth = torch.cat([middle.cos(), middle.sin(), 0.2 * middle])
    curved = curve_at(UNEVEN, values, spline_slopes(UNEVEN, values), 0.425)[0]
    line = straight(UNEVEN, values, 0.425)[0]
    assert (curved - truth).norm() < 0.2 * (line - truth).norm()


@pytest.mark.parametrize("axis", [0, 2])
def test_a_pose_that_is_held_is_not_swung_past(axis):
    values = torch.zeros(6, 1, 3, dtype=torch.float64)
    values[3:, 0, axis] = 1.0  # rests, jumps, rests
    path = positions(values)[:, 0, axis]
    assert path.min() > -1e-9 and path.max() < 1 + 1e-9
    spline = CubicSpline(UNEVEN.numpy(), values[:, 0, axis].numpy(), bc_type="natural")
    assert spline(np.linspace(0, 1, 401)).min() < -0.03  # which the natural spline does


def test_curves_do_not_depend_on_the_axes_they_are_given_in():
    g = torch.Generator().manual_seed(2)
    values = torch.randn(6, 4, 3, generator=g).double()
    R = torch.linalg.qr(torch.randn(3, 3, generator=g).double()).Q
    assert torch.allclose(spline_slopes(UNEVEN, values @ R.T), spline_slopes(UNEVEN, values) @ R.T)


def test_eased_values_stay_between_their_neighbours_and_rest_at_stamps():
    values = torch.rand(6, 7, generator=torch.Generator().manual_seed(3)).double()
    for t in np.linspace(0, 1, 101):
        k = min(int(np.searchsorted(UNEVEN.numpy(), t, side="right")) - 1, 4)
        low, high = torch.minimum(*values[k : k + 2]), torch.maximum(*values[k : k + 2])
        now = eased(UNEVEN, values, float(t))
        assert (now >= low - 1e-12).all() and (now <= high + 1e-12).all()
    there, after = (eased(UNEVEN, values, 0.35 + step) for step in (0.0, 1e-5))
    assert (after - there).abs().max() < 1e-7


def test_one_stamp_or_two_are_enough():
    one = torch.ones(1, 2, 3)
    assert torch.equal(
        curve_at(torch.tensor([0.5]), one, spline_slopes(UNEVEN[:1], one), 0.9), one[0]
    )
    two = torch.stack([torch.zeros(2, 3), torch.ones(2, 3)])
    times = torch.tensor([0.0, 1.0])
    assert torch.allclose(curve_at(times, two, spline_slopes(times, two), 0.25), 0.25 * two[1])
