"""The two-stream model's identities, one for each mixer."""

from __future__ import annotations

import pytest
import torch

from gen.network.dit import Mode
from gen.sync.mixers import HardSync, ModLinear, SoftSync, SyncParams, layers_without
from gen.sync.names import MIXERS
from gen.sync.two_stream import TwoStream
from tests.gen.network.test_dit import random_dit

V, T = 3, 4


def grid(seed: int = 3, b: int = 2):
    g = torch.Generator().manual_seed(seed)
    known = torch.zeros(b, V, T, dtype=torch.bool)
    known[:, 0] = known[:, :, 0] = True
    x = torch.randn(b, V, T, 16, 24, 3, generator=g)
    text, mask = torch.randn(b, 5, 32, generator=g), torch.ones(b, 5, dtype=torch.bool)
    return x, known, torch.rand(b, generator=g), text, mask


def two_stream(
    mixer: str, rank: int | None = 4, output: str = "mean", noise: float = 0.0, layers=None, depth=2
):
    model = TwoStream(random_dit(depth=depth), SyncParams(mixer, rank, layers), output).eval()
    if noise:
        torch.manual_seed(7)
        with torch.no_grad():
            for _, p in model.sync_parameters():
                p.add_(noise * torch.randn_like(p))
    return model


def rows_alone(dit, x, known, sigma, text, mask):
    """The base model in dynamic mode on every row of the grids."""
    out = [
        dit(x[:, v], known[:, v], sigma, torch.full_like(sigma, Mode.DYNAMIC).long(), text, mask)
        for v in range(V)
    ]
    return torch.stack(out, 1)


def columns_alone(dit, x, known, sigma, text, mask):
    mode = torch.full_like(sigma, Mode.FREEZE_TIME).long()
    out = [dit(x[:, :, t], known[:, :, t], sigma, mode, text, mask) for t in range(T)]
    return torch.stack(out, 2)


def unknown(out, args):
    return out[~args[1]]


def close(a, b, tol=1e-5):
    torch.testing.assert_close(a, b, atol=tol, rtol=tol)


def test_none_is_the_base_model_on_every_row_and_column():
    args = grid()
    model = two_stream("none", output="row")
    close(unknown(model(*args), args), unknown(rows_alone(model.dit, *args), args))
    model.output = "column"
    close(unknown(model(*args), args), unknown(columns_alone(model.dit, *args), args))


@pytest.mark.parametrize("rank", [None, 4])
def test_soft_without_weight_is_none(rank):
    args = grid()
    soft = two_stream("soft", rank, noise=0.1)
    with torch.no_grad():
        for stream in (soft.mixer.row, soft.mixer.column):
            for m in stream:
                for name in ("full", "own", "other"):
                    if hasattr(m, name):
                        getattr(m, name).zero_()
                if rank is not None:
                    m.up.weight.zero_()
    close(soft(*args), two_stream("none")(*args))


@pytest.mark.parametrize("rank", [None, 4])
@pytest.mark.parametrize("stream,alone", [("row", rows_alone), ("column", columns_alone)])
def test_hard_with_one_identity_is_that_streams_model(stream, alone, rank):
    """W_row = I, W_col = 0 leaves the row model, W_row = 0, W_col = I the column model."""
    args = grid()
    hard = two_stream("hard", rank, output=stream)
    eye, none = torch.eye(64), torch.zeros(64, 64)
    with torch.no_grad():
        for m in hard.mixer.row:
            if rank is None:
                m.full.copy_(torch.cat([eye, none] if stream == "row" else [none, eye], 1))
            else:
                m.own.fill_(float(stream == "row"))
                m.other.fill_(float(stream == "column"))
    close(unknown(hard(*args), args), unknown(alone(hard.dit, *args), args))


@pytest.mark.parametrize("rank", [None, 4])
@pytest.mark.parametrize("mixer", ["none", "hard", "soft", "fused"])
def test_transposing_everything_swaps_the_streams(mixer, rank):
    x, known, sigma, text, mask = grid()
    model = two_stream(mixer, rank, noise=0.1)
    out = model(x, known, sigma, text, mask)
    if mixer != "none":
        model.mixer.swapped()
    model.modes = model.modes[::-1]
    swapped = model(x.transpose(1, 2), known.transpose(1, 2), sigma, text, mask)
    close(swapped.transpose(1, 2), out)


