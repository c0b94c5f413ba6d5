"""The evaluation of the reconstruction: its measures on known answers, its script at tiny size."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fourreal.cameras import intrinsics_from_fov, pixel_grid, unproject
from fourreal.errors import UserError
from gen.data.truth_files import write_truth
from gen.data.world.grid import GroundTruth
from scripts.evaluate import reconstruction as evaluate_reconstruction
from scripts.evaluate.no_scene import FlowBetween, NearestCell
from scripts.evaluate.reconstruction import Options
from scripts.evaluate.reconstruction_variants import TABLE, VARIANTS, configure, expand
from scripts.evaluate.truth_grid import TruthGrid, score_cells, score_views
from tests.recon.scenes import column_from_depth, moving_square

VIEWS, TIMES = [0, 2, 4, 1, 3], [0, 2, 4, 1, 3]  # held out: between the neighbours
ISSUED = (
    "psnr_input", "psnr_heldout_cells", "psnr_heldout_times", "psnr_heldout_views",
    "psnr_heldout_views_full", "coverage", "ssim_input", "ssim_heldout_views",
    "depth_rel_median", "points", "seconds", "peak_mb",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder of two ground-truth scenes, 3 x 3 input cells of 24 x 40 pixels."""
    folder = tmp_path_factory.mktemp("grids")
    frames, depth, K, w2c = moving_square(5, 5)
    truth = GroundTruth(
        frames[VIEWS][:, TIMES], depth[VIEWS][:, TIMES], K[VIEWS], w2c[VIEWS],
        np.linspace(0, 1, 5, dtype=np.float32)[TIMES], {}, 3, 3, "",
    )  # fmt: skip
    for name in ("first", "second"):
        write_truth(truth, folder / name, "units", {})
    return folder


@pytest.fixture
def truth(data) -> TruthGrid:
    return TruthGrid.load(data / "first", (24, 40))


def test_what_no_input_view_sees_does_not_count(truth):
    everywhere = truth.seen(3, 0)
    assert everywhere.mean() > 0.9
    few = TruthGrid(**{**vars(truth), "views": 1, "_seen": {}})
    assert few.seen(4, 0).mean() < everywhere.mean()
    assert truth.seen(0, 1).all()  # an input view sees all of itself


def test_depth_of_a_reduced_grid_stays_on_its_surface(tmp_path):
    K = np.tile(intrinsics_from_fov(55, 24, 40), (3, 1, 1))
    rays = unproject(pixel_grid(24, 40).reshape(-1, 2), np.ones(960), K[0])
    slope = (2 / (1 - 0.5 * rays[:, 0])).astype(np.float32)  # of the plane z = 2 + x / 2
    depth = np.broadcast_to(slope.reshape(24, 40), (3, 3, 24, 40))
    frames, w2c = np.zeros((3, 3, 24, 40, 3), np.float32), np.tile(np.eye(4), (3, 1, 1))
    times = np.linspace(0, 1, 3, dtype=np.float32)
    write_truth(GroundTruth(frames, depth, K, w2c, times, {}, 3, 3, ""), tmp_path, "units", {})
    truth = TruthGrid.load(tmp_path, (12, 20))

    def off_plane(K: np.ndarray) -> float:
        at = pixel_grid(12, 20).reshape(-1, 2)
        p = unproject(at, truth.depth[0, 0].reshape(-1).astype(np.float64), K)
        return float(np.abs(p[:, 2] - 2 - 0.5 * p[:, 0]).max())

    assert off_plane(truth.depth_intrinsics(0)) < 1e-3 < off_plane(truth.K[0])


def test_nearest_cell_is_the_nearest_known_one(truth):
    known = np.ones((3, 3), bool)
    known[2, 2] = False
    nearest = NearestCell(truth, known)
    assert np.array_equal(nearest.input_view(1, 0.5), truth.rgb[1, 1])
    assert np.array_equal(nearest.input_view(2, 1.0), truth.rgb[2, 1])  # same view before time
    near_first = truth.w2c[0].copy()
    near_first[0, 3] -= 0.01
    assert np.array_equal(nearest.free_view(near_first, truth.K[0], 0.0), truth.rgb[0, 0])


def test_flow_between_moves_frames_half_the_way(truth):
    """A pattern that moves by six pixels from the first to the last time, three at half-way."""
    rng = np.random.default_rng(0)
    h, w = truth.rgb.shape[2:4]
    wide = cv2.GaussianBlur(rng.random((h, w + 6, 3), np.float32), (0, 0), 2.0)
    wide = (wide - wide.min()) / (wide.max() - wide.min())
    first, middle, last = (wide[:, s : s + w] for s in (0, 3, 6))
    moving = replace(truth, rgb=np.stack([[first, middle, last]] * len(truth.rgb)))
    known = np.zeros((moving.views, moving.steps), bool)
    known[:, [0, moving.steps - 1]] = True
    between = FlowBetween(moving, known)
    t = float(moving.times[0] + moving.times[moving.steps - 1]) / 2
    inner = slice(8, -8)
    error = np.abs(between.input_view(0, t) - middle)[inner, inner].mean()
    blended = np.abs(0.5 * (first + last) - middle)[inner, inner].mean()
    assert error < 0.25 * blended, (error, blended)
    assert np.array_equal(between.input_view(0, float(moving.times[0])), first)


