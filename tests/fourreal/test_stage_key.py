"""Stage keys: equal when nothing changed that decides the result, else naming what did."""

import os
import sys

import numpy as np
import pytest

from fourreal import stage_key
from fourreal.stage_key import StageKey, content_hash, fingerprint, program_hash


def test_hash_follows_file_contents(tmp_path):
    file = tmp_path / "a.bin"
    file.write_bytes(b"1")
    before = content_hash(file, {"x": 1})
    assert before == content_hash(file, {"x": 1})
    file.write_bytes(b"2")
    assert before != content_hash(file, {"x": 1})


def test_parts_that_changed_are_named(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"1")
    key = StageKey.of(settings={"a": 1}, their_weights=file, frames=np.zeros(3))
    again = StageKey.of(settings={"a": 1}, their_weights=file, frames=np.zeros(3))
    assert str(key) == str(again) and again.changed_since(key.parts) == []
    file.write_bytes(b"2")
    later = StageKey.of(settings={"a": 2}, their_weights=file, frames=np.zeros(3))
    assert later.changed_since(key.parts) == ["settings", "their weights"]
    assert str(later) != str(key)
    less = StageKey.of(settings={"a": 1}, frames=np.zeros(3))
    assert less.changed_since(key.parts) == ["their weights"]


def test_a_fingerprint_follows_what_runs_and_not_what_surrounds_it(tmp_path):
    (tmp_path / "net.py").write_text("x = 1")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "index").write_text("a")
    before = fingerprint(tmp_path)
    (tmp_path / ".git" / "index").write_text("b")
    assert fingerprint(tmp_path) == before
    (tmp_path / "net.py").write_text("x = 2")
    assert fingerprint(tmp_path) != before


def test_a_large_file_is_told_by_its_ends_and_its_time(tmp_path, monkeypatch):
    monkeypatch.setattr(stage_key, "LARGE", 100)
    monkeypatch.setattr(stage_key, "SAMPLE", 10)
    file = tmp_path / "weights.bin"
    file.write_bytes(bytes(200))
    os.utime(file, ns=(1, 1))
    before = fingerprint(file)
    assert fingerprint(file) == before
    for where in (0, 195):
        changed = bytearray(200)
        changed[where] = 1
        file.write_bytes(changed)
        os.utime(file, ns=(1, 1))
        assert fingerprint(file) != before
    file.write_bytes(bytes(200))
    os.utime(file, ns=(2, 2))
    assert fingerprint(file) != before


def test_program_hash_sees_an_edit_in_any_file_and_imports_nothing(tmp_path, monkeypatch):
    package = tmp_path / "odd_package"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    helper = package / "inner" / "helper.py"
    helper.write_text("a = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = program_hash("odd_package")
    program_hash.cache_clear()
    assert program_hash("odd_package") == before and "odd_package" not in sys.modules
    helper.write_text("a = 2")
    program_hash.cache_clear()
    assert program_hash("odd_package") != before
    with pytest.raises(ValueError, match="no package or module"):
        program_hash("no_such_package_anywhere")
