"""The photometric loss against kornia's SSIM in float64."""

from __future__ import annotations

import kornia
import pytest
import torch

from recon.fit.photometric import photometric_loss


def images(height: int, width: int, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(height + width)
    target = torch.rand(height, width, 3, generator=generator)
    if kind == "close":
        pred = (target + 0.05 * torch.randn(target.shape, generator=generator)).clamp(0, 1)
    elif kind == "unrelated":
        pred = torch.rand(height, width, 3, generator=generator)
    elif kind == "smooth":
        ramp = torch.linspace(0, 1, width)[None, :, None].expand(height, width, 3)
        target, pred = ramp.contiguous(), (0.9 * ramp + 0.02).contiguous()
    return pred, target


@pytest.mark.parametrize("kind", ["close", "unrelated", "smooth"])
@pytest.mark.parametrize(("height", "width"), [(36, 64), (6, 6), (7, 23), (150, 131)])
@pytest.mark.parametrize("ssim_weight", [0.0, 0.2, 1.0])
def test_value_and_gradient_equal_kornia(height, width, kind, ssim_weight):
    pred, target = images(height, width, kind)
    want_pred = pred.double().requires_grad_()
    d_ssim = kornia.losses.ssim_loss(
        want_pred.permute(2, 0, 1)[None], target.double().permute(2, 0, 1)[None], 11
    )
    want = (want_pred - target.double()).abs().mean() + ssim_weight * d_ssim
    (3 * want).backward()

    got_pred = pred.requires_grad_()
    got = photometric_loss(got_pred, target, ssim_weight)
    (3 * got).backward()
    assert abs(float(got.detach()) - float(want.detach())) < 2e-6
    error = (got_pred.grad.double() - want_pred.grad).norm() / want_pred.grad.norm()
    assert error < 2e-4

    other = photometric_loss(pred.detach().double(), target.double(), ssim_weight)
    assert abs(float(other) - float(want.detach())) < 1e-9


def test_equal_images_cost_nothing():
    _, target = images(40, 30, "close")
    assert abs(float(photometric_loss(target.clone(), target))) < 1e-6


def test_threads_give_the_same_bits():
    pred, target = images(150, 131, "close")
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            leaf = pred.clone().requires_grad_()
            loss = photometric_loss(leaf, target)
            loss.backward()
            results.append((loss.detach(), leaf.grad))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_non_contiguous_input():
    pred, target = images(20, 30, "close")
    flipped = pred.permute(1, 0, 2)
    got = photometric_loss(flipped, target.permute(1, 0, 2))
    assert abs(float(got) - float(photometric_loss(pred, target))) < 1e-6


@pytest.mark.parametrize(
    ("shape", "other"), [((8, 8, 3), (8, 9, 3)), ((8, 8), (8, 8)), ((5, 8, 3), (5, 8, 3))]
)
def test_wrong_shapes_raise(shape, other):
    with pytest.raises(ValueError, match="got"):
        photometric_loss(torch.zeros(shape), torch.zeros(other))
