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
    torch.testing.assert_close(out[:, :2], first[None, :2].expand(6, -1, -1, -1))
    inside = out[5, 7:13, 16:22]
    torch.testing.assert_close(inside, torch.full_like(inside, 0.9))
    still = torch.zeros(2, 4, 5, 3)
    assert torch.equal(hold_still(still), still)


def test_a_change_that_grows_comes_in_without_a_jump():
    steps = torch.linspace(0, 0.5, 100)
    clip = steps[:, None, None, None].expand(100, 6, 6, 3)
    out = hold_still(clip)[:, 3, 3, 0]
    assert (out.diff() >= 0).all() and out.diff().max() < 4 * steps.diff().max()
    assert out[1] == 0 and torch.isclose(out[-1], steps[-1])


def test_what_all_later_frames_redraw_goes_and_what_moves_or_stays_away_stays():
    clip = torch.zeros(8, 12, 40, 3)
    clip[1:, :, :10] = 0.25  # 32 grey levels, in all frames alike: a texture drawn softer
    clip[1:, :, 15:25] = 1.2  # large: what stood there has gone
    for t in range(1, 8):
        clip[t, :, 30:] = 0.3 * (t % 2)  # comes and goes
    out = hold_still(clip)
    assert out[1:, 3:9, 2:7].abs().max() < 0.02
    torch.testing.assert_close(out[1:, 3:9, 18:22], clip[1:, 3:9, 18:22])
    torch.testing.assert_close(out[1:, 3:9, 33:37], clip[1:, 3:9, 33:37])
    short = hold_still(clip[:3])
    torch.testing.assert_close(short[1:, 3:9, 2:7], clip[1:3, 3:9, 2:7])


def test_the_rim_of_what_moved_away_does_not_stay_behind():
    clip = torch.zeros(6, 16, 40, 3)
    clip[0, 4:12, 6:14] = 1.0
    clip[0, 3:13, 5:15] += 0.06  # a rim that hardly differs from the ground
    for t in range(1, 6):
        clip[t, 4:12, 20:28] = 1.0
    out = hold_still(clip)
    torch.testing.assert_close(out[1:, 3:13, 5:15], clip[1:, 3:13, 5:15])
    clip[1:, :, 35:] = 0.06  # as small a change, far from it
    assert hold_still(clip)[1:, :, 37:].abs().max() == 0
