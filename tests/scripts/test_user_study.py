"""The user study from grids to chart, clicked through in a real browser."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from fourreal.errors import UserError
from fourreal.script import run_script
from fourreal.video_io import read_video
from gen.grid import VideoGrid
from scripts.evaluate import study as user_study
from scripts.evaluate.user_study.build import build_study, grid_video
from scripts.evaluate.user_study.questions import QUESTIONS
from scripts.evaluate.user_study.summary import Preference, save_chart, summarize
from scripts.tools.browser import Browser, find_chromium

PAIRS = 3


def grids(folder: Path, level: float) -> Path:
    folder.mkdir()
    for i in range(PAIRS):
        frames = np.full((3, 3, 24, 32, 3), level, np.float32)
        frames[..., 8:16, 4 * i : 4 * i + 6, 0] = 1 - level
        VideoGrid(frames, prompt=f"scene {i} </script><b>").save_npz(folder / f"pair{i}.npz")
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of a bright method against a dark one."""
    folder = tmp_path_factory.mktemp("study")
    bright, dark = grids(folder / "bright", 0.9), grids(folder / "dark", 0.1)
    build_study(bright, dark, folder / "out", names=("bright", "dark"), views=2)
    return folder / "out"


@pytest.fixture(scope="module")
def browser():
    if find_chromium() is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs Chromium for the user study's page (apt install chromium)")
        pytest.skip("no Chromium found: the user study's page is not clicked through")
    with Browser(1100, 900) as opened:
        yield opened


def test_a_grid_is_shown_view_by_view_there_and_back():
    frames = np.zeros((5, 3, 4, 6, 3), np.float32)
    frames += np.arange(5)[:, None, None, None, None] / 10
    frames += np.arange(3)[None, :, None, None, None] / 100
    shown = grid_video(VideoGrid(frames), 2)[:, 0, 0, 0]
    np.testing.assert_allclose(shown, [0.1, 0.11, 0.12, 0.11, 0.4, 0.41, 0.42, 0.41], atol=1e-6)


def test_the_page_does_not_tell_who_is_who(study):
    key = json.loads((study / "key.json").read_text())
    page = (study / "page" / "index.html").read_text()
    assert "bright" not in page and "dark" not in page and "__STUDY__" not in page
    files = {p.stem for p in (study / "page" / "videos").iterdir()}
    assert files == set(key["videos"]) and len(files) == 2 * PAIRS
    assert {v["name"] for v in key["videos"].values()} == {"bright", "dark"}
    for left, right in key["pairs"].values():
        assert key["videos"][left]["grid"] == key["videos"][right]["grid"]
    frames, _, _ = read_video(study / "page" / "videos" / f"{files.pop()}.mp4")
    assert frames.shape[0] == 8 and frames.shape[2] >= 384
    with pytest.raises(UserError, match="holds a study"):
        build_study(study, study, study, names=("a", "b"))


def shown(browser: Browser) -> dict:
    """Where the page is."""
    return browser.evaluate(
        "({start: !$('start').hidden, trial: !$('trial').hidden, end: !$('end').hidden,"
        " place: $('place').textContent, next: !$('next').disabled,"
        " left: $('left').getAttribute('src'), right: $('right').getAttribute('src'),"
        " width: $('progress').style.width, prompt: $('prompt').textContent,"
        " current: [...document.querySelectorAll('li')].findIndex(x => x.matches('.current')),"
        " pressed: document.querySelectorAll('.sides button[aria-pressed=true]').length})"
    )


def click(browser: Browser, selector: str) -> None:
    """Press the mouse where an element is, as a person would."""
    browser.evaluate(f"document.querySelector('{selector}').scrollIntoView({{block: 'end'}})")
    box = browser.evaluate(
        f"(() => {{ const r = document.querySelector('{selector}').getBoundingClientRect();"
        " return [r.left + r.width / 2, r.top + r.height / 2]; })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        browser.call(
            "Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1
        )


