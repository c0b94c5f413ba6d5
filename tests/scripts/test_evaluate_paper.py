"""From held-out pairs on disk to the paper's tables, the ablation table and the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fourreal.checkout import importable
from fourreal.errors import UserError
from fourreal.video_io import write_video
from gen.grid import VideoGrid
from scripts.evaluate import ablate, make_pairs, report
from scripts.evaluate import benchmarks as make_benchmarks
from scripts.evaluate import paper as evaluate_paper
from scripts.evaluate.ablate import ROWS, AblateConfig
from scripts.evaluate.make_pairs import PairsConfig
from scripts.evaluate.metrics.grid_set import find_test_set, read_prompts
from scripts.evaluate.metrics.registry import METRICS
from scripts.evaluate.metrics.weight_free import Flicker
from scripts.evaluate.paper import EvaluatePaperConfig
from tests.scripts.metric_stand_ins import PACKAGES, make_packages, make_weights
from tests.scripts.test_evaluate_generation import tiny_weights

LABEL = "3 grids"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def pairs(tiny, tmp_path_factory) -> Path:
    """Three held-out pairs with two methods."""
    out = tmp_path_factory.mktemp("pairs")
    make_pairs.main(pairs_config(out, tiny, methods=("additive", "soft")))
    return out


def pairs_config(out: Path, weights: Path, **changes) -> PairsConfig:
    settings = dict(out=out, n=3, views=3, times=3, grid_steps=1, weights=weights, device="cpu")
    return PairsConfig(**(settings | changes))


def paper(pairs: Path, folder: Path, **changes) -> EvaluatePaperConfig:
    settings = dict(
        grids=pairs / "grids", inputs=pairs / "inputs", json=folder / "paper.json",
        work=folder / "work", device="cpu",
    )  # fmt: skip
    return EvaluatePaperConfig(**(settings | changes))


def test_pairs_are_written_once_and_never_mixed(pairs, tiny, monkeypatch):
    grid = VideoGrid.load(pairs / "grids" / "soft" / "pair000.npz")
    truth = VideoGrid.load(pairs / "inputs" / "pair000.npz")
    assert grid.frames.shape == truth.frames.shape and grid.prompt == truth.prompt != ""
    np.testing.assert_allclose(grid.row(0), truth.row(0), atol=1 / 255)
    assert np.abs(grid.frames - truth.frames).mean() > 0.01 and truth.w2c is not None

    def never(*_):
        raise AssertionError("completed again")

    monkeypatch.setattr("scripts.evaluate.metrics.pairs.completion", lambda *_: never)
    make_pairs.main(pairs_config(pairs, tiny, methods=("soft",)))
    for change in ({"n": 2}, {"seed": 1}, {"times": 4}, {"grid_steps": 2}):
        with pytest.raises(UserError, match="something else"):
            make_pairs.main(pairs_config(pairs, tiny, methods=("soft",), **change))
    with pytest.raises(UserError, match="firm"):
        pairs_config(pairs, tiny, methods=("firm",))


def test_tables_without_networks(pairs, tmp_path, capsys):
    cfg = paper(pairs, tmp_path)
    evaluate_paper.main(cfg)
    document = json.loads(cfg.json.read_text())
    rows = document["results"][LABEL]
    assert set(rows) == {"additive", "soft", "truth"}
    for column in ("psnr", "cse_px", "matches", "flicker_time", "static_psnr"):
        value, low, high = (rows["additive"][f"{column}{end}"] for end in ("", "_lo", "_hi"))
        assert low <= value <= high
    assert rows["additive"]["psnr"] > rows["soft"]["psnr"]
    assert rows["truth"]["psnr"] is None and rows["truth"]["cse_px"] < 1
    assert rows["soft"]["fid"] is rows["soft"]["gim_0_5"] is None
    missing = {name: m["missing"] for name, m in document["metrics"].items()}
    assert missing["truth"] == "" and "get gim" in missing["gim"]
    out = capsys.readouterr().out
    assert "Table 1" in out and "FVD-Test, view ↓" in out and "DUSt3R > 2.5, % ↑" in out

    page = tmp_path / "page.md"
    make_benchmarks.main(make_benchmarks.Options(folder=cfg.json.parent, out=page, data=()))
    text = page.read_text()
    assert "**Table 2" in text and "weights missing: get VideoScore-v1.1" in text
    assert "| fid | FID | weights missing" in text and "| flicker |" in text


def test_an_interrupted_run_goes_on(pairs, tmp_path, monkeypatch):
    cfg = paper(pairs, tmp_path, metrics=("flicker",))
    measured = []
    real = Flicker.measure

    def counted(self, sample):
        measured.append(sample.name)
        if len(measured) == 5:
            raise KeyboardInterrupt
        return real(self, sample)

    monkeypatch.setattr(Flicker, "measure", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate_paper.main(cfg)
    evaluate_paper.main(cfg)
    assert len(measured) == 5 + 5  # three methods of three grids, four of them done before
    before = cfg.json.read_text()
    evaluate_paper.main(cfg)
    assert len(measured) == 10 and cfg.json.read_text() == before  # intervals have fixed seeds
    record = cfg.work / "flicker" / "soft" / "pair001.npz"
    record.write_bytes(record.read_bytes()[:50])  # damaged: made again
    evaluate_paper.main(cfg)
    assert len(measured) == 11 and cfg.json.read_text() == before


def test_all_tables_with_stand_in_networks(pairs, tmp_path):
    weights = make_weights(tmp_path / "networks")
    videos = tmp_path / "videos"
    videos.mkdir()
    for i in range(3):
        noise = np.random.default_rng(i).random((4, 32, 32, 3), np.float32)
        write_video(videos / f"{i}.mp4", noise, 8)
    prompts = tmp_path / "prompts.tsv"
    prompts.write_text("pair000\ta ball\npair001\ta cube\n")
    cfg = paper(pairs, tmp_path, weights=weights, reference=videos, prompts=prompts)
    with importable(make_packages(tmp_path / "packages"), PACKAGES):
        evaluate_paper.main(cfg)
    document = json.loads(cfg.json.read_text())
    rows = document["results"][LABEL]
    keys = [c.key for m in METRICS.values() for c in m.columns if m.name != "met3r"]
    assert {k: rows["soft"][k] for k in keys if rows["soft"][k] is None} == {}
    assert rows["truth"]["gim_0_5"] > rows["soft"]["gim_0_5"]  # random weights make noise
    assert rows["truth"]["fid"] < rows["soft"]["fid"]
    assert {n for n, m in document["metrics"].items() if m["missing"]} == {*METRICS} - {
        "epipolar", "flicker", "truth"
    } or document["metrics"]["gim"]["missing"] == ""  # fmt: skip


def test_other_peoples_grids(tmp_path):
    """One method, folders of pictures, no inputs, no cameras, no truth."""
    for i in range(2):
        frames = np.random.default_rng(i).random((3, 3, 16, 24, 3), np.float32)
        VideoGrid(frames).save(tmp_path / "mine" / f"scene{i}")
    found = find_test_set(tmp_path / "mine")
    assert found.names == ["scene0", "scene1"] and set(found.methods) == {"mine"}
    cfg = paper(tmp_path, tmp_path, grids=tmp_path / "mine", inputs=None, label="theirs")
    evaluate_paper.main(cfg)
    row = json.loads(cfg.json.read_text())["results"]["theirs"]["mine"]
    assert row["flicker_time"] > 50 and row["psnr"] is None and row["cse_px"] is None


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"grids": Path("nowhere")}, "no such folder: nowhere"),
        ({"metrics": ("fidd",)}, "unknown metric"),
        ({"methods": ("hard",)}, "no grids of 'hard'"),
        ({"weights": Path("nowhere")}, "--weights"),
        ({"prompts": Path("nowhere.tsv")}, "--prompts"),
    ],
)
def test_users_are_told(pairs, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        evaluate_paper.main(paper(pairs, tmp_path, **changes))
    assert not (tmp_path / "paper.json").exists()


def test_grids_and_inputs_must_belong_together(pairs, tmp_path):
    with pytest.raises(UserError, match="no grids in"):
        evaluate_paper.main(paper(tmp_path, tmp_path, grids=tmp_path, inputs=None))
    other = VideoGrid(np.zeros((4, 3, 16, 24, 3), np.float32))
    (tmp_path / "in").mkdir()
    for i in range(3):
        other.save_npz(tmp_path / "in" / f"pair00{i}.npz")
    with pytest.raises(UserError, match="4 views x 3 times"):
        evaluate_paper.main(paper(pairs, tmp_path, inputs=tmp_path / "in"))
    (tmp_path / "in" / "pair001.npz").unlink()
    with pytest.raises(UserError, match="has no pair001"):
        evaluate_paper.main(paper(pairs, tmp_path, inputs=tmp_path / "in"))
    (tmp_path / "p.json").write_text('{"a": "b"}')
    assert read_prompts(tmp_path / "p.json") == {"a": "b"}
    (tmp_path / "p.tsv").write_text("no tab here\n")
    with pytest.raises(UserError, match="lines of NAME"):
        read_prompts(tmp_path / "p.tsv")


def ablation(tiny: Path, folder: Path, **changes) -> AblateConfig:
    settings = dict(
        out=folder, base=tiny, steps=2, finetune_steps=1, n=2, views=3, times=3, grid_steps=1,
        metrics=("flicker", "truth"), device="cpu", json=folder / "ablation.json",
        train_args="--batch 2 --big-every 0 --views 2 --times 2 --pool.chunk 2 --pool.start 1",
    )  # fmt: skip
    return AblateConfig(**(settings | changes))


@pytest.mark.slow
def test_a_row_is_trained_completed_and_measured(tiny, tmp_path, monkeypatch):
    cfg = ablation(tiny, tmp_path, row="soft_without_last_third")
    ablate.main(cfg)
    ablate.main(ablation(tiny, tmp_path, row="soft_untrained"))
    document = json.loads(cfg.json.read_text())
    rows = document["results"]["2 + 1 steps"]
    assert list(rows) == ["soft_untrained", "soft_without_last_third"]
    assert all(row["psnr"] > 3 and row["grids"] == 2 for row in rows.values())
    assert [x["title"][:7] for x in document["layouts"]] == ["Table 3"]
    runs = tmp_path / "2_1" / "training" / "soft_without_last_third"
    made = json.loads((runs / "pseudo4d_rendered" / "weights" / "soft.json").read_text())
    assert made["layers"] == [0] and made["how_made"]["mix"]["procedural"] == 1
    assert made["how_made"]["init"] == "pseudo4d" and made["how_made"]["step"] == 1

    monkeypatch.setattr(ablate.subprocess, "run", None)  # nothing is trained again
    ablate.main(cfg)
    with pytest.raises(UserError, match="other settings"):
        ablate.main(ablation(tiny, tmp_path, row="soft_untrained", finetune_args="--lr 1"))


def test_recorded_rows_are_taken_over(tmp_path):
    source = tmp_path / "generation.json"
    values = {"additive": 1.0, "soft": 26.0, "soft_without_last_third": 25.0}
    rows = {
        name: {"psnr": p, "psnr_lo": p - 1, "psnr_hi": p + 1, "sampson_px": 0.2, "seconds": 3.0}
        for name, p in values.items()
    }
    document = {"schema": 1, "command": "python x.py", "results": {"world": rows, "prompts": {}}}
    source.write_text(json.dumps(document))
    cfg = AblateConfig(recorded=source, json=tmp_path / "ablation.json")
    ablate.main(cfg)
    made = json.loads(cfg.json.read_text())
    got = made["results"]["world, bundled mixers"]
    assert list(got) == ["soft", "soft, last third switched off"]
    assert got["soft"]["psnr"] == 26 and got["soft"]["psnr_lo"] == 25
    assert got["soft"]["cse_px"] == 0.2 and "seconds" not in got["soft"]
    assert any("python x.py" in note for note in made["notes"])
    source.write_text('{"results": {}}')
    with pytest.raises(UserError, match="no row 'soft'"):
        ablate.main(cfg)


def test_rows_share_their_first_stage_and_have_equal_budgets(tiny, tmp_path):
    cfg = ablation(tiny, tmp_path)
    made = {name: ablate.stages(row, cfg, tiny, 6) for name, row in ROWS.items()}
    for name, stages in made.items():
        assert [s.steps for s in stages] == ([2, 1] if ROWS[name].stages else [])
        for stage in stages:
            assert str(stage.steps) == stage.command[stage.command.index("--steps") + 1]
    assert made["soft"][0] == made["soft_mixed"][0] == made["soft_pseudo4d_only"][0]
    assert made["soft"][1].folder != made["soft_mixed"][1].folder
    assert len({s.folder for stages in made.values() for s in stages[1:]}) == 9
    command = made["soft_without_first_third"][1].command
    assert command[command.index("--layers") + 1 :][:4] == ["2", "3", "4", "5"]
    with pytest.raises(UserError, match="unknown row"):
        AblateConfig(row="firm")


def test_the_report_and_the_page_come_from_the_same_files(pairs, tmp_path):
    folder = tmp_path / "benchmarks"
    evaluate_paper.main(paper(pairs, tmp_path, json=folder / "paper.json", metrics=("truth",)))
    outside = {"schema": 1, "title": "Scored & recorded", "command": "python a.py; python b.py",
               "hardware": "a <CPU>", "results": {"fox_run": {"default": {"psnr": 31.25}},
                                                  "procedural": {"default": {"psnr": 20.0}}},
               "notes": ["one"]}  # fmt: skip
    (folder / "outside.json").write_text(json.dumps(outside))
    sheet = tmp_path / "sheet.png"
    VideoGrid(np.random.default_rng(0).random((2, 2, 9, 16, 3), np.float32)).save(tmp_path / "g")
    sheet.write_bytes((tmp_path / "g" / "v00" / "t000.png").read_bytes())
    run = tmp_path / "a-run"
    run.mkdir()
    (run / "run.yaml").write_text("stages: {grid: {seconds: 1.5, peak_mb: 300.0}}\n")
    cfg = report.ReportConfig(
        out=tmp_path / "report.html", folder=folder, pictures=(sheet,), runs=(run,),
        markdown=tmp_path / "BENCHMARKS.md", data=(),
    )  # fmt: skip
    report.main(cfg)
    text, page = cfg.out.read_text(), cfg.markdown.read_text()
    assert "| fox_run (recorded) | default | 31.25 |" in page
    assert "fox_run (recorded)" in text
    assert "| procedural | default | 20.00 |" in page
    for part in ("Scored &amp; recorded", "a &lt;CPU&gt;", "<code>python b.py</code>", "<svg",
                 "data:image/png;base64,", "grid: 1.5 s, 300 MiB", "Table 3", "31.25"):  # fmt: skip
        assert part in text
    assert 'src="http' not in text and 'href="http' not in text.replace("xlink:href", "")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "fox_run").mkdir()
    options = make_benchmarks.Options(folder, cfg.markdown, (tmp_path / "here",))
    make_benchmarks.main(options)
    assert "(recorded) |" not in cfg.markdown.read_text()
    with pytest.raises(UserError, match="no such file"):
        report.ReportConfig(runs=(tmp_path / "none",))
    with pytest.raises(UserError, match="no finished run"):
        report.run_section(tmp_path)
    with pytest.raises(UserError, match="no picture"):
        report.picture_files((run / "run.yaml",))
