"""The clip transformer: shapes, identities, positions, and that it can be run block by block."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gen.data.world.captions import VOCABULARY
from gen.network.base import BaseModel
from gen.network.blocks import rms_norm
from gen.network.dit import DiT, Mode
from gen.network.params import SIZES, DiTParams
from gen.network.patches import patchify, unpatchify
from gen.network.rope import apply_rope, rope_table
from gen.sync.mixers import SyncParams
from gen.sync.two_stream import TwoStream


def random_dit(seed: int = 0, size: str = "debug", **changes) -> DiT:
    """A network whose zero-initialised parts are random too, so that nothing is hidden."""
    torch.manual_seed(seed)
    dit = DiT(replace(SIZES[size], **changes))
    with torch.no_grad():
        for p in dit.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return dit.eval()


def inputs(b: int = 2, f: int = 3, dit: DiT | None = None, seed: int = 1):
    g = torch.Generator().manual_seed(seed)
    p = dit.params if dit else SIZES["debug"]
    return (
        torch.randn(b, f, p.height, p.width_px, 3, generator=g),
        torch.rand(b, f, generator=g) < 0.4,
        torch.rand(b, generator=g),
        torch.zeros(b, dtype=torch.long),
        torch.randn(b, 5, p.text_width, generator=g),
        torch.tensor([[True] * 5, [True] * 3 + [False] * 2])[:b],
    )


def test_patchify_has_an_inverse():
    x = torch.randn(2, 3, 16, 24, 5)
    tok = patchify(x, 8)
    assert tok.shape == (2, 3 * 2 * 3, 8 * 8 * 5)
    assert torch.equal(unpatchify(tok, 8, 3, 16, 24), x)


def test_untrained_network_predicts_zero():
    torch.manual_seed(0)
    dit = DiT(SIZES["debug"])
    assert dit(*inputs()).abs().max() == 0


def test_block_by_block_equals_whole():
    dit = random_dit()
    x, known, sigma, mode, text, mask = inputs()
    whole = dit(x, known, sigma, mode, text, mask)
    ctx = dit.condition(sigma, mode, text, mask, rope_table(dit.params, torch.arange(3), 16, 24))
    tok = dit.embed(x, known, torch.arange(3))
    for index in range(len(dit.blocks)):
        tok = dit.blocks[index](tok, ctx)
    frames, _ = dit.frames(tok, ctx, 3, x[:, 0], known[:, 0])
    torch.testing.assert_close(frames, whole)


def test_everything_that_conditions_has_an_effect():
    dit = random_dit()
    x, known, sigma, mode, text, mask = inputs()
    base = dit(x, known, sigma, mode, text, mask)
    others = [
        dit(x, ~known, sigma, mode, text, mask),
        dit(x, known, sigma * 0.5, mode, text, mask),
        dit(x, known, sigma, torch.full_like(mode, int(Mode.FREEZE_TIME)), text, mask),
        dit(x, known, sigma, mode, text + 1, mask),
        dit(x, known, sigma, mode, text, mask, torch.tensor([0, 2, 5])),
    ]
    for other in others:
        assert (other - base).abs().max() > 1e-4


def test_the_reference_is_the_first_frame_when_known():
    dit = random_dit()
    x, known, *_ = inputs()
    known[:] = torch.tensor([True, False, False])
    plain = random_dit(reference=False)
    plain.load_state_dict({k: v for k, v in dit.state_dict().items() if "reference" not in k})
    extra = dit.embed(x, known) - plain.embed(x, known)
    assert extra.abs().max() > 1e-3
    torch.testing.assert_close(extra[:, :6], extra[:, 6:12], atol=1e-5, rtol=1e-4)
    x[:, 0] = 0
    known[:, 0] = False
    torch.testing.assert_close(dit.embed(x, known), plain.embed(x, known))


def test_frames_that_are_not_seen_are_masked():
    """Gathered attention equals masked attention over all tokens."""
    attention = random_dit().blocks[0].attn
    x = torch.randn(2, 4 * 6, 64)
    rope = rope_table(SIZES["debug"], torch.arange(4), 16, 24)
    sees = torch.tensor([[0, 1], [1, 3], [2, 0], [3, 2]])
    allowed = torch.zeros(4, 4, dtype=torch.bool).scatter(1, sees, True)
    mask = allowed.repeat_interleave(6, 0).repeat_interleave(6, 1)
    q, k, v = (m(x).unflatten(-1, (2, -1)) for m in (attention.q, attention.k, attention.v))
    q = apply_rope(rms_norm(q, attention.q_norm), rope).transpose(1, 2)
    k = apply_rope(rms_norm(k, attention.k_norm), rope).transpose(1, 2)
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v.transpose(1, 2), attn_mask=mask)
    torch.testing.assert_close(
        attention(x, rope, sees), attention.out(y.transpose(1, 2).flatten(2)), atol=1e-5, rtol=1e-4
    )


def test_padded_words_do_not_matter():
    dit = random_dit()
    x, known, sigma, mode, text, mask = inputs()
    changed = torch.where(mask[..., None], text, torch.full_like(text, 3.0))
    torch.testing.assert_close(
        dit(x, known, sigma, mode, text, mask), dit(x, known, sigma, mode, changed, mask)
    )


def test_rope_is_shared_between_resolutions():
    """Normalised y, x: the patch centres of 36x64 (patch 4) are those of 72x128 (patch 8)."""
    p = SIZES["bundled"]
    low = rope_table(replace(p, patch=4, height=36, width_px=64), torch.arange(2), 36, 64)
    high = rope_table(p, torch.arange(2), 72, 128)
    torch.testing.assert_close(low.cos, high.cos)


def test_gradient_checkpointing_changes_nothing():
    dit = random_dit().train()
    args = inputs()
    dit(*args).square().mean().backward()
    grads = [p.grad.clone() for p in dit.parameters()]
    dit.zero_grad()
    dit.gradient_checkpointing = True
    dit(*args).square().mean().backward()
    for p, g in zip(dit.parameters(), grads, strict=True):
        torch.testing.assert_close(p.grad, g, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    "size,low,high", [("small", 3e6, 5e6), ("bundled", 15e6, 25e6), ("paper", 540e6, 660e6)]
)
def test_named_sizes(size, low, high):
    with torch.device("meta"):
        count = sum(p.numel() for p in DiT(SIZES[size]).parameters())
    assert low < count < high


def test_the_paper_size_has_about_600_million_parameters():
    """With the text encoder; counted on the meta device, which allocates nothing."""
    with torch.device("meta"):
        base = BaseModel(SIZES["paper"], VOCABULARY)
        full = TwoStream(base.dit, SyncParams("soft", None))
        low = TwoStream(base.dit, SyncParams("soft", 64))

    def millions(*modules: torch.nn.Module) -> float:
        return sum(p.numel() for module in modules for p in module.parameters()) / 1e6

    assert 570 < millions(base) < 630
    assert 545 < millions(base.dit) < 565  # DESIGN: 24 blocks of 16 d^2 + 6 d^2, and the ends
    # The part that the 4D stage trains: two 2d x d matrices a layer, or a small share of that.
    assert 95 < millions(full.mixer) < 110 and millions(low.mixer) < 15


def test_blocks_in_bfloat16_are_close_and_the_head_is_not_rounded():
    dit, args = random_dit(), inputs()
    exact = dit(*args)
    dit.run_blocks_in(torch.bfloat16)
    assert dit.blocks[0].mlp.up.weight.dtype == torch.bfloat16
    out = dit(*args)
    assert out.dtype == torch.float32
    assert (out - out.bfloat16()).abs().max() > 0, "the head's output has more than 8 bits"
    assert 0 < (out - exact).norm() < 0.03 * exact.norm()


def test_compiled_blocks_are_the_same_blocks():
    dit, args = random_dit(), inputs()
    names, exact = list(dit.state_dict()), dit(*args)
    dit.compile_blocks(backend="eager")
    torch.testing.assert_close(dit(*args), exact)
    assert list(dit.state_dict()) == names


def test_bad_arguments_say_what_is_wrong():
    with pytest.raises(ValueError, match="multiple"):
        DiTParams(64, 2, 2, 8, 15, 24, text_width=8)
    dit, x = random_dit(), torch.zeros(1, 1, 16, 24, 3)
    with pytest.raises(ValueError, match="extra channels"):
        dit.embed(x, torch.zeros(1, 1).bool(), None, x)
