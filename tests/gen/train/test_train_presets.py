"""Presets are checked configurations, the paper's figures are in them, flags replace them."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from gen.train.options import Train4DConfig, TrainBaseConfig
from gen.train.presets import BASE_PRESETS, PRESETS_4D, read_options, run_training


def made(presets, name: str):
    preset = presets[name]
    return preset(**{p: Path(p) for p in inspect.signature(preset).parameters})


@pytest.mark.parametrize("presets", [BASE_PRESETS, PRESETS_4D])
def test_every_preset_makes_a_described_configuration(presets):
    for name, preset in presets.items():
        assert made(presets, name).out == Path("out") and preset.__doc__


def test_paper_presets_hold_the_papers_figures():
    low, high = (made(BASE_PRESETS, f"paper-{x}") for x in ("low", "high"))
    for cfg, size in ((low, (36, 64)), (high, (72, 128))):
        params = cfg.params()
        assert (params.height, params.width_px) == size and params.width == 1024
        assert cfg.batch == 1152 and cfg.optimiser == "adamw" and cfg.schedule == "cosine"
        assert cfg.first_frames == "uniform" and cfg.mix.procedural == 0
    assert high.init == Path("init") and low.init is None
    stages = [made(PRESETS_4D, f"paper-{x}") for x in ("low", "high", "animated")]
    assert sum(cfg.steps for cfg in stages[:2]) == 20_000 and stages[2].steps == 3_000
    for cfg in stages:
        assert cfg.batch == 48 and cfg.train == "sync" and cfg.mixer == "soft"
        assert (cfg.views, cfg.times) == (8, 8) and cfg.schedule == "cosine"
    assert stages[0].mix.pseudo4d == 1 and stages[2].mix.grids == 1 and stages[2].videos is None


def test_flags_replace_settings_of_a_preset(capsys):
    line = ["--preset", "paper-low", "--out", "o", "--dynamic", "d", "--static", "s"]
    cfg = read_options(
        TrainBaseConfig, BASE_PRESETS, "", [*line, "--batch", "8", "--mix.static", "2"]
    )
    assert (
        cfg.batch == 8 and cfg.mix.static == 2 and cfg.dynamic == Path("d") and cfg.steps == 200_000
    )
    with pytest.raises(SystemExit) as stop:
        read_options(TrainBaseConfig, BASE_PRESETS, "", line[:4])
    assert stop.value.code == 2 and "--dynamic" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        read_options(TrainBaseConfig, BASE_PRESETS, "", ["--preset", "huge", "--out", "o"])
    plain = read_options(
        Train4DConfig, PRESETS_4D, "", ["--out", "o", "--base", "b", "--layers", "1", "2"]
    )
    assert plain.layers == (1, 2) and plain.rank == 64 and plain.batch == 6


def test_user_errors_are_one_line_and_exit_code_2(capsys, monkeypatch, tmp_path):
    from scripts.train_4d import main

    argv = ["train_4d.py", "--out", str(tmp_path / "o"), "--base", str(tmp_path / "none")]
    monkeypatch.setattr("sys.argv", argv)
    assert run_training(main, Train4DConfig, PRESETS_4D, "") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "config.json" in error


DOCS = Path(__file__).parents[3] / "docs"
SCRIPTS = {
    "train_base": (TrainBaseConfig, BASE_PRESETS),
    "train_4d": (Train4DConfig, PRESETS_4D),
}


@pytest.mark.parametrize("page", ["TRAINING.md", "MODEL_CARD.md"])
def test_every_training_command_of_the_docs_is_understood(page):
    found = re.findall(r"scripts/(train_base|train_4d)\.py (--.*)", (DOCS / page).read_text())
    for script, line in found:
        kind, presets = SCRIPTS[script]
        assert read_options(kind, presets, "", line.split()).out.parts[0] == "runs"
    assert len(found) >= 3
