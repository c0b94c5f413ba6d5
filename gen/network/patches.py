"""Frames as patches, and back."""

from __future__ import annotations

from torch import Tensor


def patchify(x_BFHWC: Tensor, patch: int) -> Tensor:
    """[B, F, H, W, C] -> [B, F*S, patch*patch*C], patches in raster order."""
    b, f, h, w, c = x_BFHWC.shape
    x = x_BFHWC.reshape(b, f, h // patch, patch, w // patch, patch, c)
    return x.permute(0, 1, 2, 4, 3, 5, 6).reshape(b, -1, patch * patch * c)


def unpatchify(tok_BNP: Tensor, patch: int, frames: int, height: int, width: int) -> Tensor:
    """Inverse of `patchify`: [B, F*S, patch*patch*C] -> [B, F, H, W, C]."""
    b, _, p = tok_BNP.shape
    c = p // (patch * patch)
    x = tok_BNP.reshape(b, frames, height // patch, width // patch, patch, patch, c)
    return x.permute(0, 1, 2, 4, 3, 5, 6).reshape(b, frames, height, width, c)
