"""Values of options: slices, pairs and sizes written as text, bounds, and what goes into a key."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from tyro.constructors import PrimitiveConstructorSpec

from fourreal.errors import UserError
from fourreal.other_files import nothing_there


def parse_slice(text: str, what: str) -> slice:
    """``A:B`` or ``A:B:STEP`` (Python meaning) -> slice; '' is everything.

    Raises:
        UserError: not of that form.
    """
    if not text:
        return slice(None)
    if not re.fullmatch(r"-?\d*:-?\d*(:\d+)?", text):
        raise UserError(f"{what} {text}: write A:B or A:B:STEP, for example 0:8")
    numbers = [int(p) if p else None for p in text.split(":")]
    if len(numbers) == 3 and numbers[2] == 0:
        raise UserError(f"{what} {text}: the step must be at least 1")
    return slice(*numbers)


def parse_pair(text: str, option: str, form: str, example: str) -> tuple[int, int]:
    """Two whole numbers written ``AxB``; UserError that names the option, the form, an example."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise UserError(f"{option} {text}: write {form}, for example {example}")
    return int(match[1]), int(match[2])


def parse_size(text: str) -> tuple[int, int] | None:
    """``HxW`` -> (height, width); '' is None.

    Raises:
        UserError: not of that form, or out of 16..2160 x 16..3840.
    """
    if not text:
        return None
    height, width = parse_pair(text, "--size", "HEIGHTxWIDTH", "144x256")
    if not (16 <= height <= 2160 and 16 <= width <= 3840):
        raise UserError(f"--size {text}: height must be 16..2160 and width 16..3840")
    return height, width


def _pair_option(
    parse: Callable[[str], tuple[int, int] | None], metavar: str
) -> PrimitiveConstructorSpec[tuple[int, int] | None]:
    """How the command line reads and shows a pair; a UserError of `parse` is what it says."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: parse(words[0]),
        is_instance=lambda value: value is None or isinstance(value, tuple),
        str_from_instance=lambda value: ["x".join(map(str, value)) if value else ""],
    )


def parse_tiles(text: str) -> tuple[int, int] | None:
    """``RxC`` -> (rows, columns); '' is None. UserError: not of that form."""
    return parse_pair(text, "--tiles", "ROWSxCOLUMNS", "2x4") if text else None


Size = Annotated[tuple[int, int] | None, _pair_option(parse_size, "HEIGHTxWIDTH")]
Tiles = Annotated[tuple[int, int] | None, _pair_option(parse_tiles, "ROWSxCOLUMNS")]


def check_memory(gigabytes: float) -> None:
    """Refuse an impossible bound on memory. Raises UserError."""
    if not gigabytes >= 0:
        raise UserError(f"--max-memory {gigabytes}: give GB, or 0 for no bound")


def key_settings(options: Any, *without: str) -> dict[str, Any]:
    """The fields of a dataclass that shape the result: all but those named."""
    return {f.name: getattr(options, f.name) for f in fields(options) if f.name not in without}


def existing(path: str) -> Path:
    """The path, if something is there. Raises UserError."""
    p = Path(path)
    if not p.exists():
        raise nothing_there(path)
    return p
