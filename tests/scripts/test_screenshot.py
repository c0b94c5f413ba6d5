"""The screenshot script: a picture of the right size, and one line where there is none."""

import sys

import cv2
import pytest

from fourreal.script import run_script
from scripts.tools.browser import find_chromium
from scripts.tools.screenshot_player import Args, main
from tests.viewer.toy_scene import toy_scene
from viewer.page.html import write_player


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium (set CHROMIUM)")
def test_picture_of_a_phone_and_a_page_without_a_player(tmp_path, monkeypatch, capsys):
    write_player(toy_scene(400), tmp_path / "index.html")
    main(Args(tmp_path / "index.html", tmp_path / "a.png", time=0.5, view=1, phone=True, scale=2.0))
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert picture.shape == (2 * 844, 2 * 390, 3) and picture.std() > 15
    (tmp_path / "other.html").write_text("<h1>hello</h1>")
    run = ["screenshot_player.py", str(tmp_path / "other.html"), str(tmp_path / "b.png")]
    monkeypatch.setattr(sys, "argv", run)
    assert run_script(main, Args, "") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "no player" in error
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize(
    ("page", "out", "options"),
    [
        ("absent.html", "a.png", []),
        ("page.html", "a.txt", []),
        ("page.html", "nowhere/a.png", []),
        ("page.html", "a.png", ["--time", "2"]),
        ("page.html", "a.png", ["--mode", "7"]),
    ],
)
def test_nonsense_is_one_line(tmp_path, monkeypatch, capsys, page, out, options):
    (tmp_path / "page.html").write_text("<h1>hello</h1>")
    run = ["screenshot_player.py", str(tmp_path / page), str(tmp_path / out), *options]
    monkeypatch.setattr(sys, "argv", run)
    assert run_script(main, Args, "") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
