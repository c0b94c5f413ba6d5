"""The npm packages that files are tried with; without them a test skips, in CI it fails."""

import os

import pytest

from fourreal.errors import UserError
from scripts.tools.browser import find_chromium
from scripts.tools.js_players import node_folder


def packages(*needed: str, browser: bool = False):
    """The folder with ``needed`` npm packages (and a browser), or no test."""
    reason = ""
    try:
        folder = node_folder(*needed)
    except UserError as error:
        reason = str(error)
    if browser and not find_chromium():
        reason = "no Chromium found (set CHROMIUM)"
    if reason:
        if os.environ.get("CI"):
            pytest.fail(f"CI needs it: {reason}")
        pytest.skip(reason)
    return folder
