"""Text or clips to grid, end to end with a tiny random model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fourreal.errors import UserError
from gen.bundled import GridGenerator, check_prompt, weights_folder
from gen.data.world.captions import VOCABULARY
from gen.flow.windows import borders, frame_index, measure_seams, windows
from gen.generate import GenerateConfig
from gen.grid import VideoGrid
from gen.network.base import BaseModel, load_base, save_base, with_vocabulary
from gen.network.dit import Mode
from gen.network.params import SIZES
from gen.sync.mixer_file import load_two_stream, save_mixer
from gen.sync.mixers import SyncParams
from gen.sync.names import MIXERS
from gen.sync.two_stream import TwoStream
from pipeline.generate import at_size, generate_from_prompt
from pipeline.prompt_options import Prompt

PROMPT = "a red ball bouncing on a checkered floor"
FAST = GenerateConfig(steps=2, grid_steps=2, untrained_sync=True)


def tiny_base(seed: int = 0) -> BaseModel:
    torch.manual_seed(seed)
    base = BaseModel(SIZES["debug"], VOCABULARY)
    with torch.no_grad():
        for p in base.dit.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return base.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def generator() -> GridGenerator:
    return GridGenerator(tiny_base())


@pytest.mark.parametrize("length", [1, 3, 8, 9, 12, 13, 30])
def test_windows_cover_with_overlap(length):
    spans = windows(length)
    assert spans[0].start == 0 and spans[-1].stop == length
    for a, b in zip(spans, spans[1:], strict=False):
        assert len(b) == 8 and a.stop - b.start >= 4 and b.stop > a.stop
    assert len(frame_index(min(length, 8))) == min(length, 8)


def test_prompt_to_grid(generator):
    steps = []
    made = generator.from_prompt(PROMPT, FAST, lambda *a: steps.append(a))
    grid = made.grid
    assert grid.frames.shape == (8, 8, 16, 24, 3) and grid.complete and grid.prompt == PROMPT
    np.testing.assert_array_equal(made.fixed_view, grid.row(0))
    np.testing.assert_array_equal(made.freeze_time, grid.column(0))
    made_of = ["first frame", "fixed-view clip", "freeze-time clip", "grid"]
    assert [s[0] for s in steps] == [name for name in made_of for _ in range(2)]
    at_once = generator.row_of(PROMPT, GenerateConfig(**{**vars(FAST), "picture_first": False}))
    assert at_once.shape == (8, 16, 24, 3)
    again = generator.from_prompt(PROMPT, FAST)
    np.testing.assert_array_equal(again.grid.frames, grid.frames)
    other = generator.from_prompt(PROMPT, GenerateConfig(**{**vars(FAST), "seed": 1}))
    assert np.abs(other.grid.frames - grid.frames).max() > 0.01


@pytest.mark.parametrize("views,times", [(1, 8), (3, 1), (5, 14), (10, 3)])
def test_other_grid_sizes(generator, views, times):
    config = GenerateConfig(**{**vars(FAST), "views": views, "times": times})
    grid = generator.from_prompt(PROMPT, config).grid
    assert grid.frames.shape[:2] == (views, times)


def test_same_seed_same_bytes():
    """Two generators built from scratch, rows and columns longer than a window."""
    config = replace(FAST, views=9, times=10, seed=5)
    a, b = (GridGenerator(tiny_base()).from_prompt(PROMPT, config) for _ in range(2))
    for x, y in ((a.grid.frames, b.grid.frames), (a.fixed_view, b.fixed_view)):
        assert x.tobytes() == y.tobytes()


def test_long_grids_work_on_one_window_at_a_time(generator):
    """24 views x 40 times: no forward pass sees more than 8 x 8 cells, and steps are reported."""
    seen: list[tuple[int, ...]] = []
    hook = generator.base.dit.blocks[0].register_forward_pre_hook(
        lambda module, inputs: seen.append(tuple(inputs[0].shape))
    )
    steps: list[tuple[str, int, int]] = []
    config = replace(FAST, views=24, times=40, steps=1, grid_steps=1)
    frames = generator.from_prompt(PROMPT, config, lambda *a: steps.append(a)).grid.frames
    hook.remove()
    assert frames.shape[:2] == (24, 40) and np.isfinite(frames).all()
    assert max(b * n for b, n, _ in seen) <= 8 * 8 * 6
    assert steps[-1][0] == "grid" and steps[-1][1] <= steps[-1][2] == 45
    assert (np.abs(frames).sum((2, 3, 4)) > 0).all()
    for clips in (frames, frames.swapaxes(0, 1)):
        seams = measure_seams(clips)
        assert seams is not None and np.isfinite([seams.border, seams.inside]).all()


def test_seams_are_the_steps_onto_a_new_window():
    assert borders(24) == [8, 12, 16, 20] and borders(8) == []
    assert borders(10) == [8]  # the last window starts earlier, so as to be a whole one
    smooth = np.linspace(0, 1, 12, dtype=np.float32)[:, None, None, None] * np.ones((2, 1, 4, 4, 3))
    seams = measure_seams(smooth)
    assert seams is not None and seams.jump == pytest.approx(0, abs=1e-3)
    smooth[:, 8:] += 3 / 11  # the step onto frame 8 is four times as large as the others
    jumped = measure_seams(smooth)
    assert jumped is not None and jumped.jump == pytest.approx(20 * np.log10(4), abs=1e-3)
    assert measure_seams(smooth[:, :8]) is None


def test_layers_of_a_mixer_can_be_dropped_when_generating(tmp_path):
    """Trained or not; the third of debug's two layers is one."""
    base = tiny_base()
    save_base(base, tmp_path, {})
    trained = TwoStream(base.dit, SyncParams("soft", 4))
    for m in trained.mixer.row:
        torch.nn.init.normal_(m.up.weight)
    save_mixer(trained, tmp_path, "soft", {})
    generator = GridGenerator(base, tmp_path)
    for untrained in (False, True):
        grids = {}
        for drop, left in (("none", {0, 1}), ("first", {1}), ("last", {0})):
            config = replace(FAST, views=2, times=2, untrained_sync=untrained, drop_sync=drop)
            assert generator.two_stream(config).mixer.active == left
            grids[drop] = generator.from_prompt(PROMPT, config).grid.frames
        assert np.abs(grids["first"] - grids["none"]).max() > 1e-4
        assert np.abs(grids["last"] - grids["first"]).max() > 1e-4
    with pytest.raises(UserError, match="drop_sync"):
        replace(FAST, drop_sync="middle")


