"""The mixture of the two-stream model's grid and completion's: what it takes, files, training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fourreal.errors import UserError
from gen.bundled import GridGenerator, load_bundled
from gen.completion.blend import Blend, blend_inputs, load_blend, save_blend
from gen.completion.model import save_completion
from gen.completion.network import CompletionNet, CompletionParams
from gen.generate import GenerateConfig
from gen.network.base import save_base
from gen.sync.mixer_file import save_mixer
from gen.sync.mixers import SyncParams
from gen.sync.two_stream import TwoStream
from scripts.train_blend import Cells, TrainBlendConfig
from scripts.train_blend import main as train_blend
from tests.gen.data.test_asset_world import fill_cache
from tests.gen.test_generate import PROMPT, tiny_base


def grids() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    made = torch.rand(3, 4, 16, 24, 3, generator=g) * 2 - 1
    guess = torch.rand(3, 4, 16, 24, 4, generator=g) * 2 - 1
    known = torch.zeros(3, 4, dtype=torch.bool)
    known[0] = known[:, 0] = True
    return made, guess, known


def biased(bias: float) -> Blend:
    blend = Blend(4)
    with torch.no_grad():
        blend.net[-1].bias.fill_(bias)
    return blend.eval()


def test_untrained_it_takes_half_and_given_cells_stay():
    made, guess, known = grids()
    out = Blend(4).grid(made, guess, known)
    torch.testing.assert_close(out[known], made[known])
    torch.testing.assert_close(out[~known], (made + guess[..., :3])[~known] / 2)
    torch.testing.assert_close(
        biased(30.0).grid(made, guess, known)[~known], guess[~known][..., :3]
    )
    torch.testing.assert_close(biased(-30.0).grid(made, guess, known), made)
    everything = torch.ones_like(known)
    assert torch.equal(Blend(4).grid(made, guess, everything), made)


def test_inputs_tell_how_far_the_two_are_apart_here_and_in_the_whole_grid():
    made, guess, known = (x for x in grids())
    inputs = blend_inputs(made[~known], guess[~known])
    assert inputs.shape == (6, 10, 16, 24)
    off = (made - guess[..., :3]).abs().mean(-1)[~known]
    torch.testing.assert_close(inputs[:, 7], off)
    torch.testing.assert_close(inputs[:, 9], (10 * off.mean()).expand_as(off))


def test_files_come_back_and_damaged_ones_are_named(tmp_path):
    assert load_blend(tmp_path) is None
    blend = biased(1.0)
    save_blend(blend, tmp_path, {"steps": 3})
    again = load_blend(tmp_path)
    for key, value in blend.state_dict().items():
        torch.testing.assert_close(again.state_dict()[key], value, atol=0.01, rtol=0.01)
    (tmp_path / "blend-00.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="blend"):
        load_blend(tmp_path)


def weights(folder) -> None:
    """A whole weights folder at debug size."""
    base = tiny_base()
    save_base(base, folder, {"pool": {"world": "narrow"}})
    save_mixer(TwoStream(base.dit, SyncParams("soft", 4)), folder, "soft", {})
    net = CompletionNet(CompletionParams((8, 8, 16)))
    save_completion(net, folder, (16, 24), {})


def test_a_generator_mixes_in_what_its_folder_has(tmp_path):
    """Window by window, in long grids too; without the files, or switched off, nothing changes."""
    weights(tmp_path)
    row, column = (np.full((n, 16, 24, 3), 0.5, np.float32) for n in (10, 3))
    row[:, :, :, 0] += np.linspace(0, 0.4, 10, dtype=np.float32)[:, None, None]
    config = GenerateConfig(grid_steps=1)

    def filled(**changes) -> np.ndarray:
        generator: GridGenerator = load_bundled(tmp_path)
        return generator.complete_grid(row, column, PROMPT, replace(config, **changes)).grid.frames

    without = filled()
    save_blend(biased(-30.0), tmp_path, {})
    np.testing.assert_allclose(filled(), without, atol=1e-5)
    save_blend(biased(30.0), tmp_path, {})
    mixed = filled()
    np.testing.assert_allclose(mixed[0], row, atol=1e-5)
    assert np.abs(mixed - without)[1:, 1:].mean() > 0.01
    # Completion knows that time 9 is redder than time 1, which the untrained model does not.
    red = mixed[1:, :, ..., 0].mean((0, 2, 3))
    assert red[9] > red[1] + 0.2
    np.testing.assert_allclose(filled(blend=False), without, atol=1e-5)


def test_training_learns_whom_to_believe(tmp_path):
    """Cells that completion gets right and the model wrong: all is taken from completion."""
    weights(tmp_path / "w")
    fill_cache(tmp_path / "world", [0, 1, 900_000], size=(16, 24), edge=True)
    fill_cache(tmp_path / "world", [0, 1], look="wide", size=(16, 24), edge=True)
    config = TrainBlendConfig(
        tmp_path / "w", tmp_path / "world", tmp_path / "out", n=2, steps=60, batch=8, lr=0.02
    )
    train_blend(config)
    blend = load_blend(tmp_path / "out" / "weights")
    assert blend is not None
    made, guess, known = grids()
    inputs = blend_inputs(made[~known], guess[~known])
    model, said = (x[~known][..., :3].permute(0, 3, 1, 2) for x in (made, guess))
    truth = said
    cells = Cells(inputs, truth, model, said, torch.ones_like(truth[:, :1], dtype=torch.bool))
    before = (model - truth).square().mean()
    assert (cells.mixed(blend, slice(None)) - truth).square().mean() < 0.6 * before
    with pytest.raises(UserError, match="asks for 9"):
        train_blend(replace(config, n=9))
