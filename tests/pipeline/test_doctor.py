"""doctor: one screen that says what there is and what will be slow."""

from pathlib import Path

import run_pipeline
from pipeline import doctor


def test_one_screen_with_everything_in_it(capsys):
    assert run_pipeline.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 32 and max(map(len, lines)) < 250
    first = [line.split(":")[0] for line in lines]
    wanted = (
        "versions system memory disk device video weights optional tracker depth wan slow".split()
    )
    assert list(dict.fromkeys(first)) == wanted
    assert sum(name == "optional" for name in first) == len(doctor.OPTIONAL_PARTS)
    assert "words, with upsampler" in next(x for x in lines if x.startswith("weights"))


def test_what_is_broken_hides_nothing_else(monkeypatch, tmp_path, capsys):
    def broken():
        raise OSError("the driver\nanswers nonsense")

    monkeypatch.setattr(doctor, "devices", broken)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    assert run_pipeline.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "device: cannot be told (OSError: the driver answers nonsense)" in lines
    assert next(x for x in lines if x.startswith("video")).startswith("video: no ffmpeg")
    assert lines[-1].startswith("slow: ")


def test_what_is_short_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "usable_cores", lambda: 1)
    monkeypatch.setattr(doctor, "_load", lambda: 3.0)
    monkeypatch.setattr(doctor, "_kernels_are_kept", lambda: False)
    said = "\n".join(doctor.what_is_slow(available=1.5, disk=0.5))
    for word in ("one core", "3.0 of 1 cores", "--max-memory", "--out", "NUMBA_CACHE_DIR"):
        assert word in said


def test_memory_is_that_of_this_machine():
    available, total = doctor.memory()
    if Path("/proc/meminfo").exists():
        assert 0 < available <= total
    else:
        assert (available, total) == (None, None)
