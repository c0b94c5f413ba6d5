"""These tests need diffusers; the lane .ci/run-wan has it, and fails where another would skip."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.gen.wan.tiny import save_folder


@pytest.fixture(scope="session", autouse=True)
def libraries():
    missing = [name for name in ("diffusers", "transformers") if find_spec(name) is None]
    if missing:
        if os.environ.get("FOURREAL_LANE") == "wan":
            pytest.fail(f"this lane needs {' and '.join(missing)} (pip install -e '.[wan]')")
        pytest.skip(f"{' and '.join(missing)} not installed (their own lane: .ci/run-wan)")


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A tiny random Wan model on disk, in diffusers' layout."""
    return save_folder(tmp_path_factory.mktemp("wan"))
