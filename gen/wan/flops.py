"""Floating-point operations of the two streams over Wan, counted from their sizes.

2 per multiply-add; matrix products and attention only, as in `gen.flops`.  A test compares
with PyTorch's own counter.
"""

from __future__ import annotations

from gen.sync.mixers import MIXER_CLASSES, SIGMA_FEATURES
from gen.wan.block import ADAPTED
from gen.wan.memory import WanWork
from gen.wan.params import TEXT_TOKENS


def clip_flops(work: WanWork, latents: int, lora_rank: int = 0) -> int:
    """One clip of so many latents through all blocks."""
    p, d = work.params, work.params.width
    n = latents * work.tokens
    block = n * (6 * d * d + 2 * d * p.hidden)  # q k v out, cross q out, feed-forward
    block += 2 * TEXT_TOKENS * d * d  # keys and values of the words
    block += 2 * n * d * (n + TEXT_TOKENS)  # attention: products with keys, then with values
    block += len(ADAPTED) * n * 2 * d * lora_rank
    return 2 * p.depth * block


def shared_flops(work: WanWork) -> int:
    """Embedding, both heads, the words of both streams and the latents' noise levels."""
    p, d, cells = work.params, work.params.width, work.views * work.latents
    pixels = p.channels * p.patch**2
    tokens = cells * work.tokens * pixels * d * 3
    words = 2 * TEXT_TOKENS * (p.text_width * d + d * d)
    levels = cells * (p.frequencies * d + d * d + 6 * d * d)
    return 2 * (tokens + words + levels)


def mixer_flops(work: WanWork) -> int:
    """All layers of the mixer over the whole lattice."""
    d, n = work.params.width, work.views * work.latents * work.tokens
    matrices = MIXER_CLASSES[work.mixer].matrices
    a_token = 2 * d * d if work.rank is None else 3 * d * work.rank
    return 2 * matrices * work.params.depth * (n * a_token + SIGMA_FEATURES * d)


def step_flops(work: WanWork) -> int:
    """One call of the 4D model on a window (one denoising step; mean of both heads).

    Raises ValueError for the fused mixer, which has one stream.
    """
    if work.mixer == "fused":
        raise ValueError("only mixers of two streams are counted, not fused")
    rows = work.views * clip_flops(work, work.latents)
    columns = work.latents * clip_flops(work, work.views, work.lora_rank)
    return rows + columns + shared_flops(work) + mixer_flops(work)