def press(browser: Browser, key: str) -> None:
    browser.call("Input.dispatchKeyEvent", type="keyDown", key=key)
    browser.call("Input.dispatchKeyEvent", type="keyUp", key=key)


def better_side(browser: Browser, key: dict) -> str:
    """The side on which the bright video is."""
    left = Path(shown(browser)["left"]).stem
    return "left" if key["videos"][left]["name"] == "bright" else "right"


def wait_for(path: Path) -> Path:
    deadline = time.monotonic() + 30
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < deadline, f"{path} was not downloaded"
        time.sleep(0.05)
    return path


def test_clicked_through_and_summarised(browser, study, tmp_path):
    key = json.loads((study / "key.json").read_text())
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.open(study / "page" / "index.html")
    assert shown(browser)["start"]
    click(browser, "#who")
    browser.call("Input.insertText", text="Ann 1")
    click(browser, "#begin")
    now = shown(browser)
    assert now["trial"] and now["place"] == "Pair 1 of 3" and not now["next"]
    assert now["prompt"].endswith("</script><b>") and now["pressed"] == 0

    # First pair with the mouse: the bright video is better in every respect, but for dynamics.
    bright = better_side(browser, key)
    dark = {"left": "right", "right": "left"}[bright]
    for i, question in enumerate(QUESTIONS):
        assert not shown(browser)["next"]
        side = dark if question.key == "dynamics" else bright
        click(browser, f"li:nth-child({i + 1}) button[data-side={side}]")
        assert shown(browser)["pressed"] == i + 1
    playing = "!$('left').paused && $('left').videoWidth > 300"
    deadline = time.monotonic() + 20
    while not browser.evaluate(playing):
        assert time.monotonic() < deadline, "the video does not play"
        time.sleep(0.05)
    picture = browser.screenshot()
    click(browser, "#next")
    assert shown(browser)["place"] == "Pair 2 of 3" and shown(browser)["width"].startswith("33")

    # Second pair with the keyboard; half-way the tab is closed and opened again.
    bright = better_side(browser, key)
    arrow = {"left": "ArrowLeft", "right": "ArrowRight"}
    for _ in range(3):
        press(browser, arrow[bright])
    before = shown(browser)
    assert before["current"] == 3
    deadline = time.monotonic() + 30
    while True:  # the browser writes its storage when it has time
        browser.open("about:blank")
        browser.open(study / "page" / "index.html")
        if shown(browser) == before or time.monotonic() > deadline:
            break
    assert shown(browser) == before
    press(browser, "ArrowUp")
    press(browser, arrow[{"left": "right", "right": "left"}[bright]])  # the third changes its mind
    press(browser, "Enter")
    assert shown(browser)["place"] == "Pair 2 of 3"  # four questions are open
    for _ in range(4):
        press(browser, arrow[bright])
    press(browser, "Enter")
    assert shown(browser)["place"] == "Pair 3 of 3"
    press(browser, "Backspace")
    assert shown(browser)["place"] == "Pair 2 of 3" and shown(browser)["pressed"] == 7
    press(browser, "Enter")

    # Third pair: junk, taken back, junk again.
    for want in (True, False, True):
        press(browser, "j")
        assert shown(browser)["next"] is want
    press(browser, "Enter")
    assert shown(browser)["end"]
    click(browser, "#download")
    answers = wait_for(tmp_path / f"answers-{key['id']}-Ann-1.json")
    assert browser.console == []

    told = json.loads(answers.read_text())
    assert told["evaluator"] == "Ann 1" and all(t["seconds"] > 0 for t in told["trials"])
    got = summarize(study / "key.json", [answers])
    assert got.names == ("bright", "dark") and (got.evaluators, got.trials) == (1, 3)
    votes = {k: (p.votes_a, p.votes, p.junk) for k, p in got.preferences.items()}
    assert votes["dynamics"] == (1, 2, 1) and votes["background"] == (1, 2, 1)
    assert votes["motion"] == votes["overall"] == votes["text"] == (2, 2, 1)
    assert picture.std() > 20

    chart, table = tmp_path / "chart.png", tmp_path / "study.json"
    user_study.main(user_study.Summarize((answers,), study / "key.json", table, chart))
    row = json.loads(table.read_text())["results"]["bright against dark"]["Dynamics"]
    assert row["share"] == 0.5 and row["share_lo"] < 0.2 and row["p"] == 1
    assert cv2.imread(str(chart)).std() > 20


