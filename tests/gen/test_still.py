"""Small changes leave a fixed-view clip, large ones stay."""

import torch

from gen.still import hold_still


def test_shimmer_goes_and_motion_stays():
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(20, 30, 3, generator=generator) - 0.5
    clip = first + 0.02 * torch.randn(6, 20, 30, 3, generator=generator)
    clip[0] = first
    for t in range(1, 6):
        clip[t, 6:14, 3 * t : 3 * t + 8] = 0.9  # a bright box that moves
    out = hold_still(clip)
    torch.testing.assert_close(out[0], first)
    torch.testing.assert_close(out[:, :4], first[None, :4].expand(6, -1, -1, -1))
    inside = out[5, 7:13, 16:22]
    torch.testing.assert_close(inside, torch.full_like(inside, 0.9))
    still = torch.zeros(2, 4, 5, 3)
    assert torch.equal(hold_still(still), still)


def test_a_change_that_grows_comes_in_without_a_jump():
    steps = torch.linspace(0, 0.3, 100)
    clip = steps[:, None, None, None].expand(100, 6, 6, 3)
    out = hold_still(clip)[:, 3, 3, 0]
    assert (out.diff() >= 0).all() and out.diff().max() < 4 * steps.diff().max()
    assert out[1] == 0 and torch.isclose(out[-1], steps[-1])
