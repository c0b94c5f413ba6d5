"""What the given row and column say of every other cell, as an input of the two-stream model.

What a hidden cell shows stands almost entirely in what is given, and rules without learning know
most of it (`gen.completion`). Their answer enters twice: as tokens beside the noisy frames', and as
what the pixels of the prediction may be taken from, by a weight of each. A network that does not
know what it sees can thus pass it on. Ours, not in the paper.

Shape legend: B grids, V views, T times, S patches a frame, D width, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gen.network.dit import patchify, unpatchify
from gen.network.params import DiTParams

CHANNELS = 4  # colour and how far the rules disagree
FEATURES = 8  # of a pixel, from its token
HIDDEN = 32


def _per_grid(values_B: Tensor, like: Tensor) -> Tensor:
    """Values of grids beside five axes."""
    return values_B.to(like.dtype)[:, None, None, None, None]


class Guess(nn.Module):
    """Tokens of the guess, and the mixture of the guess and the prediction. Starts halfway."""

    def __init__(self, params: DiTParams):
        super().__init__()
        self.patch = p = params.patch
        self.tokens_in = nn.Linear(p * p * CHANNELS, params.bottleneck, bias=False)
        self.tokens_out = nn.Linear(params.bottleneck, params.width)
        self.seen = nn.Linear(params.width, p * p * FEATURES)
        last = nn.Conv2d(HIDDEN, 1, 1)
        self.weigh = nn.Sequential(
            nn.Conv2d(3 + CHANNELS + 1 + FEATURES, HIDDEN, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(HIDDEN, HIDDEN, 3, padding=1),
            nn.SiLU(),
            last,
        )
        for tensor in (*self.tokens_out.parameters(), *last.parameters()):
            nn.init.zeros_(tensor)

    def tokens(self, guess_BVTHWC: Tensor, guessed_B: Tensor) -> Tensor:
        """What is added to the tokens [B, V, T, S, D]; zero for grids without a guess."""
        b, v, t = guess_BVTHWC.shape[:3]
        tok = self.tokens_out(self.tokens_in(patchify(guess_BVTHWC.flatten(0, 1), self.patch)))
        return tok.view(b, v, t, -1, tok.shape[-1]) * _per_grid(guessed_B, tok)

    def blend(
        self,
        clean_BVTHWC: Tensor,
        guess_BVTHWC: Tensor,
        tok_BVTSD: Tensor,
        sigma_B: Tensor,
        guessed_B: Tensor,
    ) -> Tensor:
        """The prediction [B, V, T, H, W, 3], each pixel moved towards the guess by its weight."""
        rows = [
            self._row(clean_BVTHWC[:, v], guess_BVTHWC[:, v], tok_BVTSD[:, v], sigma_B, guessed_B)
            for v in range(clean_BVTHWC.shape[1])
        ]
        return torch.stack(rows, 1)

    def _row(
        self, clean: Tensor, guess: Tensor, tok: Tensor, sigma_B: Tensor, guessed_B: Tensor
    ) -> Tensor:
        """One row [B, T, H, W, 3] of the grids."""
        b, t, h, w, _ = clean.shape
        tokens = tok.flatten(1, 2).to(self.seen.weight.dtype)
        seen = unpatchify(self.seen(tokens), self.patch, t, h, w)
        level = _per_grid(sigma_B, clean).expand(b, t, h, w, 1)
        x = torch.cat([clean, guess, level, seen], -1).flatten(0, 1).permute(0, 3, 1, 2)
        weight = torch.sigmoid(self.weigh(x)).permute(0, 2, 3, 1).view(b, t, h, w, 1)
        weight = weight * _per_grid(guessed_B, weight)
        return torch.lerp(clean, guess[..., :3].to(clean.dtype), weight.to(clean.dtype))
