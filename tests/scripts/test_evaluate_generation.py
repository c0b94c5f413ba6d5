"""The evaluation scripts of the generator at debug size with random weights."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fourreal.errors import UserError
from fourreal.script import run_script
from gen.completion.model import save_completion
from gen.completion.network import CompletionNet, CompletionParams
from gen.data.assets.cache import HELD_OUT
from gen.data.world.captions import VOCABULARY
from gen.network.base import BaseModel, load_base, save_base
from gen.network.params import SIZES
from gen.sync.mixer_file import save_mixer
from gen.sync.mixers import SyncParams
from gen.sync.two_stream import TwoStream
from scripts.evaluate import benchmarks as make_benchmarks
from scripts.evaluate import generation as evaluate_generation
from scripts.evaluate import prompts as evaluate_prompts
from scripts.evaluate.generation import METRICS, EvaluateGenerationConfig
from scripts.evaluate.prompts import EvaluatePromptsConfig
from scripts.evaluate.result_file import ResultFile
from scripts.evaluate.truth_sets import rendered_sets
from tests.gen.data.test_asset_world import fill_cache

ROOT = Path(__file__).parents[2]
SCENE = "procedural_narrow"


def tiny_weights(folder: Path, mixers: tuple[str, ...] = ("soft",), seed: int = 0) -> Path:
    """A weights folder of the debug size: random, but not the identity."""
    torch.manual_seed(seed)
    base = BaseModel(SIZES["debug"], VOCABULARY)
    with torch.no_grad():
        for p in base.dit.parameters():
            p.add_(0.05 * torch.randn_like(p))
    save_base(base, folder, {"pool": {"world": "narrow"}})
    for mixer in mixers:
        add_mixer(folder, mixer)
    net = CompletionNet(CompletionParams((8, 8, 16)))
    save_completion(net, folder, (base.params.height, base.params.width_px), {})
    return folder


def add_mixer(folder: Path, mixer: str) -> None:
    model = TwoStream(load_base(folder)[0].dit, SyncParams(mixer, 4))  # type: ignore[arg-type]
    for name, p in model.sync_parameters():
        if name.endswith("up.weight"):
            torch.nn.init.normal_(p, std=0.05)
    save_mixer(model, folder, mixer, {})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights"))


def options(folder_of_weights: Path, folder: Path, **changes) -> EvaluateGenerationConfig:
    settings = dict(
        n=2, views=3, times=3, grid_steps=1, weights=folder_of_weights,
        json=folder / "generation.json",
        methods=("copy_nearest", "soft"), device="cpu",
    )  # fmt: skip
    return EvaluateGenerationConfig(**(settings | changes))


def rows_of(path: Path, scene: str = SCENE) -> dict:
    document = json.loads(path.read_text())
    assert document["schema"] == 1 and document["command"] and document["hardware"]
    return document["results"][scene]


@pytest.mark.slow
def test_the_table_holds_every_method_and_metric(weights, tmp_path):
    cfg = options(weights, tmp_path, methods=EvaluateGenerationConfig().methods, prompts=1)
    cfg.sheet = tmp_path / "sheet.png"
    evaluate_generation.main(cfg)
    rows = rows_of(cfg.json)
    assert {*cfg.methods, "default", "truth"} == set(rows)
    notes = "\n".join(json.loads(cfg.json.read_text())["notes"])
    for name, row in rows.items():
        assert tuple(row) == METRICS
        if name in ("hard", "sequential", "fused"):  # not trained: null, and the reason is given
            assert set(row.values()) == {None} and f"{name}: no trained {name} mixer" in notes
        elif name != "truth":
            assert row["psnr_lo"] <= row["psnr"] <= row["psnr_hi"]
            assert row["seconds"] > 0 and row["peak_mb"] > 10 and row["matches"] is not None
    assert rows["default"] == rows["soft"] and rows["soft"]["default_gain"] == 0
    assert rows["none"]["psnr"] != rows["soft"]["psnr"]
    dropped = {name: rows[f"soft_without_{name}_third"]["psnr"] for name in ("first", "last")}
    assert len({*dropped.values(), rows["soft"]["psnr"]}) == 3
    gain = rows["soft"]["psnr_changing"] - rows["additive"]["psnr_changing"]
    assert rows["additive"]["default_gain"] == pytest.approx(gain, abs=0.02)
    assert rows["truth"]["flicker"] is not None and rows["truth"]["psnr"] is None
    assert rows_of(cfg.json, "prompts_narrow")["truth"]["colour"] is not None
    height, width = cv2.imread(str(cfg.sheet)).shape[:2]
    assert width > 3 * 3 * 96 and height > 3 * 3 * 64


@pytest.mark.slow
def test_what_is_done_is_not_done_again(weights, tmp_path, monkeypatch, capsys):
    cfg = options(weights, tmp_path)
    evaluate_generation.main(cfg)
    before = cfg.json.read_text()

    def never(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(evaluate_generation, "evaluate", never)
    evaluate_generation.main(cfg)
    assert cfg.json.read_text() == before
    assert capsys.readouterr().out.count("done before") == 2
    monkeypatch.undo()
    asked = []
    real = evaluate_generation.evaluate
    monkeypatch.setattr(
        evaluate_generation, "evaluate", lambda *a: (asked.append(a[2]), real(*a))[1]
    )
    evaluate_generation.main(options(weights, tmp_path, methods=("soft", "additive", "none")))
    assert asked == ["additive", "none"]
    assert list(rows_of(cfg.json)) == [
        "copy_nearest",
        "additive",
        "none",
        "soft",
        "default",
        "truth",
    ]
    for key, value in json.loads(before)["results"][SCENE]["soft"].items():
        assert rows_of(cfg.json)["soft"][key] == value


def test_one_table_is_one_test_set_and_one_set_of_weights(weights, tmp_path):
    cfg = options(weights, tmp_path, methods=("copy_nearest",))
    evaluate_generation.main(cfg)
    for change in ({"n": 3}, {"seed": 1}, {"times": 4}, {"captions": False}, {"grid_steps": 2}):
        with pytest.raises(UserError, match="other settings.*now"):
            evaluate_generation.main(options(weights, tmp_path, methods=("additive",), **change))
    other = tiny_weights(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match="weights"):
        evaluate_generation.main(options(other, tmp_path))
    assert set(rows_of(cfg.json)) == {"copy_nearest", "default", "truth"}


def test_a_mixer_trained_later_or_anew_is_scored(tmp_path):
    folder = tiny_weights(tmp_path / "weights", mixers=())
    cfg = options(folder, tmp_path)
    evaluate_generation.main(cfg)
    assert rows_of(cfg.json)["soft"]["psnr"] is rows_of(cfg.json)["default"]["psnr"] is None
    scored = []
    for seed in range(2):
        torch.manual_seed(seed)
        add_mixer(folder, "soft")
        evaluate_generation.main(cfg)
        assert rows_of(cfg.json)["default"] == rows_of(cfg.json)["soft"]
        scored.append(rows_of(cfg.json)["soft"]["psnr"])
    assert scored[0] != scored[1]
    assert not [n for n in json.loads(cfg.json.read_text())["notes"] if n.startswith("soft:")]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> Path:
    """Two ground-truth scenes as the repository's own script writes them."""
    folder = tmp_path_factory.mktemp("rendered")
    script = runpy.run_path(str(ROOT / "scripts/render_procedural.py"))
    script["main"](script["Config"](folder, n=2, size="40x60", views=3, times=3, points=16))
    return folder


