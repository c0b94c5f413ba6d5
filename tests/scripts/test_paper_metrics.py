"""The paper's metrics behind one interface, with tiny networks of the real interfaces."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from fourreal.checkout import importable
from fourreal.errors import UserError
from scripts.evaluate.metrics.bootstrap import mean_of
from scripts.evaluate.metrics.frechet import frechet_distance, frechet_estimate
from scripts.evaluate.metrics.images import at_length, with_long_edge
from scripts.evaluate.metrics.interface import InputPair, References, Sample
from scripts.evaluate.metrics.met3r import MEt3R
from scripts.evaluate.metrics.registry import LAYOUTS, METRICS, layouts, make_metrics
from scripts.evaluate.metrics.video_score import question_of
from tests.scripts.metric_stand_ins import PACKAGES, make_packages, make_weights

NETWORKS = ("fid", "clip", "fvd", "fvd_mae", "video_score", "gim", "dust3r", "met3r")


def smooth_grid(seed: int = 0, noise: float = 0.0) -> np.ndarray:
    """A grid [4, 3, 24, 32, 3] that changes little from cell to cell, plus noise."""
    g = np.random.default_rng(seed)
    y, x = np.mgrid[:24, :32] / 8
    v, t = np.mgrid[:4, :3]
    phase = (x + 0.1 * v[..., None, None] + 0.1 * t[..., None, None])[..., None] + g.random(3)
    frames = 0.5 + 0.3 * np.sin(phase + y[..., None])
    return np.clip(frames + noise * g.standard_normal(frames.shape), 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A weights folder, while the stand-in packages are installed."""
    folder = tmp_path_factory.mktemp("metrics")
    weights = make_weights(folder / "weights")
    with importable(make_packages(folder / "packages"), PACKAGES):
        yield weights


def figures(metric, samples, large=()):
    """The figures of a metric over samples; the inputs are those of the samples."""
    references = References(
        [metric.measure_inputs(InputPair(s.frames[0], s.frames[:, 0])) for s in samples],
        [metric.measure_clip(clip) for clip in large],
    )
    got = metric.summary([metric.measure(s) for s in samples], references)
    assert set(got) == {c.key for c in metric.columns}
    return {key: e.value for key, e in got.items()}


@pytest.mark.parametrize("shape", [(40, 5), (6, 20)])
def test_frechet_distance_is_the_textbook_formula(shape):
    g = np.random.default_rng(0)
    a, b = g.standard_normal(shape), 0.5 + 2 * g.standard_normal((shape[0] + 3, shape[1]))
    ca, cb = np.cov(a.T), np.cov(b.T)
    cross = np.trace(np.real(sqrtm(ca @ cb))) if shape[0] > shape[1] else None
    if cross is not None:
        want = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb) - 2 * cross
        assert frechet_distance(a, b) == pytest.approx(want, rel=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 3) == pytest.approx(9 * shape[1])
    assert np.isnan(frechet_distance(a[:1], b))
    with pytest.raises(ValueError, match="expected"):
        frechet_distance(a, b[:, :2])


def test_frechet_interval_lies_around_the_figure():
    g = np.random.default_rng(1)
    made = [g.standard_normal((4, 3)) + g.standard_normal(3) for _ in range(10)]
    value, low, high = frechet_estimate(made, g.standard_normal((50, 3)), count=100)
    assert low < value < high
    assert frechet_estimate(made[:1], made[1])[1:] == (None, None)


def test_intervals_of_means_leave_out_what_is_missing():
    assert mean_of(np.array([np.nan, np.nan])).value is None
    assert mean_of(np.array([2.0, np.nan])) == (2.0, None, None)
    value, low, high = mean_of(np.arange(20.0))
    assert value == 9.5 and 6 < low < 9.5 < high < 13


def test_every_metric_of_the_paper_has_its_columns():
    shown = [c.key for layout in LAYOUTS for c in layout.columns()]
    assert len(shown) == len(set(shown)) and set(m for x in LAYOUTS for m in x.metrics) == {
        *METRICS
    }
    table_1 = {"fid", "clip", "fvd_time", "fvd_view", "fvd_test_time", "fvd_test_view"}
    table_1 |= {f"{q}_{a}" for q in ("visual", "temporal", "factual") for a in ("time", "view")}
    assert table_1 <= {c.key for c in LAYOUTS[0].columns()}
    assert [c.key for c in LAYOUTS[1].columns()] == [
        "gim_0_1", "gim_0_5", "gim_0_7", "dust3r_2_0", "dust3r_2_5", "dust3r_3_0"
    ]  # fmt: skip
    assert [x["title"][:7] for x in layouts(("gim", "flicker"))] == ["Table 2", "Table 3"]


def test_what_is_missing_is_said_with_where_to_get_it(tmp_path):
    for metric in make_metrics(NETWORKS, None, "cpu"):
        ok, reason = metric.is_available()
        assert not ok and "weights missing: get" in reason and "https://" in reason
        assert metric.needs.licence
        with pytest.raises(UserError, match="weights missing"):
            metric.measure(Sample("a", smooth_grid(), prompt="a ball"))
    with_weights = make_weights(tmp_path / "weights")
    reason = METRICS["video_score"](with_weights).is_available()[1]
    assert "package missing" in reason and "pip install" in reason
    for metric in make_metrics(("epipolar", "flicker", "truth"), None, "cpu"):
        assert metric.is_available() == (True, "")


