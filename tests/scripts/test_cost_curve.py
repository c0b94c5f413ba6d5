"""The cost curves at tiny size."""

import importlib.util
import json

import pytest
import torch

from fourreal.errors import UserError
from recon.render import render_scene
from scripts.evaluate import cost as cost_curve
from scripts.evaluate.cost import CostConfig, covering_scene
from scripts.evaluate.truth_grid import TruthGrid


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_any_number_of_points_covers_what_is_seen():
    truth = TruthGrid.procedural(0, (24, 40), 3, 2)
    seen = torch.from_numpy(truth.depth[1, 0]).isfinite()
    for count in (200, 1500):
        scene = covering_scene(truth, count, 0)
        alpha = render_scene(scene, 0.0, scene.w2c[1], scene.K[1]).alpha
        assert len(scene) == count and alpha[seen].mean() > 0.7
    with pytest.raises(UserError, match="only"):
        covering_scene(truth, 10_000, 0)


def test_rows_are_measured_once(tmp_path, monkeypatch, capsys):
    fitted = []
    monkeypatch.setattr(
        cost_curve,
        "grid_cost",
        lambda truth, config: fitted.append(truth.rgb.shape[:4])
        or {"cells": 9, "pixels": 960, "points": 1, "seconds": 1, "seconds_tracking": 1,
            "peak_mb": 1},
    )  # fmt: skip
    path = tmp_path / "cost.json"
    config = CostConfig(
        points=(300, 100), cells=(9,), sizes=(), times=(5, 3), size="24x40", steps=2, threads=1,
        json=path,
    )  # fmt: skip
    cost_curve.main(config)
    results = json.loads(path.read_text())["results"]
    assert list(results["points"]) == ["100", "300"] and list(results["cells"]) == ["3x3"]
    assert list(results["times"]) == ["8x3", "8x5"]
    assert results["points"]["300"]["ms_per_step"] > 0
    assert results["points"]["300"]["seconds_cpu"] > 0
    assert [shape[0] - 2 for shape in fitted] == [3, 8, 8]  # two views are held out
    capsys.readouterr()
    cost_curve.main(config)
    assert capsys.readouterr().out == "" and len(fitted) == 3


def test_picture_of_recorded_rows(tmp_path):
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("matplotlib is not installed (extra: test)")
    row = {
        "points": 10,
        "pixels": 100,
        "cells": 16,
        "times": 4,
        "seconds": 2.0,
        "seconds_tracking": 1.0,
    }
    curves = {c: {"a": {**row, "peak_mb": 300}} for c in cost_curve.CURVES}
    cost_curve.draw(curves, tmp_path / "cost.png")
    assert (tmp_path / "cost.png").stat().st_size > 1000


def test_cells_must_be_squares():
    with pytest.raises(UserError, match="squares"):
        CostConfig(cells=(12,))


def test_exponents_are_the_powers_that_seconds_grow_with():
    rows = {
        str(n): {"cells": n, "seconds_cpu": 3.0 * n, "seconds_cpu_tracking": 2.0 * n**0.5}
        for n in (9, 16, 64)
    }
    two = {k: rows[k] for k in ("9", "16")}
    assert cost_curve.exponents({"cells": rows}) == {"cells": 1.0, "cells, tracking": 0.5}
    assert cost_curve.exponents({"cells": two}) == {}  # a line through two points says nothing