@pytest.mark.parametrize("layers", [(0,), (1,)])
@pytest.mark.parametrize("mixer", ["hard", "soft", "fused"])
def test_transposing_swaps_the_streams_with_layers_off_too(mixer, layers):
    x, known, sigma, text, mask = grid()
    model = two_stream(mixer, noise=0.1, layers=layers)
    out = model(x, known, sigma, text, mask)
    model.mixer.swapped()
    model.modes = model.modes[::-1]
    swapped = model(x.transpose(1, 2), known.transpose(1, 2), sigma, text, mask)
    close(swapped.transpose(1, 2), out)


@pytest.mark.parametrize("rank", [None, 4])
@pytest.mark.parametrize("mixer", MIXERS)
def test_known_cells_come_out_unchanged(mixer, rank):
    args = grid()
    out = two_stream(mixer, rank, noise=0.1)(*args)
    assert torch.equal(out[args[1]], args[0][args[1]])
    assert out.shape == args[0].shape


@pytest.mark.parametrize("mixer", ["sequential", "hard", "soft", "fused"])
def test_low_rank_starts_as_full_rank_does(mixer):
    """Both are the training-free rule (Eq. 12, 13) before training."""
    args = grid()
    close(two_stream(mixer, 4)(*args), two_stream(mixer, None)(*args))


def test_training_free_weights_are_the_papers():
    soft = two_stream("soft")
    assert isinstance(soft.mixer, SoftSync)
    weights = [float(m.other[0].detach()) for m in soft.mixer.row]
    assert weights == pytest.approx([0.1 + 0.4 * 1 / 2, 0.1 + 0.4 * 2 / 2])
    hard = two_stream("hard")
    assert isinstance(hard.mixer, HardSync)
    a, b = torch.randn(2, 7, 64), torch.randn(2, 7, 64)
    x, y = hard.mixer(0, a, b, hard.mixer.features(torch.rand(2)))
    close(x, (a + b) / 2)
    assert x is y


def test_untrained_sequential_is_column_then_row():
    args = grid()
    x, known, sigma, text, mask = args
    model = two_stream("sequential")
    tok = model._one_copy(*model._embed(x, known, torch.arange(V), torch.arange(T)), x, known)
    ctx_row, ctx_col = model._contexts(
        sigma, text, mask, torch.arange(V), torch.arange(T), (16, 24)
    )
    for layer in range(2):
        tok = model.row_stream(layer, model.column_stream(layer, tok, ctx_col), ctx_row)
    expected = model._decode(tok, tok, ctx_row, ctx_col, (x, known))
    close(unknown(model(*args), args), unknown(expected, args))


def test_fused_attention_over_one_row_is_the_row_model():
    """With one view, and both contexts dynamic, a token sees its row: the base model's clip."""
    x, known, sigma, text, mask = grid()
    args = x[:, 1:2], known[:, 1:2], sigma, text, mask
    model = two_stream("fused")
    model.modes = (Mode.DYNAMIC, Mode.DYNAMIC)
    mode = torch.full_like(sigma, Mode.DYNAMIC).long()
    expected = model.dit(x[:, 1], known[:, 1], sigma, mode, text, mask)[:, None]
    close(unknown(model(*args), args), unknown(expected, args))


def test_fused_attention_sees_row_and_column_only():
    """One block: a cell depends on the cells of its row and column, and on no other."""
    x, known, sigma, text, mask = grid()
    model = TwoStream(random_dit(depth=1), SyncParams("fused", 4)).eval()
    known[:] = False
    out = model(x, known, sigma, text, mask)
    x[:, 1, 2] += 1.0
    changed = (model(x, known, sigma, text, mask) - out).abs().amax((0, 3, 4, 5)) > 1e-6
    expected = torch.zeros(V, T, dtype=torch.bool)
    expected[1] = expected[:, 2] = True
    assert torch.equal(changed, expected)


