"""docs/GUIDE.md: every command of its code blocks is run, on small stand-ins with a hasty fit."""

import re
import shlex

import numpy as np
import pytest

import recon.config
import run_pipeline
from fourreal.video_io import write_video
from gen.grid import VideoGrid
from tests.gen.footage import colmap_files
from tests.gen.footage import footage_files as files
from tests.shared_data import REPOSITORY

GUIDE = REPOSITORY / "docs" / "GUIDE.md"
MAKES_SCENE = ("videos", "grid", "prompt")


def commands():
    blocks = re.findall(r"^```\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    assert all(line.startswith("python run_pipeline.py ") for line in lines)
    return [shlex.split(line, comments=True)[2:] for line in lines]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Phone clips and a rig of the names that the guide uses, of a small rendered scene."""
    at = tmp_path_factory.mktemp("guide")
    scene = files.scene(V=5, T=8, size=(36, 60))
    write_video(at / "fixed.mp4", np.concatenate([scene.row(0), scene.row(0)[4:]]), 8)
    write_video(at / "freeze.mp4", scene.column(0), 8)
    files.cameras_json(scene, at / "rig")
    names = [f"IMG_{v:04d}.jpg" for v in range(scene.V)]
    colmap_files.photos(scene, at / "photos", names)
    colmap_files.photos(scene, at / "colmap_scene" / "images", names)
    colmap_files.model(scene, at / "colmap_scene" / "sparse" / "0", names)
    return at


def test_guide_names_every_kind_of_command():
    kinds = {argv[0] for argv in commands()}
    assert kinds == {"inspect", "videos", "grid", "view", "export"}


@pytest.fixture
def hasty(monkeypatch):
    """Scenes are fitted in next to no steps, and nothing is followed or sought before."""
    usual = recon.config.preset

    def preset(name):
        config = usual(name)
        config.static_steps, config.floaters.steps, config.deformation.steps = 5, 3, 10
        config.deformation.track_init = config.deformation.later_surface = False
        return config

    monkeypatch.setattr(recon.config, "preset", preset)


@pytest.mark.slow
def test_every_command_of_the_guide_works(folder, hasty, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("viewer.viser.app.serve", lambda *a, **k: None)  # it waits for Ctrl-C
    for argv in commands():
        small = ["--preset", "debug"] if argv[0] in MAKES_SCENE else []
        if argv[0] == "export" and "video" in argv:
            small = ["--frames", "3"]
        assert run_pipeline.main([*argv, *small]) == 0, (argv, capsys.readouterr().err)
    runs = folder / "outputs"
    assert VideoGrid.load(runs / "fixed-freeze" / "grid").T == 12
    assert VideoGrid.load(runs / "part" / "grid").frames.shape[:4] == (4, 4, 72, 128)
    assert (runs / "inspect" / "rig.png").is_file()


def test_messages_of_the_guide_are_messages_of_the_program():
    text = GUIDE.read_text()
    rows = re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)
    sources = "\n".join(
        " ".join(re.sub(r'"\s*\n\s*f?"', "", f.read_text()).split())
        for floor in ("fourreal", "gen", "tracking", "recon", "pipeline")
        for f in (REPOSITORY / floor).rglob("*.py")
    )
    assert len(rows) >= 8
    for row in rows:
        words = [part.strip() for part in re.split(r"…|[\d.:]+|A:B", row)]
        longest = max(words, key=len)
        assert longest in sources, f"the program never says '{longest}'"