def test_alike_views_score_better_with_every_network(networks, monkeypatch):
    assert "CUDA" in METRICS["met3r"](networks).is_available()[1]
    monkeypatch.setattr(MEt3R, "is_available", lambda self: (True, ""))
    smooth = [Sample(str(i), smooth_grid(i), "a red ball") for i in range(3)]
    rough = [Sample(str(i), smooth_grid(i, 0.2), "a red ball") for i in range(3)]
    for name in ("gim", "dust3r", "met3r"):
        metric = METRICS[name](networks)
        assert metric.is_available() == (True, "")
        good, bad = figures(metric, smooth), figures(metric, rough)
        for column in metric.columns:
            better = good[column.key] - bad[column.key]
            assert better > 0 if column.higher else better < 0, column
    shares = list(figures(METRICS["gim"](networks), smooth).values())
    assert shares == sorted(shares, reverse=True) and shares[0] <= 100


def test_distances_grow_with_the_difference_from_the_reference(networks):
    smooth = [Sample(str(i), smooth_grid(i), "a ball") for i in range(3)]
    dark = [Sample(s.name, s.frames * np.float32(0.5), s.prompt) for s in smooth]
    for frames, s in zip([s.frames for s in smooth], dark, strict=True):
        s.frames[0], s.frames[:, 0] = frames[0], frames[:, 0]  # the inputs stay the same
    clips = [s.frames[0] for s in smooth]
    for name in ("fid", "fvd", "fvd_mae"):
        metric = METRICS[name](networks)
        near, far = figures(metric, smooth, clips), figures(metric, dark, clips)
        for key in near:
            assert 0 <= near[key] < far[key], key
        assert figures(metric, smooth)[metric.columns[0].key] is None or name == "fid"


def test_a_video_is_judged_along_both_axes(networks):
    frames = smooth_grid()
    frames[2] = 1.0  # a white row brightens one row in three, and a cell of every column
    got = figures(METRICS["video_score"](networks), [Sample("a", frames, "a ball")])
    for quality, step in (("visual", 1.0), ("temporal", 2.0), ("factual", 3.0)):
        for axis in ("time", "view"):
            assert step + 0.4 < got[f"{quality}_{axis}"] < step + 1
    card = networks / "VideoScore-v1.1" / "README.md"
    assert question_of(card.parent) == '\nRate "{text_prompt}":\n'
    with pytest.raises(UserError, match="REGRESSION_QUERY_PROMPT"):
        question_of(networks)


def test_prompts_are_needed_for_the_clip_score_only(networks):
    metric = METRICS["clip"](networks)
    assert metric.measure(Sample("a", smooth_grid())) == {}
    short, long = (Sample("a", smooth_grid(), p) for p in ("ball", "a red ball"))
    a, b = figures(metric, [short])["clip"], figures(metric, [long])["clip"]
    assert b - a == pytest.approx(6, abs=1e-3)
    both = metric.summary([metric.measure(short), {}], References())
    assert both["clip"].value == pytest.approx(a)


def test_weight_free_metrics_say_what_they_lack():
    plain = Sample("a", smooth_grid())
    for name in ("epipolar", "truth"):
        metric = METRICS[name]()
        assert metric.measure(plain) == {} and set(figures(metric, [plain]).values()) == {None}
    flicker = METRICS["flicker"]()
    still = np.broadcast_to(plain.frames[:1, :1], plain.frames.shape).copy()
    assert figures(flicker, [Sample("b", still)]) == {"flicker_time": 0, "flicker_view": 0}
    flashing = still.copy()
    flashing[:, 2] = np.clip(still[:, 2] + 10 / 255, 0, 1)
    got = figures(flicker, [Sample("c", flashing)])
    assert got["flicker_time"] == pytest.approx(10, abs=0.5) and got["flicker_view"] == 0


def test_nearness_to_the_truth_pools_over_scenes():
    truth = smooth_grid()
    off = np.clip(truth + 0.1, 0, 1)
    static = np.ones((4, 24, 32), bool)
    got = figures(METRICS["truth"](), [Sample(n, off, truth=truth, static=static) for n in "ab"])
    assert got["psnr"] == pytest.approx(20, abs=0.1) and got["static_psnr"] == got["psnr"]
    assert got["psnr_time"] == pytest.approx(got["psnr"]) and 0 < got["ssim"] < 1
    with pytest.raises(UserError, match="at least 2"):
        Sample("c", truth[:1])


def test_frames_are_brought_to_what_networks_take():
    clip = smooth_grid()[0]
    longer = at_length(clip, 16)
    assert len(longer) == 16 and (longer[0] == clip[0]).all() and (longer[-1] == clip[-1]).all()
    assert with_long_edge(np.zeros((1, 288, 512, 3), np.float32), 512, 16).shape[1:3] == (288, 512)
    assert with_long_edge(clip, 64, 16).shape[1:3] == (48, 64)
