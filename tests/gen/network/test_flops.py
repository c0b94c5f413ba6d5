"""Counted operations agree with what PyTorch counts while the networks run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gen.flops import clip_flops, condition_flops, two_stream_flops
from gen.network.dit import DiT
from gen.network.params import SIZES
from gen.sync.mixers import SyncParams
from gen.sync.two_stream import TwoStream

VARIANTS = {
    "debug": SIZES["debug"],
    "as paper": replace(
        SIZES["debug"], shared_adaln=False, reference=False, frame_place=False, extra_channels=2
    ),
}


def counted(call) -> int:
    """Operations of the matrix products that `call` runs (attention is made of them here)."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", VARIANTS)
def test_clip(name):
    params = VARIANTS[name]
    dit = DiT(params).eval()
    extra = torch.zeros(1, 3, 16, 24, params.extra_channels) if params.extra_channels else None
    args = (
        torch.zeros(1, 3, 16, 24, 3),
        torch.zeros(1, 3).bool(),
        torch.ones(1),
        torch.zeros(1).long(),
    )
    text = torch.zeros(1, 5, 32), torch.ones(1, 5).bool()
    expected = clip_flops(params, 3, 16, 24, 5) + condition_flops(params)
    assert counted(lambda: dit(*args, *text, None, extra)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("rank", [None, 4])
@pytest.mark.parametrize("mixer", ["none", "hard", "soft"])
def test_grid(mixer, rank):
    sync = SyncParams(mixer, rank)
    model = TwoStream(DiT(SIZES["debug"]), sync).eval()
    args = torch.zeros(1, 3, 4, 16, 24, 3), torch.zeros(1, 3, 4).bool(), torch.ones(1)
    text = torch.zeros(1, 5, 32), torch.ones(1, 5).bool()
    expected = two_stream_flops(SIZES["debug"], sync, 3, 4, 16, 24, 5)
    assert counted(lambda: model(*args, *text)) == pytest.approx(expected, rel=1e-3)


def test_fused_is_refused():
    with pytest.raises(ValueError, match="fused"):
        two_stream_flops(SIZES["debug"], SyncParams("fused"), 2, 2, 16, 24, 5)
