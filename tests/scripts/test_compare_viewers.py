"""The comparison of all ways of looking, at tiny size with the ways that any machine has."""

import json
import os

import cv2
import pytest

from fourreal.errors import UserError
from scripts.tools import compare_viewers, player_rate
from scripts.tools.browser import find_chromium
from scripts.tools.compare_viewers import Args, main
from scripts.tools.viewer_routes import ROUTES
from scripts.tools.viewer_shot import words
from tests.viewer.toy_scene import toy_scene


@pytest.fixture
def run(tmp_path):
    toy_scene(600).save(tmp_path / "run" / "scene.safetensors")
    return tmp_path / "run"


def test_routes_without_a_browser_match_our_rasterizer_and_are_kept(run, tmp_path, monkeypatch):
    monkeypatch.setattr(compare_viewers, "viser_html_megabytes", lambda _: 9.0)
    monkeypatch.setattr(compare_viewers, "found_programs", lambda: ("", None))
    routes = ("ply", "payload", "video", "splat_transform_ply", "ns_render")
    args = Args(run, tmp_path / "sheet.png", tmp_path / "a.json", "toy", routes, width=128,
                pictures=tmp_path / "pictures")  # fmt: skip
    main(args)
    document = json.loads((tmp_path / "a.json").read_text())
    rows = document["results"]["toy"]
    assert rows["ply"]["psnr"] > 55 and rows["payload"]["psnr"] > 45 and rows["video"]["psnr"] > 25
    assert 0 < rows["payload"]["megabytes"] < rows["ply"]["megabytes"]
    for missing in ("splat_transform_ply", "ns_render"):  # null has its reason in the notes
        assert rows[missing]["psnr"] is None
        assert any(missing in note and "not installed" in note for note in document["notes"])
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape == (72 + 22, 4 * (128 + 4), 3)
    for k in range(4):
        assert sheet[:72, 132 * k : 132 * k + 128].std() > 20  # none is black
    monkeypatch.setitem(ROUTES, "ply", lambda _: pytest.fail("done before"))
    main(args)
    assert json.loads((tmp_path / "a.json").read_text())["results"]["toy"]["ply"] == rows["ply"]


@pytest.mark.slow
@pytest.mark.skipif(
    find_chromium() is None and not os.environ.get("CI"), reason="no Chromium (set CHROMIUM)"
)
def test_player_route_and_its_rate(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compare_viewers, "viser_html_megabytes", lambda _: 9.0)
    main(Args(run, json=tmp_path / "a.json", name="toy", routes=("player",)))
    rows = json.loads((tmp_path / "a.json").read_text())["results"]["toy"]
    assert rows["player"]["psnr"] > 40 and rows["viser_html"]["megabytes"] == 9.0
    player_rate.main(player_rate.Args(points=300, size=(160, 90), seconds=0.5))
    assert "frames a second" in capsys.readouterr().out


def test_nonsense_is_refused(run, tmp_path):
    for wrong in ({"routes": ("telepathy",)}, {"width": 3}, {"out": tmp_path / "a.txt"}):
        with pytest.raises(UserError):
            Args(run, **wrong)
    with pytest.raises(UserError, match="no scene"):
        main(Args(tmp_path))
    with pytest.raises(UserError, match="no such page"):
        player_rate.Args(tmp_path / "absent.html")
    assert words("python run_pipeline.py absent.py")[2] == "absent.py"
