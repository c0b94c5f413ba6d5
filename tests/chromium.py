"""Tests that look at pages: how long they wait, and what they say where there is no browser."""

from __future__ import annotations

import os

import pytest

from scripts.tools.browser import find_chromium

PATIENCE = float(os.environ.get("FOURREAL_PATIENCE", 120))  # seconds; more on a busy machine


def need_chromium(what: str) -> None:
    """Skip the test and say ``what`` that leaves undone where no Chromium is; CI must have one."""
    if find_chromium() is not None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI needs Chromium, else {what} (apt install chromium)")
    pytest.skip(f"no Chromium found: {what} (set CHROMIUM)")
