"""Samplers: functions of (model, x, sigmas, callback) that know nothing of networks or text.

`model(x, sigma)` returns the clean prediction for the whole of `x` at the scalar level `sigma`.
`callback(i, n, clean)` sees every step.  The last level has to be 0.  A prediction that is not
finite raises `fourreal.health.NotFinite`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fourreal.health import require_finite
from gen.flow.rectified import velocity_from_clean

CleanModel = Callable[[Tensor, Tensor], Tensor]
StepCallback = Callable[[int, int, Tensor], None]


def keyed_noise(shape: tuple[int, ...], *key: int) -> Tensor:
    """Unit noise that depends on `key` alone, made on the CPU whatever the device."""
    seed = 0
    for number in key:
        seed = (seed * 1_000_003 + number + 1) % (2**63 - 1)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _check(sigmas: Tensor) -> None:
    if sigmas.numel() < 2 or sigmas[-1] != 0 or not (sigmas[:-1] > sigmas[1:]).all():
        raise ValueError(f"expected falling noise levels that end in 0, got {sigmas.tolist()}")


def _check_clean(clean: Tensor, step: int, steps: int) -> None:
    require_finite(f"denoising, step {step + 1} of {steps}", {"predicted frames": clean})


def sample_euler(
    model: CleanModel, x: Tensor, sigmas: Tensor, callback: StepCallback | None = None
) -> Tensor:
    """Euler steps along the predicted velocity; the last step returns the clean prediction."""
    _check(sigmas)
    n = len(sigmas) - 1
    for i in range(n):
        clean = model(x, sigmas[i])
        _check_clean(clean, i, n)
        if callback is not None:
            callback(i, n, clean)
        # Written as a blend of x and clean: exact for the last step, no division by small sigma.
        x = clean + (x - clean) * (sigmas[i + 1] / sigmas[i])
    return x


def sample_heun(
    model: CleanModel, x: Tensor, sigmas: Tensor, callback: StepCallback | None = None
) -> Tensor:
    """Heun's second-order steps (two model calls each, the last step is Euler's)."""
    _check(sigmas)
    n = len(sigmas) - 1
    for i in range(n):
        clean = model(x, sigmas[i])
        _check_clean(clean, i, n)
        if callback is not None:
            callback(i, n, clean)
        ahead = clean + (x - clean) * (sigmas[i + 1] / sigmas[i])
        if sigmas[i + 1] > 0:
            v0 = velocity_from_clean(x, clean, sigmas[i])
            v1 = velocity_from_clean(ahead, model(ahead, sigmas[i + 1]), sigmas[i + 1])
            ahead = x + (sigmas[i + 1] - sigmas[i]) * (v0 + v1) / 2
        x = ahead
    return x


def guided(
    conditional: CleanModel,
    unconditional: CleanModel,
    scale: float,
    interval: tuple[float, float] = (0.1, 1.0),
) -> CleanModel:
    """Classifier-free guidance for lo <= sigma <= hi; outside it, and at scale 1, conditional."""
    lo, hi = interval

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        clean = conditional(x, sigma)
        if scale == 1.0 or not lo <= float(sigma) <= hi:
            return clean
        base = unconditional(x, sigma)
        return torch.lerp(base, clean, scale)

    return model


SAMPLERS: dict[str, Callable[..., Tensor]] = {"euler": sample_euler, "heun": sample_heun}
