"""Where the optional, large test data lies: tests that need it skip when it is absent."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def shared_data(*parts: str) -> Path:
    """The path of a file or folder in the shared data; skips the test when it is not there.

    Looked for in ``$FOURREAL_DATA``, then in ``../shared/data`` beside the repository.
    """
    root = Path(os.environ.get("FOURREAL_DATA", REPOSITORY.parent / "shared" / "data"))
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"shared data not present: {'/'.join(parts)} (set FOURREAL_DATA)")
    return path
