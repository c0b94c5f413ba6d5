"""The long-grid script on a debug-sized generator: every seam column, and rows that are kept."""

from __future__ import annotations

import json

import pytest
import torch

from fourreal.errors import UserError
from gen.bundled import GridGenerator
from gen.network.base import BaseModel
from gen.network.params import SIZES
from scripts.evaluate import long_grids as evaluate_long_grids
from scripts.evaluate.long_grids import EvaluateLongGridsConfig, grid_shape, main


@pytest.fixture
def debug_generator(monkeypatch):
    torch.manual_seed(0)
    base = BaseModel(SIZES["debug"], ["a", "red", "ball"])
    for p in base.dit.head_out.parameters():
        torch.nn.init.normal_(p, std=0.05)
    made = []

    def load(folder, runtime):
        made.append(folder)
        return GridGenerator(base, None, runtime)

    monkeypatch.setattr(evaluate_long_grids, "load_bundled", load)
    untrained = evaluate_long_grids.GenerateConfig
    monkeypatch.setattr(
        evaluate_long_grids, "GenerateConfig", lambda **k: untrained(untrained_sync=True, **k)
    )
    return made


def test_rows_hold_seams_only_along_axes_with_several_windows(debug_generator, tmp_path):
    config = EvaluateLongGridsConfig(
        grids=("2x12", "9x2"), prompt="a red ball", steps=1, grid_steps=1,
        json=tmp_path / "long.json", sheet=tmp_path / "long.png",
    )  # fmt: skip
    main(config)
    rows = json.loads(config.json.read_text())["results"]["long grids"]
    wide, tall = rows["2x12"], rows["9x2"]
    assert wide["jump_views"] is None and tall["jump_times"] is None
    assert wide["jump_times"] == pytest.approx(
        wide["inside_times"] - wide["border_times"], abs=0.02
    )
    assert tall["border_views"] is not None and config.sheet.stat().st_size > 0
    before = config.json.read_text()
    main(config)
    assert config.json.read_text() == before


def test_a_malformed_grid_is_refused():
    assert grid_shape("24x8") == (24, 8)
    with pytest.raises(UserError, match="VIEWSxTIMES"):
        grid_shape("24")
