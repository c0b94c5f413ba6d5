"""Rectified flow and samplers: exact paths, schedules, and train-then-sample on a tiny problem."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gen.flow.rectified import (
    add_noise,
    keep_known,
    linear_sigmas,
    sample_sigma,
    shift_sigmas,
    velocity_from_clean,
    velocity_loss,
    vivid_weights,
)
from gen.flow.samplers import SAMPLERS, guided, sample_euler


def test_path_ends_and_velocity():
    clean, noise = torch.randn(2, 3, 4, 4, 3), torch.randn(2, 3, 4, 4, 3)
    assert torch.equal(add_noise(clean, noise, torch.zeros(2)), clean)
    assert torch.equal(add_noise(clean, noise, torch.ones(2)), noise)
    sigma = torch.tensor([0.3, 0.8])
    x = add_noise(clean, noise, sigma)
    v = velocity_from_clean(x, clean, sigma.reshape(2, 1, 1, 1, 1))
    torch.testing.assert_close(v, noise - clean, atol=1e-5, rtol=1e-5)


def test_loss_is_the_velocity_error_on_unknown_frames():
    clean, noise = torch.randn(2, 3, 4, 4, 3), torch.randn(2, 3, 4, 4, 3)
    sigma = torch.tensor([0.5, 0.9])
    known = torch.tensor([[True, False, False], [True, True, False]])
    predicted = clean + 0.1 * torch.randn_like(clean)
    x = add_noise(clean, noise, sigma)
    s = sigma.reshape(2, 1, 1, 1, 1)
    error = velocity_from_clean(x, predicted, s) - (noise - clean)
    per_frame = error.square().mean((-1, -2, -3))
    expected = torch.stack([per_frame[0, 1:].mean(), per_frame[1, 2]]).mean()
    torch.testing.assert_close(velocity_loss(predicted, clean, sigma, known), expected)
    spoilt = keep_known(predicted, torch.zeros_like(clean), known)
    torch.testing.assert_close(velocity_loss(spoilt, clean, sigma, known), expected)


def test_schedules():
    sigmas = linear_sigmas(8, 3.0)
    assert sigmas[0] == 1 and sigmas[-1] == 0 and (sigmas.diff() < 0).all()
    assert (sigmas[1:-1] > linear_sigmas(8)[1:-1]).all()
    torch.testing.assert_close(shift_sigmas(sigmas, 1 / 3.0), linear_sigmas(8))
    with pytest.raises(ValueError, match="steps"):
        linear_sigmas(0)
    draws = sample_sigma(4000, torch.Generator().manual_seed(0))
    assert 0.6 < draws.median() < 0.8 and draws.min() > 0 and draws.max() < 1


def test_vivid_weights_have_mean_one_and_favour_colour():
    clean = torch.zeros(1, 1, 4, 4, 3)
    clean[0, 0, 0, 0] = torch.tensor([1.0, -1.0, -1.0])
    weight = vivid_weights(clean, 2.0)
    assert weight.mean() == pytest.approx(1.0)
    assert weight[0, 0, 0, 0] == pytest.approx(5 * float(weight[0, 0, 1, 1]))


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_samplers_reach_a_fixed_target_exactly(name):
    target = torch.randn(2, 5)
    seen = []
    out = SAMPLERS[name](
        lambda x, s: target,
        torch.randn(2, 5),
        linear_sigmas(4, 2.0),
        lambda i, n, clean: seen.append((i, n)),
    )
    torch.testing.assert_close(out, target)
    assert seen == [(i, 4) for i in range(4)]


def test_samplers_refuse_a_schedule_that_does_not_end():
    with pytest.raises(ValueError, match="end in 0"):
        sample_euler(lambda x, s: x, torch.zeros(1), torch.tensor([1.0, 0.5]))


def test_guidance_acts_inside_its_interval_only():
    model = guided(lambda x, s: x + 1, lambda x, s: x, 3.0, (0.2, 0.8))
    x = torch.zeros(2)
    assert model(x, torch.tensor(0.5)).tolist() == [3.0, 3.0]
    assert model(x, torch.tensor(0.1)).tolist() == [1.0, 1.0]
    assert model(x, torch.tensor(0.9)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_train_then_sample(name):
    """Two points in the plane: after training, samples lie near one of them, both are met."""
    torch.manual_seed(0)
    points = torch.tensor([[1.5, 0.5], [-1.0, -1.0]])
    net = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))
    optimiser = torch.optim.AdamW(net.parameters(), lr=5e-3)
    g = torch.Generator().manual_seed(0)

    def model(x, sigma):
        return net(torch.cat([x, sigma.expand(len(x), 1)], 1))

    for _ in range(400):
        clean = points[torch.randint(0, 2, (256,), generator=g)]
        sigma = sample_sigma(256, g, mean=0.0)
        x = add_noise(clean, torch.randn(256, 2, generator=g), sigma)
        out = net(torch.cat([x, sigma[:, None]], 1))
        image = (256, 1, 1, 1, 2)
        loss = velocity_loss(
            out.view(image), clean.view(image), sigma, torch.zeros(256, 1, dtype=torch.bool)
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        samples = SAMPLERS[name](model, torch.randn(200, 2, generator=g), linear_sigmas(16))
    distance = torch.cdist(samples, points)
    assert distance.min(1).values.median() < 0.15
    assert distance.argmin(1).bincount(minlength=2).min() > 50