@pytest.mark.parametrize("mixer", MIXERS)
def test_clips_to_grid_keeps_the_clips(generator, mixer):
    rng = np.random.default_rng(0)
    row = rng.random((4, 16, 24, 3), np.float32)
    column = rng.random((3, 16, 24, 3), np.float32)
    column[0] = row[0]
    config = GenerateConfig(**{**vars(FAST), "mixer": mixer})
    grid = generator.complete_grid(row, column, PROMPT, config).grid
    np.testing.assert_allclose(grid.row(0), row, atol=1e-6)
    np.testing.assert_allclose(grid.column(0), column, atol=1e-6)


def test_given_frames_start_a_clip(generator):
    start = torch.rand(2, 16, 24, 3) * 2 - 1
    clip = generator.clip(PROMPT, Mode.FREEZE_TIME, 11, FAST, start)
    assert clip.shape == (11, 16, 24, 3)
    torch.testing.assert_close(clip[:2], start)


def test_users_are_told(generator, capsys):
    with pytest.raises(UserError, match="knows"):
        generator.from_prompt("quokkas", FAST)
    with pytest.raises(UserError, match="mixer"):
        GenerateConfig(mixer="firm")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="not possible"):
        GenerateConfig(views=0)
    with pytest.raises(UserError, match="one size"):
        generator.complete_grid(np.zeros((2, 8, 8, 3)), np.zeros((2, 9, 8, 3)))
    with pytest.raises(UserError, match="no trained mixer"):
        generator.from_prompt(PROMPT, GenerateConfig(steps=1))


