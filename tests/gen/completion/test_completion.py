"""Completion of footage: flow to the first frame, the rules, the network and its files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fourreal.errors import UserError
from gen.completion.flow import to_first
from gen.completion.model import Completer, complete, load_completion, save_completion
from gen.completion.network import CompletionNet, CompletionParams
from gen.completion.rules import (
    CANDIDATES,
    HINTS,
    additive,
    column_moved,
    copy_nearest,
    row_moved,
)
from gen.data.assets.cache import HELD_OUT
from gen.data.batches import seeded
from gen.data.cells import cells_of, varied
from scripts.train_completion import CompletionMix, TrainCompletionConfig
from scripts.train_completion import main as train_completion
from tests.gen.data.test_asset_world import fill_cache

TINY = CompletionParams((8, 8, 16))


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (height // 4, width // 4, 3))
    return cv2.resize(noise.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)


def moving_grid(views: int = 4, times: int = 4, shift: int = 2) -> np.ndarray:
    """A textured plane that the camera passes by `shift` pixels a view, with a square on it that
    moves down by `shift` pixels a time: uint8 [V, T, 40, 64, 3]."""
    ground = textured(60, 120)
    square = textured(12, 12, 1) * 0.3 + 170
    cells = np.empty((views, times, 40, 64, 3), np.float32)
    for t in range(times):
        picture = ground.copy()
        y = 15 + shift * t
        picture[y : y + 12, 40:52] = square
        for v in range(views):
            x = 16 + shift * v
            cells[v, t] = picture[8:48, x : x + 64]
    return np.clip(cells, 0, 255).astype(np.uint8)


def test_a_guess_is_what_completion_says_of_every_cell():
    grid = moving_grid()
    torch.manual_seed(0)
    net = CompletionNet(TINY).eval()
    torch.nn.init.normal_(net.leave.weight, std=0.02)
    frames = grid.astype(np.float32) / 255
    whole = complete(net, frames[0], frames[:, 0])
    row, column = (torch.from_numpy(f) * 2 - 1 for f in (frames[0], frames[:, 0]))
    guess = Completer(net, (40, 64)).guess(row, column)
    assert guess.shape == (4, 4, 40, 64, 4)
    guess = guess[[0, 2]][:, [0, 1, 3]]
    assert guess.shape == (2, 3, 40, 64, 4)
    said = whole[[0, 2]][:, [0, 1, 3]]
    np.testing.assert_allclose((guess[..., :3].numpy() + 1) / 2, said, atol=1e-5)
    far = guess[..., 3]
    assert (far >= 0).all() and far[1, 1:].mean() > 0.01
    assert far[0].max() == far[:, 0].max() == 0  # what is given


def test_flow_of_a_passing_camera_is_its_shift():
    grid = moving_grid()
    flow = to_first(grid[:, 0])
    assert flow[0].abs().max() == 0
    for v in range(1, 4):
        inner = flow[v, 8:-8, 10:-10]
        assert inner[..., 0].median() == pytest.approx(2 * v, abs=0.35)
        assert inner[..., 1].median() == pytest.approx(0, abs=0.2)


def psnr_of_changes(made: np.ndarray, grid: np.ndarray) -> float:
    changed = np.abs(grid.astype(int) - grid[:, :1]).max(-1) > 10
    changed[0] = changed[:, 0] = False
    error = ((made.astype(float) - grid / 255.0) ** 2).mean(-1)[changed].mean()
    return float(-10 * np.log10(error))


def test_rules_that_follow_displacements_beat_those_that_do_not():
    grid = moving_grid()
    frames = grid.astype(np.float32) / 255
    plain = max(psnr_of_changes(rule(frames), grid) for rule in (copy_nearest, additive))
    for rule in (row_moved, column_moved):
        made = rule(frames)
        assert np.array_equal(made[0], frames[0]) and np.array_equal(made[:, 0], frames[:, 0])
        assert psnr_of_changes(made, grid) > plain + 1.5


def test_a_scene_without_motion_is_its_column_and_hints_are_silent():
    still = np.repeat(moving_grid(4, 1), 4, 1)
    said, hints, *_ = cells_of(still, 9, seeded(1))
    _, _, _, _, clean, changed = cells_of(still, 9, seeded(1))
    assert said.shape[1] == CANDIDATES and hints.shape[1] == HINTS
    assert torch.equal(said[:, 1], clean) and not changed.any()
    assert torch.allclose(said[:, 2], clean) and torch.allclose(said[:, 6], clean, atol=1e-5)
    assert hints[:, :2].abs().max() < 1e-5  # nothing changes over time


def test_an_untrained_network_mixes_what_it_is_given():
    torch.manual_seed(0)
    net = CompletionNet(TINY)
    said = torch.rand(3, CANDIDATES, 3, 20, 30) * 2 - 1
    said[:] = said[:, :1]  # all rules agree: so does the network, whatever it has learned to trust
    made = net(said, torch.zeros(3, HINTS, 20, 30), said[0, 0], torch.zeros(3, 2))
    assert made.shape == (3, 3, 20, 30)
    torch.testing.assert_close(made, said[:, 0])


def test_given_cells_come_out_unchanged_and_the_rows_corner_wins():
    net = CompletionNet(TINY).eval()
    frames = moving_grid().astype(np.float32) / 255
    column = frames[:, 0].copy()
    column[0] = 0.5
    out = complete(net, frames[0], column)
    assert np.array_equal(out[0], frames[0]) and np.array_equal(out[1:, 0], frames[1:, 0])
    assert np.isfinite(out).all() and out.min() >= 0 and out.max() <= 1
    with pytest.raises(UserError, match="of one size"):
        complete(net, frames[0], column[:, :8])


def test_a_completer_decides_at_its_own_size_and_answers_at_that_of_the_clips():
    made = Completer(CompletionNet(TINY).eval(), (16, 24)).complete_grid(
        moving_grid()[0].astype(np.float32) / 255, moving_grid()[:3, 0].astype(np.float32) / 255
    )
    assert made.grid.frames.shape == (3, 4, 40, 64, 3) and made.freeze_time.shape[0] == 3


def test_files_come_back_and_damage_is_named(tmp_path):
    torch.manual_seed(1)
    net = CompletionNet(TINY)
    save_completion(net, tmp_path, (40, 64), {"step": 3})
    back = load_completion(tmp_path)
    assert back.size == (40, 64)
    for (name, a), b in zip(net.state_dict().items(), back.net.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=1e-2, rtol=1e-2), name
    with pytest.raises(UserError, match="no completion network"):
        load_completion(tmp_path / "nowhere")
    path = tmp_path / "completion.json"
    path.write_text(path.read_text().replace("8,", "16,", 1))
    with pytest.raises(UserError, match="does not fit"):
        load_completion(tmp_path)


def test_varied_grids_stay_grids():
    grid = moving_grid()
    kinds = set()
    for i in range(30):
        other = varied(grid, seeded(5, i))
        assert other.shape == grid.shape and other.dtype == np.uint8
        assert other.flags.c_contiguous
        kinds.add(other.tobytes())
    assert len(kinds) > 20


def options(world: Path, out: Path, steps: int) -> TrainCompletionConfig:
    return TrainCompletionConfig(
        out=out, world=world, steps=steps, widths=(8, 8, 16), batch=2, cells=3, resolution="16x24",
        mix=CompletionMix(1.0, 1.0, 0.0, 0.0), sample_every=100, decay=0.0, warmup=2,
    )  # fmt: skip


@pytest.mark.slow
def test_training_resumes_exactly_and_writes_weights(tmp_path):
    world = tmp_path / "world"
    for look in ("wide", "prompt"):
        fill_cache(world, [0, 1, HELD_OUT], look)
    train_completion(options(world, tmp_path / "straight", 4))
    train_completion(options(world, tmp_path / "again", 2))
    train_completion(options(world, tmp_path / "again", 4))
    states = [
        torch.load(tmp_path / run / "checkpoint.pt", weights_only=True)["model"]
        for run in ("straight", "again")
    ]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    assert load_completion(tmp_path / "again" / "weights").size == (16, 24)