class Oracle:
    """Answers with the truth, its colours shifted."""

    def __init__(self, truth: TruthGrid, shift: float) -> None:
        self.truth, self.shift = truth, shift

    def input_view(self, view, t):
        return self.truth.rgb[view, np.abs(self.truth.times - t).argmin()] + self.shift

    def free_view(self, w2c, K, t):
        view = np.abs(self.truth.w2c - w2c).sum((1, 2)).argmin()
        return self.input_view(int(view), t)


def test_scores_of_a_known_error(truth):
    oracle = Oracle(truth, 0.1)
    assert score_cells(oracle, truth, [(0, 3), (2, 4)], "heldout_times") == {
        "psnr_heldout_times": pytest.approx(20, abs=1e-2),
        "ssim_heldout_times": pytest.approx(0.95, abs=0.05),
    }
    views = score_views(oracle, truth)
    assert views["psnr_heldout_views"] == pytest.approx(20, abs=1e-2)
    assert views["psnr_heldout_views_full"] == pytest.approx(20, abs=1e-2)
    assert 0.9 < views["coverage"] <= 1


def test_every_variant_changes_a_setting_that_exists():
    default = configure("default")
    for name, variant in VARIANTS.items():
        changes = bool(variant.settings or variant.paper or variant.start)
        assert (configure(name) != default) == changes, name
        assert configure(f"given_{name}") == configure(name)
    assert expand(["table", "default", "no_shade"]) == [*TABLE, "no_shade"]
    with pytest.raises(UserError, match="given_NAME"):
        expand(["default", "no_such"])


def test_procedural_truth_is_consistent():
    truth = TruthGrid.procedural(3, (18, 32), 3, 3)
    assert truth.rgb.shape[:2] == truth.depth.shape[:2] == (len(truth.w2c), len(truth.times))
    assert truth.grid(None, True).w2c.shape == (3, 4, 4)
    assert truth.seen(3, 1).mean() > 0.6


def test_script_fits_scores_and_goes_on(data, tmp_path, monkeypatch, capsys):
    asked = []

    def perfect(frames, K=None, w2c=None, moments=()):
        asked.append(len(moments))
        truth = TruthGrid.load(data / "first", (24, 40))
        return column_from_depth(frames, truth.depth[:3, 0], truth.K[:3], truth.w2c[:3], 1)

    monkeypatch.setattr(evaluate_reconstruction, "track_column", perfect)
    path, pictures = tmp_path / "result.json", tmp_path / "pictures"
    options = {
        "data": data, "size": "24x40", "json": path, "preset": "debug", "pictures": pictures
    }  # fmt: skip
    evaluate_reconstruction.run(Options(**options, variants=["nearest_cell"]))
    variants = ["default", "nearest_cell", "cross"]
    evaluate_reconstruction.run(Options(**options, variants=variants))
    # the whole grid, then the checkerboard and cross, whose cameras come from the column alone
    assert asked == [2, 0] * 2
    document = json.loads(path.read_text())
    rows = document["results"]["first@24x40"]
    assert list(rows) == variants  # the order of the table, not of the runs
    assert all(rows["default"][name] is not None for name in ISSUED)
    assert rows["nearest_cell"]["psnr_input"] is None
    assert rows["default"]["psnr_heldout_views"] > rows["nearest_cell"]["psnr_heldout_views"]
    assert rows["cross"]["psnr_unseen"] > 0 and rows["cross"]["psnr_heldout_cells"] is None
    both = [
        document["results"][s]["default"]["psnr_input"] for s in ("first@24x40", "second@24x40")
    ]
    assert document["results"]["mean@24x40"]["default"]["psnr_input"] == pytest.approx(
        np.mean(both), abs=1e-3
    )
    assert cv2.imread(str(pictures / "first@24x40_default.png")).shape == (72, 120, 3)
    assert cv2.imread(str(pictures / "first@24x40_floaters.png")).shape == (24, 160, 3)
    capsys.readouterr()
    again = evaluate_reconstruction.run(Options(**options, variants=variants))
    assert "done before" in capsys.readouterr().out and again["results"] == document["results"]


def test_script_refuses_what_it_cannot_use(data, tmp_path):
    with pytest.raises(UserError, match="144x256"):
        Options(size="big")
    with pytest.raises(UserError, match="no scenes"):
        evaluate_reconstruction.run(Options(data=tmp_path))