def test_the_layers_left_are_the_supplements():
    assert layers_without(24, "first") == tuple(range(8, 24))
    assert layers_without(24, "last") == tuple(range(16))
    assert layers_without(6, "none") == tuple(range(6))
    assert layers_without(3, "first", share=1.0) == ()
    with pytest.raises(ValueError, match="first or last"):
        layers_without(24, "middle")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="below 2"):
        two_stream("soft", layers=(1, 2))


@pytest.mark.parametrize("mixer", ["hard", "soft"])
def test_without_any_layer_the_streams_are_independent(mixer):
    args = grid()
    close(two_stream(mixer, noise=0.1, layers=())(*args), two_stream("none")(*args))


@pytest.mark.parametrize("mixer", ["sequential", "hard", "soft", "fused"])
def test_layers_that_are_off_do_not_matter_and_are_not_trained(mixer):
    args = grid()
    model = two_stream(mixer, noise=0.1, layers=(1,), depth=3).train()
    out = model(*args)
    out.square().mean().backward()
    trained = {name for name, _ in model.sync_parameters()}
    assert trained and all(name.split(".")[2] == "1" for name in trained)
    for name, p in model.mixer.named_parameters():
        assert (p.grad is not None) == (f"mixer.{name}" in trained), name
        if f"mixer.{name}" not in trained:
            p.data += 1.0
    close(model(*args), out)
    whole = two_stream(mixer, noise=0.1, depth=3)
    whole.mixer.load_state_dict(model.mixer.state_dict())  # one file format for both
    assert (whole(*args) - out).abs().max() > 1e-4


@pytest.mark.parametrize("rank", [None, 4])
@pytest.mark.parametrize("mixer", ["sequential", "hard", "soft", "fused"])
def test_only_the_mixer_receives_gradients(mixer, rank):
    args = grid()
    model = two_stream(mixer, rank, noise=0.1).train()
    model.dit.requires_grad_(False)
    model(*args).square().mean().backward()
    for name, p in model.named_parameters():
        if name.startswith("mixer."):
            assert p.grad is not None and p.grad.abs().sum() > 0, name
        else:
            assert p.grad is None, name
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        n for n, _ in model.sync_parameters()
    }


def gradients(model, args) -> list[torch.Tensor]:
    model.zero_grad()
    model(*args).square().mean().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("mixer", MIXERS)
def test_a_few_clips_at_a_time_give_the_same(mixer):
    """Outputs to 1e-5 with any split, gradients too, and no more clips at once than asked for."""
    args = grid()
    model = two_stream(mixer, noise=0.1)
    whole, slopes = model(*args), gradients(model, args)
    seen: list[int] = []
    for block in model.dit.blocks:
        block.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    for clips in (1, 3, 5, 100):
        model.clips_at_once = clips
        seen.clear()
        close(model(*args), whole)
        if mixer != "fused":  # one attention over the whole grid cannot be split
            assert max(seen) <= clips
    model.clips_at_once = 3
    for a, b in zip(gradients(model, args), slopes, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("mixer", ["sequential", "soft"])
def test_gradient_checkpointing_changes_nothing(mixer):
    args = grid()
    model = two_stream(mixer, noise=0.1).train()
    slopes = gradients(model, args)
    model.dit.gradient_checkpointing = True
    for a, b in zip(gradients(model, args), slopes, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_sigma_modulates():
    m = ModLinear(8, 2, 1.0, 0.5)
    torch.nn.init.normal_(m.modulation.weight)
    a, b = torch.randn(1, 4, 8), torch.randn(1, 4, 8)
    low, high = (HardSync.features(torch.tensor([s])) for s in (0.1, 0.9))
    assert (m(a, b, low) - m(a, b, high)).abs().max() > 1e-3


def test_bad_arguments_say_what_is_wrong():
    with pytest.raises(ValueError, match="unknown mixer"):
        SyncParams("firm")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rank"):
        SyncParams("soft", 0)
    with pytest.raises(ValueError, match="output"):
        TwoStream(random_dit(), SyncParams("none"), "median")  # type: ignore[arg-type]
