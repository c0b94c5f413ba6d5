"""Lists of commands for scripts/batch.py: text, YAML or JSON lines -> items with a name each.

A line of text (or a string in the other forms) is a command as typed after run_pipeline.py, or
else a prompt; a mapping holds ``command`` (prompt, videos, grid or render; prompt by default), its
options by name, and optionally ``name``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fourreal.errors import UserError
from fourreal.read_text import parse_json, parse_yaml_list
from fourreal.run_folder import slug
from fourreal.stage_key import content_hash

KINDS = ("prompt", "videos", "grid", "render")
POSITIONAL = {"prompt": "prompt", "grid": "path", "render": "run"}
MAX_ITEMS = 100_000
MAX_LIST_BYTES = 16 << 20


@dataclass(frozen=True)
class Item:
    """One command of a list: its name, and what is typed after run_pipeline.py."""

    name: str
    argv: tuple[str, ...]


def read_items(path: Path, out: Path, common: str = "") -> list[Item]:
    """The items of a list, each writing to ``out/NAME`` unless it says otherwise.

    Args:
        path: ``.yaml``/``.yml``, ``.jsonl``, or text with one item a line (# begins a comment).
        common: options for every item that makes a scene, as typed.

    Raises:
        UserError: unreadable, an item that is no command, or two items of one name.
    """
    if not path.is_file():
        raise UserError(f"no such list: {path}; give a text, .yaml or .jsonl file")
    if path.stat().st_size > MAX_LIST_BYTES:
        raise UserError(f"{path} is larger than {MAX_LIST_BYTES >> 20} MB; split the list")
    try:
        entries = _entries(path)
        extra = shlex.split(common)
    except ValueError as error:
        raise UserError(f"{path} is no list of commands: {error}") from None
    if not entries:
        raise UserError(f"{path} holds no command; write one a line")
    if len(entries) > MAX_ITEMS:
        raise UserError(f"{path} holds {len(entries)} items; at most {MAX_ITEMS} are run")
    items: dict[str, Item] = {}
    for number, entry in enumerate(entries, 1):
        try:
            name, words = _words(entry)
        except ValueError as error:
            raise UserError(f"{path}, item {number}: {error}") from None
        if name in items and items[name].argv != _argv(name, words, out, extra):
            name = f"{name}-{content_hash(words)[:6]}"
        items[name] = Item(name, _argv(name, words, out, extra))
    return list(items.values())


def _entries(path: Path) -> list[Any]:
    kind = path.suffix.lower()
    if kind in (".yaml", ".yml"):
        return parse_yaml_list(path.read_bytes())
    lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if kind == ".jsonl":
        return [parse_json(line) for line in lines]
    return list(lines)


def _words(entry: Any) -> tuple[str, list[str]]:
    """Name and words of an entry. Raises ValueError."""
    if isinstance(entry, str):
        first = entry.split(maxsplit=1)[0] if entry.strip() else ""
        words = shlex.split(entry) if first in KINDS else ["prompt", entry]
        return slug(" ".join(w for w in words[1:] if not w.startswith("-"))), words
    if not isinstance(entry, Mapping):
        raise ValueError("a line of text or a mapping of options is expected")
    options = {str(k): v for k, v in entry.items()}
    kind = options.pop("command", "prompt")
    if kind not in KINDS:
        raise ValueError(f"command '{kind}': choose from {', '.join(KINDS)}")
    name = options.pop("name", None)
    words = [kind]
    if positional := POSITIONAL.get(kind):
        if positional not in options:
            raise ValueError(f"'{positional}' is missing for '{kind}'")
        words.append(str(options.pop(positional)))
    for key, value in options.items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, (str, int, float)):
            words += [f"--{flag}", str(value)]
        else:
            raise ValueError(f"'{key}' must be a number, a text, true or false")
    if name is None:
        return slug(" ".join(w for w in words[1:] if not w.startswith("-"))), words
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", name):
        raise ValueError(f"name {name!r}: letters, digits, '-', '_' and '.' only")
    return name, words


def _argv(name: str, words: list[str], out: Path, common: list[str]) -> tuple[str, ...]:
    """What run_pipeline.py is given; ``render`` is an export of a camera video."""
    kind, rest = words[0], words[1:]
    if kind == "render":
        target = ["--out", str(out / f"{name}.mp4")] if "--out" not in rest else []
        return ("export", *rest, "--format", "video", *target)
    target = ["--out", str(out / name)] if "--out" not in rest else []
    return (kind, *rest, *common, *target)
