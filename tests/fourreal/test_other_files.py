"""Paths as people type, drag and paste them."""

import pytest

import run_pipeline
from fourreal.other_files import nothing_there
from tests.gen.footage.footage_files import ffmpeg


@pytest.mark.parametrize(
    "typed", ["'my clip.mp4'", '"my clip.mp4"', "my clip.mp4 ", r"my\ clip.mp4", "~/my clip.mp4",
              "file://HOME/my%20clip.mp4"]
)  # fmt: skip
def test_what_a_path_is_meant_to_be_is_said(tmp_path, monkeypatch, typed):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my clip.mp4").write_bytes(b"")
    said = str(nothing_there(typed.replace("HOME", str(tmp_path))))
    assert said.startswith("no such file or folder") and said.endswith("my clip.mp4' is there")


def test_a_file_whose_name_begins_with_a_dash_is_no_option(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=1", "./-clip.mp4")
    assert run_pipeline.main(["inspect", "-clip.mp4"]) == 0
    assert "-clip.mp4: clip of 10 frames" in capsys.readouterr().out


def test_a_clip_without_a_suffix_is_looked_into(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=1", "a.mp4")
    (tmp_path / "a.mp4").rename("clip")
    assert run_pipeline.main(["inspect", "clip"]) == 0
    assert "clip: clip of 10 frames" in capsys.readouterr().out
