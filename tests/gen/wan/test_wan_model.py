"""What the adapter for Wan promises: identities with the library's model, one for each rule."""

from __future__ import annotations

import copy

import pytest
import torch

from gen.wan.model import WanModel
from gen.wan.two_stream import cast_for_inference
from tests.gen.wan.tiny import PARAMS, WORDS, H, T, V, W, lattice, library_model, two_stream


def close(a, b, tol=1e-5):
    torch.testing.assert_close(a, b, atol=tol, rtol=tol)


def clip(b: int = 2, f: int = 3):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(b, f, PARAMS.channels, H, W, generator=g)
    return x, torch.rand(b, generator=g) * 1000, torch.randn(b, WORDS, 16, generator=g)


def library(model, x_BFCHW, timestep, text):
    """The library's own forward; timestep [B], or [B, F] which it wants for every token."""
    if timestep.dim() == 2:
        timestep = timestep.repeat_interleave(H * W // 4, 1)
    return model(x_BFCHW.transpose(1, 2), timestep, text)[0].transpose(1, 2)


def test_reassembled_model_is_the_librarys():
    model, (x, t, text) = library_model(), clip()
    ours = WanModel(copy.deepcopy(model))
    with torch.no_grad():
        close(ours(x, t[:, None].expand(-1, 3), text), library(model, x, t, text))
        each = torch.tensor([[0.0, 700.0, 20.0], [3.0, 0.0, 0.0]])
        close(ours(x, each, text), library(model, x, each, text))


def test_one_noise_level_for_every_token_is_one_for_the_clip():
    model, (x, t, text) = library_model(), clip()
    with torch.no_grad():
        close(library(model, x, t[:, None].expand(-1, 3), text), library(model, x, t, text))


def test_the_library_object_is_left_as_it_was():
    model, (x, t, text) = library_model(), clip()
    with torch.no_grad():
        before = library(model, x, t, text)
        WanModel(model)
        assert torch.equal(library(model, x, t, text), before)


def alone(stream: str, args) -> torch.Tensor:
    """The library's model on every row or on every column of a lattice."""
    model = library_model()
    x, known, sigma, text_row, text_column = args
    t = 1000 * sigma[:, None, None] * ~known
    with torch.no_grad():
        if stream == "row":
            out = [library(model, x[:, v], t[:, v], text_row) for v in range(V)]
            return torch.stack(out, 1)
        out = [library(model, x[:, :, i], t[:, :, i], text_column) for i in range(T)]
        return torch.stack(out, 2)


@pytest.mark.parametrize("stream", ["row", "column"])
def test_none_is_the_library_on_every_row_and_column(stream):
    args = lattice()
    with torch.no_grad():
        close(two_stream("none", output=stream)(*args), alone(stream, args))


@pytest.mark.parametrize("stream", ["row", "column"])
@pytest.mark.parametrize("rank", [None, 4])
def test_soft_without_weight_is_none(stream, rank):
    args, soft = lattice(), two_stream("soft", rank, stream, noise=0.1)
    with torch.no_grad():
        for m in (*soft.mixer.row, *soft.mixer.column):
            for name in ("full", "own", "other"):
                if hasattr(m, name):
                    getattr(m, name).zero_()
            if rank is not None:
                m.up.weight.zero_()
        close(soft(*args), alone(stream, args))


@pytest.mark.parametrize("stream", ["row", "column"])
@pytest.mark.parametrize("rank", [None, 4])
def test_hard_with_one_identity_is_that_streams_model(stream, rank):
    """W_row = I, W_col = 0 leaves the row model, W_row = 0, W_col = I the column model."""
    args, hard = lattice(), two_stream("hard", rank, output=stream)
    eye, none = torch.eye(24), torch.zeros(24, 24)
    with torch.no_grad():
        for m in hard.mixer.row:
            if rank is None:
                m.full.copy_(torch.cat([eye, none] if stream == "row" else [none, eye], 1))
            else:
                m.own.fill_(float(stream == "row"))
                m.other.fill_(float(stream == "column"))
        close(hard(*args), alone(stream, args))


@pytest.mark.parametrize("rank", [None, 4])
@pytest.mark.parametrize("mixer", ["none", "hard", "soft", "fused"])
def test_transposing_everything_swaps_the_streams(mixer, rank):
    x, known, sigma, text_row, text_column = lattice()
    model = two_stream(mixer, rank, noise=0.1)
    with torch.no_grad():
        out = model(x, known, sigma, text_row, text_column)
        if mixer != "none":
            model.mixer.swapped()
        swapped = model(x.transpose(1, 2), known.transpose(1, 2), sigma, text_column, text_row)
    close(swapped.transpose(1, 2), out)


def test_fused_over_one_row_is_the_library():
    """With a single view a token's row and column are its row."""
    x, known, sigma, text, _ = lattice()
    args = x[:, :1], known[:, :1], sigma, text, text
    model = two_stream("fused")
    with torch.no_grad():
        t = 1000 * sigma[:, None] * ~known[:, 0]
        close(model(*args)[:, 0], library(library_model(), x[:, 0], t, text))


@pytest.mark.parametrize("mixer", ["hard", "soft", "sequential", "fused"])
def test_untrained_mixers_run_and_exchange(mixer):
    args, model = lattice(), two_stream(mixer)
    with torch.no_grad():
        out = model(*args)
        other = model(args[0].clone(), *args[1:3], args[3] * 2, args[4])
        nothing = two_stream("none", output="column")(*args)
    assert out.isfinite().all() and out.shape == args[0].shape
    assert (out - nothing).abs().max() > 1e-3
    # Words told to the rows are heard by the columns.
    model.output = "column"
    with torch.no_grad():
        assert (model(*args) - model(args[0], *args[1:3], args[3] * 2, args[4])).abs().max() > 1e-4
    assert (out - other).abs().max() > 1e-4


@pytest.mark.parametrize("mixer", ["soft", "sequential", "hard"])
def test_clip_by_clip_is_the_same(mixer):
    args, model = lattice(), two_stream(mixer, noise=0.1, lora_rank=2)
    with torch.no_grad():
        whole = model(*args)
        model.clips_at_once = 1
        close(model(*args), whole)


def test_the_low_rank_matrices_act_on_columns_alone():
    args = lattice()
    plain, adapted = two_stream("none"), two_stream("none", lora_rank=2, noise=0.3)
    with torch.no_grad():
        for stream in ("row", "column"):
            plain.output = adapted.output = stream
            far = (adapted(*args) - plain(*args)).abs().max()
            assert (far > 1e-2) if stream == "column" else (far < 1e-6)


def test_known_latents_come_out_unchanged_and_their_noise_is_not_seen():
    x, known, sigma, *texts = lattice()
    model, clean = two_stream("soft", noise=0.1), torch.randn_like(x)
    with torch.no_grad():
        out = model.clean(x, clean, known, sigma, *texts)
        again = model.clean(
            torch.where(known[..., None, None, None], x + 5, x), clean, known, sigma, *texts
        )
    assert torch.equal(out[known], clean[known])
    assert torch.equal(out, again)
    assert not torch.equal(out[~known], clean[~known])


@pytest.mark.parametrize("mixer", ["hard", "soft", "sequential", "fused"])
def test_only_the_adapter_gets_gradients_and_all_of_it_does(mixer):
    model = two_stream(mixer, noise=0.1, lora_rank=2).train()
    model(*lattice()).square().mean().backward()
    adapter = model.adapter_parameters()
    assert {k for k, p in model.named_parameters() if p.requires_grad} == adapter.keys()
    assert {k for k, p in model.named_parameters() if p.grad is not None} == adapter.keys()
    assert all(p.grad.any() for p in adapter.values())
    assert model.state_dict().keys() == adapter.keys()


def test_mixers_that_do_not_act_are_not_trained():
    model = two_stream("soft", layers=(1,), lora_rank=2)
    trained = {k for k, p in model.named_parameters() if p.requires_grad}
    assert not any(k.startswith(("mixer.row.0", "mixer.column.0")) for k in trained)
    assert any(k.startswith("mixer.row.1") for k in trained)


def test_gradient_checkpointing_changes_no_gradient():
    grads = []
    for checkpointing in (False, True):
        model = two_stream("soft", noise=0.1, lora_rank=2)
        model.model.gradient_checkpointing = checkpointing
        model(*lattice()).square().mean().backward()
        grads.append({k: p.grad for k, p in model.adapter_parameters().items()})
    for key, grad in grads[0].items():
        close(grads[1][key], grad)


def test_bf16_is_nearly_the_same():
    args, model = lattice(), two_stream("soft", noise=0.02, lora_rank=2)
    with torch.no_grad():
        exact = model(*args)
        library_dtype(model)
        rounded = cast_for_inference(model)(*args)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().mean() < 0.05 * exact.abs().mean()


def library_dtype(model) -> None:
    """bfloat16 as `from_pretrained` casts: norms, noise-level embedding and tables stay float32."""
    for name, p in model.model.named_parameters():
        if not any(k in name for k in ("time_embedder", "scale_shift_table", "norm2")):
            p.data = p.data.to(torch.bfloat16)