def test_everybody_sees_other_sides_and_another_order(browser, study):
    seen = set()
    for _ in range(6):
        browser.open(study / "page" / "index.html")
        browser.evaluate("localStorage.clear()")
        browser.open(study / "page" / "index.html")
        click(browser, "#begin")
        seen.add(browser.evaluate("state.trials.map(t => t.left).join()"))
    assert len(seen) >= 4  # of 48: two equal ones in six draws are possible


def test_preferences_have_wilson_intervals():
    p = Preference(8, 10, 0)
    low, high = p.interval()
    assert p.share == 0.8 and low == pytest.approx(0.490, abs=1e-3)  # Wilson 1927
    assert high == pytest.approx(0.943, abs=1e-3)
    assert p.p_value() == pytest.approx(0.109, abs=1e-3)
    none = Preference(0, 0, 4)
    assert none.metrics()["share"] is None and none.interval() == (None, None)


def answer_file(path: Path, out: Path, side: str, **changes) -> Path:
    key = json.loads((out / "key.json").read_text())
    trials = [
        {"pair": pair, "left": v[0], "right": v[1], "junk": False, "seconds": 1.0,
         "answers": {q.key: side for q in QUESTIONS}}
        for pair, v in key["pairs"].items()
    ]  # fmt: skip
    document = {"format": "user-study-answers", "version": 1, "study": key["id"], "seed": 1,
                "evaluator": "x", "trials": trials}  # fmt: skip
    path.write_text(json.dumps({**document, **changes}))
    return path


def test_answers_are_checked_and_counted_once(study, tmp_path, capsys, monkeypatch):
    one = answer_file(tmp_path / "one.json", study, "left")
    again = answer_file(tmp_path / "again.json", study, "left")
    other = answer_file(tmp_path / "other.json", study, "right", seed=2)
    got = summarize(study / "key.json", [one, again, other])
    assert "came twice" in capsys.readouterr().err
    assert got.evaluators == 2 and got.preferences["motion"].votes_a == PAIRS
    save_chart(got, tmp_path / "chart.png")
    assert (tmp_path / "chart.png").stat().st_size > 5000
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match="matplotlib"):
        save_chart(got, tmp_path / "other.png")
    foreign = answer_file(tmp_path / "foreign.json", study, "left", study="other")
    with pytest.raises(UserError, match="another study"):
        summarize(study / "key.json", [foreign])
    for broken in ("{", "[]", '{"format": "user-study-answers"}'):
        (tmp_path / "broken.json").write_text(broken)
        with pytest.raises(UserError, match="broken.json"):
            summarize(study / "key.json", [tmp_path / "broken.json"])
    odd = answer_file(tmp_path / "odd.json", study, "up")
    with pytest.raises(UserError, match="no side"):
        summarize(study / "key.json", [odd])


def test_the_script_reads_its_two_commands(tmp_path, monkeypatch, capsys):
    a, b = grids(tmp_path / "soft", 0.8), grids(tmp_path / "hard", 0.3)
    words = ["user_study.py", "build", "--a", str(a), "--b", str(b), "--out", str(tmp_path / "s"),
             "--pairs", "1"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", words)
    assert run_script(user_study.main, user_study.Build | user_study.Summarize, "") == 0
    assert len(list((tmp_path / "s/page/videos").iterdir())) == 2
    assert json.loads((tmp_path / "s/key.json").read_text())["names"] == ["soft", "hard"]
    monkeypatch.setattr(sys, "argv", [*words[:-1], "0"])
    assert run_script(user_study.main, user_study.Build | user_study.Summarize, "") == 2
    assert "at least 1" in capsys.readouterr().err
