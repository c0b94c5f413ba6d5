"""docs/ARCHITECTURE.md tells the truth: files and names it speaks of are there."""

from __future__ import annotations

import re

import pytest

from tests.shared_data import REPOSITORY

PAGE = (REPOSITORY / "docs" / "ARCHITECTURE.md").read_text()
PATHS = sorted(set(re.findall(r"`((?:[\w-]+/)+[\w.-]*)`", PAGE)))


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path):
    in_runs = ("clips/", "grid/", "grid/grid.json", "ply/")
    assert path in in_runs or (REPOSITORY / path).exists()


def test_every_name_beside_a_file_is_defined_in_it():
    pairs = re.findall(r"`([\w/]+\.(?:py|js))` ((?:`[\w.]+`(?:, )?)+)", PAGE)
    assert len(pairs) > 15
    for path, names in pairs:
        source = (REPOSITORY / path).read_text()
        for name in re.findall(r"`([\w.]+)`", names):
            for part in name.split("."):
                assert re.search(rf"\b(def|class|function) {part}\b|^{part}\b", source, re.M), (
                    f"{path} does not define {part}"
                )


@pytest.mark.parametrize("floor", ["fourreal", "gen", "tracking", "recon", "viewer", "pipeline"])
def test_every_room_of_a_floor_is_named(floor):
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| [`{floor}/`]")]
    rooms = {path.parent.name for path in (REPOSITORY / floor).glob("*/*.py")}
    named = set(re.findall(r"`(\w+)`", row.rsplit("|", 2)[1]))
    assert rooms <= named, f"not named: {sorted(rooms - named)}"