def test_weights_come_back_as_they_were(tmp_path):
    base = tiny_base()
    save_base(base, tmp_path, {"steps": 1})
    loaded, config = load_base(tmp_path)
    assert config["how_made"] == {"steps": 1}
    assert loaded.tokenizer.words == base.tokenizer.words
    for key, value in base.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, atol=0.02, rtol=0.01)
    model = TwoStream(loaded.dit, SyncParams("soft", 4))
    torch.nn.init.normal_(model.mixer.row[0].up.weight)
    save_mixer(model, tmp_path, "soft", {})
    again, _ = load_two_stream(loaded, tmp_path, "soft")
    torch.testing.assert_close(
        again.mixer.row[0].up.weight, model.mixer.row[0].up.weight, atol=0.02, rtol=0.01
    )
    made = GridGenerator(loaded, tmp_path).from_prompt(
        PROMPT, GenerateConfig(steps=1, grid_steps=1)
    )
    assert np.isfinite(made.grid.frames).all()


def test_a_smaller_vocabulary_changes_nothing_else():
    base = tiny_base()
    few = with_vocabulary(base, PROMPT.split()).eval()
    assert len(few.tokenizer.words) == len(set(PROMPT.split()))
    for a, b in zip(base.encode_text([PROMPT, ""]), few.encode_text([PROMPT, ""]), strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match="zebra"):
        with_vocabulary(base, ["a", "zebra"])


def test_command_line_functions(tmp_path, capsys):
    weights = tmp_path / "weights"
    save_base(tiny_base(), weights, {})
    assert weights_folder(str(weights)) == weights
    check_prompt(PROMPT, weights)
    with pytest.raises(UserError, match="knows"):
        check_prompt("quokkas", weights)
    command = Prompt(
        PROMPT, views=2, times=3, steps=1, mixer="hard", untrained_sync=True,
        weights=str(weights), size=(32, 40), precision="fp32", max_memory=1.0, upsampler="off",
    )  # fmt: skip
    grid = generate_from_prompt(command, tmp_path / "clips")
    assert grid.frames.shape == (2, 3, 32, 40, 3)
    assert "cropped to 16x20" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "clips").iterdir()) == [
        "first_frame.png", "fixed_view.mp4", "freeze_time.mp4", "low_resolution_grid",
    ]  # fmt: skip
    small = VideoGrid.load(tmp_path / "clips" / "low_resolution_grid")
    assert small.frames.shape == (2, 3, 16, 24, 3) and small.complete


def test_frames_keep_their_proportions_at_any_size():
    picture = np.zeros((1, 2, 16, 24, 3), np.float32)
    picture[..., 6:10, 10:14, :] = 1  # a square in the middle
    grid = VideoGrid(picture)
    assert at_size(grid, None).frames.shape[2:4] == (9 * 16, 9 * 24)
    for size in ((32, 48), (48, 32), (64, 256)):
        square = at_size(grid, size).frames[0, 0, ..., 0] > 0.5
        height, width = square.any(1).sum(), square.any(0).sum()
        assert at_size(grid, size).frames.shape[2:4] == size
        assert height == pytest.approx(width, rel=0.1)


def test_broken_weights_folders_are_errors_for_users(tmp_path):
    with pytest.raises(UserError, match="config.json"):
        load_base(tmp_path)
    save_base(tiny_base(), tmp_path, {})
    with pytest.raises(UserError, match="no trained hard mixer"):
        load_two_stream(load_base(tmp_path)[0], tmp_path, "hard")
    (tmp_path / "base-00.safetensors").unlink()
    with pytest.raises(UserError, match="no base weights"):
        load_base(tmp_path)