@pytest.mark.slow
def test_unseen_grids_are_scored_scene_by_scene(weights, rendered, tmp_path, capsys):
    cfg = options(weights, tmp_path, data=rendered, n=None, methods=("additive", "soft"))
    (broken := rendered / "broken").mkdir()
    (broken / "cameras.json").write_text("{")
    evaluate_generation.main(cfg)
    assert "broken is left out" in capsys.readouterr().err
    for scene in ("scene000", "scene001"):
        rows = rows_of(cfg.json, scene)
        assert rows["soft"]["psnr"] > 3 and rows["soft"]["psnr_lo"] is None
        assert rows["additive"]["static_psnr"] > 20
    larger = options(weights, tmp_path, data=rendered, size="20x30", scenes=("scene001",), n=1)
    larger.json = tmp_path / "larger.json"
    evaluate_generation.main(larger)
    assert list(json.loads(larger.json.read_text())["results"]) == ["scene001"]


def test_scored_size_and_cameras_belong_together(rendered):
    (small,) = rendered_sets(rendered, (20, 24), ("scene000",))
    (whole,) = rendered_sets(rendered, (40, 60), ("scene000",))
    a, b = small.grids[0], whole.grids[0]
    assert a.frames.shape == (3, 3, 20, 24, 3) and a.static.shape == (3, 20, 24)
    np.testing.assert_allclose(a.K[0] @ [1, 1, 2], b.K[0] @ [1, 1, 2] * [24 / 60, 20 / 40, 1])
    means = b.frames.mean((2, 3)), a.frames.mean((2, 3))
    np.testing.assert_allclose(*means, atol=0.01)  # area filtering keeps the mean
    assert abs(a.static.mean() - b.static.mean()) < 0.15


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"methods": ("soft", "firm")}, "firm"),
        ({"n": 0}, "--n"),
        ({"times": 1}, "nothing to complete"),
        ({"size": "big"}, "--size"),
        ({"world": "flat"}, "unknown world"),
        ({"data": Path("nowhere")}, "no such folder"),
        ({"weights": Path("nowhere")}, "holds no weights"),
    ],
)
def test_users_are_told(weights, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        evaluate_generation.main(options(weights, tmp_path, **changes))
    assert not (tmp_path / "generation.json").exists()


def test_empty_folder_and_unknown_scene(weights, rendered, tmp_path):
    with pytest.raises(UserError, match="no usable scenes"):
        evaluate_generation.main(options(weights, tmp_path, data=tmp_path))
    with pytest.raises(UserError, match="no scene scene009"):
        evaluate_generation.main(options(weights, tmp_path, data=rendered, scenes=("scene009",)))


def test_drawn_and_chosen_prompts(weights, tmp_path, capsys):
    path = tmp_path / "prompts.json"
    common = dict(weights=weights, steps=1, grid_steps=1, json=path, device="cpu")
    sheets = [tmp_path / name for name in ("drawn.png", "chosen.png")]
    drawn = EvaluatePromptsConfig(n=2, sheet=sheets[0], **common)
    evaluate_prompts.main(drawn)
    chosen = tmp_path / "wishes.txt"
    chosen.write_text("# two wishes\na red ball bouncing on a checkered floor\n\na blue cube\n")
    evaluate_prompts.main(EvaluatePromptsConfig(prompts=chosen, sheet=sheets[1], **common))
    out = capsys.readouterr().out
    assert "1. a red ball bouncing" in out and "2. a blue cube" in out
    rows = json.loads(path.read_text())["results"]
    assert set(rows["prompts_narrow"]) == {"default", "truth"}
    assert rows["prompts_narrow"]["truth"]["colour"] > rows["prompts_narrow"]["default"]["colour"]
    assert rows["chosen_wishes"]["default"]["seconds"] > 0
    drawn_height, chosen_height = (cv2.imread(str(s)).shape[0] for s in sheets)
    assert chosen_height > 5 * drawn_height  # clips against grids of eight of them
    evaluate_prompts.main(drawn)
    assert "done before" in capsys.readouterr().out
    chosen.write_text("quokkas\n")
    with pytest.raises(UserError, match="knows"):
        evaluate_prompts.main(EvaluatePromptsConfig(prompts=chosen, **common))
    chosen.write_text("# nothing\n")
    with pytest.raises(UserError, match="no prompts"):
        evaluate_prompts.main(EvaluatePromptsConfig(prompts=chosen, **common))


def test_the_bundled_prompts_say_what_the_readers_look_for():
    lines = (ROOT / "docs/prompts.txt").read_text().splitlines()
    prompts = [line for line in lines if line and not line.startswith("#")]
    assert len(prompts) == 10 and len(set(prompts)) == 10
    for prompt in prompts:
        objects = evaluate_prompts.said(prompt).objects
        assert objects and all(o.shape and o.colour and o.motion for o in objects)


def test_result_files_are_shared_by_processes(tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    monkeypatch.setattr(sys, "argv", ["scripts/a.py", "--methods", "one"])
    one = ResultFile(path, "Title", order=("one", "two"))
    two = ResultFile(path, "Title", order=("one", "two"))
    two.add("scene", "two", {"psnr": 2.0})
    one.add("scene", "one", {"psnr": 1.0}, key="k")
    one.note("same")
    two.note("same")
    two.note("one: new", instead_of="one: ")
    document = json.loads(path.read_text())
    assert list(document["results"]["scene"]) == ["one", "two"]
    assert document["notes"] == ["same", "one: new"]
    assert document["command"] == "python scripts/a.py --methods one"
    again = ResultFile(path, "Title")
    assert again.done("scene", "one", "k") and not again.done("scene", "one", "other")
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
    path.write_text('{"something": "else"}')
    with pytest.raises(UserError, match="no result file"):
        ResultFile(path, "Title")
    path.write_text("{")
    with pytest.raises(UserError, match="not readable"):
        ResultFile(path, "Title")


def test_the_page_shows_intervals_and_keeps_kinds_of_rows_apart(tmp_path):
    results = ResultFile(tmp_path / "made.json", "Made")
    values = {"psnr": 20.0, "psnr_lo": 19.0, "psnr_hi": 21.5, "never": None, "seconds": 1.0}
    results.add("grids", "soft", values)
    results.add("grids", "none", {"psnr": None, "seconds": None})
    results.add("prompts", "default", {"colour": 0.5, "seconds": 2.0})
    results.note("none: no weights")
    page = tmp_path / "page.md"
    make_benchmarks.main(make_benchmarks.Options(folder=tmp_path, out=page))
    text = page.read_text()
    assert "| scene | variant | psnr | seconds |" in text and "never" not in text
    assert "| grids | soft | 20.00 [19.00, 21.50] | 1.00 |" in text
    assert "| grids | none | – | – |" in text and "- none: no weights" in text
    assert "| scene | variant | colour | seconds |" in text


def test_user_errors_of_scripts_are_one_line_and_exit_code_2(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evaluate.py generation", "--n", "0"])
    code = run_script(evaluate_generation.main, EvaluateGenerationConfig, "what it does")
    assert code == 2 and capsys.readouterr().err == "error: --n must be at least 1; got 0\n"


@pytest.mark.slow
def test_held_out_scenes_of_the_asset_world_are_scored(weights, tmp_path):
    cache = tmp_path / "cache"
    fill_cache(cache, [0, HELD_OUT, HELD_OUT + 1])
    methods = ("copy_nearest", "row_moved", "completion")
    cfg = options(weights, tmp_path, assets=cache, methods=methods, views=8, times=8)
    evaluate_generation.main(cfg)
    rows = rows_of(cfg.json, "assets")
    assert set(rows) >= {*methods, "truth"}
    assert json.loads(cfg.json.read_text())["settings"]["assets"]["n"] == 2
    for name in methods:
        assert rows[name]["psnr"] > 30  # the cells differ by a few grey levels
