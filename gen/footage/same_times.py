"""Which images of several cameras are of one time, where their names may tell and some are gone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from fourreal.natural_order import natural_key
from gen.footage.calibration import some_of

Rows = list[tuple[Path | None, ...]]
SHARED = 0.5  # so many of the times have to be those of every camera, or names tell nothing


def same_times(lists: Sequence[Sequence[Path]]) -> tuple[Rows, list[str]]:
    """Images per camera, in order -> per camera one image or None a time, and what to say.

    Images of one name are of one time; where names differ from camera to camera, those with one
    last number are. A name that a camera lacks is an image that was deleted. Where names and
    numbers are not the same in most places, the k-th images are of one time. What only some
    cameras have at the end is left out.
    """
    for key in (_stem, _number):
        keys = [[key(f) for f in files] for files in lists]
        if any(None in k or len(set(k)) < len(k) for k in keys):
            continue
        sets = [set(k) for k in keys]
        every = set.union(*sets)
        if len(set.intersection(*sets)) < SHARED * len(every):
            continue
        times = sorted(every, key=natural_key)  # type: ignore[arg-type]
        if all(list(k) == times[: len(k)] for k in keys):
            break  # nothing is missing in between
        tables = [dict(zip(k, files, strict=True)) for k, files in zip(keys, lists, strict=True)]
        missing = [
            f"{files[0].parent.name}/{t}"
            for files, table in zip(lists, tables, strict=True)
            for t in times
            if t not in table
        ]
        notes = []
        if missing:
            total = len(times) * len(lists)
            notes.append(
                f"{len(missing)} of {total} images are missing, their cells are left out: "
                f"{some_of(missing)}"
            )
        return [tuple(table.get(t) for t in times) for table in tables], notes
    count = min(len(files) for files in lists)
    notes = []
    if any(len(files) != count for files in lists):
        notes.append(f"the folders differ in length: the first {count} images of each are used")
    return [tuple(files[:count]) for files in lists], notes


def _stem(file: Path) -> str | None:
    return file.stem


def _number(file: Path) -> str | None:
    numbers = re.findall(r"[0-9]+", file.stem)
    return str(int(numbers[-1][:18])) if numbers else None
