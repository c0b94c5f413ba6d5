"""Floating-point operations of the networks, counted from their sizes: 2 per multiply-add.

Counted are matrix products and attention, which is what accelerators are rated by; norms, rotary
positions and activations are left out.  A test compares with PyTorch's own counter.
"""

from __future__ import annotations

from gen.network.dit import PLACE_FEATURES
from gen.network.params import DiTParams
from gen.sync.mixers import MIXER_CLASSES, SIGMA_FEATURES, SyncParams

# Dense bfloat16 peak of a card, operations a second, by a part of the name it reports.
PEAK_BF16 = {"H200": 989e12, "A100": 312e12}


def clip_flops(params: DiTParams, frames: int, height: int, width: int, words: int) -> int:
    """One clip through embedding, blocks and head (its noise level and mode counted once)."""
    p, d = params, params.width
    frame = (height // p.patch) * (width // p.patch)
    n, pixels = frames * frame, p.patch**2
    embed = n * (pixels * (4 + p.extra_channels) * p.bottleneck + p.bottleneck * d)
    if p.reference:
        embed += frame * pixels * 4 * p.bottleneck
    if p.frame_place:
        embed += frames * PLACE_FEATURES * d
    block = n * (6 * d * d + 3 * d * p.mlp_hidden)  # q k v out, cross q out, SwiGLU
    block += 2 * words * p.text_width * d  # keys and values of the words
    block += 2 * n * d * (n + words)  # attention: products with keys, then with values
    block += 0 if p.shared_adaln else 6 * d * d
    head = 2 * d * d + n * d * pixels * 3
    return 2 * (embed + p.depth * block + head)


def condition_flops(params: DiTParams) -> int:
    """What is computed once a stream, for all its clips: noise level, text, shared modulation."""
    d = params.width
    once = 128 * d + d * d + params.text_width * d + (6 * d * d if params.shared_adaln else 0)
    return 2 * once


def mixer_flops(params: DiTParams, sync: SyncParams, tokens: int) -> int:
    """All layers of a mixer over `tokens` tokens of the grid."""
    d = params.width
    matrices = MIXER_CLASSES[sync.mixer].matrices
    layers = params.depth if sync.layers is None else len(sync.layers)
    a_token = 2 * d * d if sync.rank is None else 3 * d * sync.rank
    return 2 * matrices * layers * (tokens * a_token + SIGMA_FEATURES * d)


def two_stream_flops(
    params: DiTParams, sync: SyncParams, views: int, times: int, height: int, width: int, words: int
) -> int:
    """One pass of the 4D model over a window of views x times frames (mean of both heads).

    Raises ValueError for the fused mixer, which has one stream.
    """
    if sync.mixer == "fused":
        raise ValueError("only mixers of two streams are counted, not fused")
    rows = views * clip_flops(params, times, height, width, words)
    columns = times * clip_flops(params, views, height, width, words)
    tokens = views * times * (height // params.patch) * (width // params.patch)
    return rows + columns + 2 * condition_flops(params) + mixer_flops(params, sync, tokens)
