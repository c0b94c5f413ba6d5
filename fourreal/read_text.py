"""JSON and YAML of strangers: bounded in size and depth, plain values, one kind of error."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NoReturn

import yaml

MAX_JSON_BYTES = 64 << 20
MAX_DEPTH = 64
MAX_YAML_BYTES = 1 << 20  # the reader takes ten seconds for a megabyte


def read_json(path: str | Path, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ValueError: unreadable, not JSON (NaN and Infinity are not), no object at the top, larger
            than ``max_bytes`` or nested too deeply.
    """
    return parse_json(_read(Path(path), max_bytes))


def read_json_list(path: str | Path, max_bytes: int = MAX_JSON_BYTES) -> list[Any]:
    """The JSON list in a file; see ``read_json``."""
    loaded = _load_json(_read(Path(path), max_bytes))
    if not isinstance(loaded, list):
        raise ValueError("not valid JSON (a list […] is expected)")
    return loaded


def parse_json(text: str | bytes) -> dict[str, Any]:
    """The JSON object in a text; see ``read_json``."""
    loaded = _load_json(text)
    if not isinstance(loaded, dict):
        raise ValueError("not valid JSON (an object {…} is expected)")
    return loaded


def _load_json(text: str | bytes) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("not valid JSON (nested too deeply)") from None
    except ValueError as error:
        raise ValueError(f"not valid JSON ({str(error)[:120]})") from None


def read_yaml(path: str | Path, max_bytes: int = MAX_YAML_BYTES) -> dict[str, Any]:
    """The mapping in a YAML file; nothing is constructed but plain values.

    Raises:
        ValueError: unreadable, not YAML, no mapping at the top, too large or too deep.
    """
    loaded = _parse_yaml(_read(Path(path), max_bytes))
    if not isinstance(loaded, dict):
        raise ValueError("not valid YAML (a mapping is expected)")
    return loaded


def parse_yaml_list(text: bytes) -> list[Any]:
    """The list in a YAML text; see ``read_yaml``."""
    if len(text) > MAX_YAML_BYTES:
        raise ValueError(f"larger than {MAX_YAML_BYTES >> 20} MB")
    loaded = _parse_yaml(text)
    if not isinstance(loaded, list):
        raise ValueError("not valid YAML (a list is expected)")
    return loaded


def _parse_yaml(text: bytes) -> Any:
    if _depth(text) > MAX_DEPTH:  # the reader would take long to find out
        raise ValueError("not valid YAML (nested too deeply)")
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise ValueError("not valid YAML (nested too deeply)") from None
    # Constructors of dates, numbers and mappings raise whatever their values lead to.
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"not valid YAML ({' '.join(str(error).split())[:120]})") from None


def _depth(text: bytes) -> int:
    """At least how deep brackets are nested (those within quotes count as well)."""
    opened = deepest = 0
    for sign in re.findall(rb"[\[\]{}]", text):
        opened = opened + 1 if sign in b"[{" else max(0, opened - 1)
        deepest = max(deepest, opened)
    return deepest


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        if path.stat().st_size > max_bytes:
            raise ValueError(f"larger than {max_bytes >> 20} MB")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"unreadable ({error.strerror})") from None
