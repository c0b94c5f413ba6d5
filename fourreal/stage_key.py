"""What decides the result of a stage, as hashes by name: an equal key means an equal result.

A key is made of parts (the settings as they were resolved, the files they name, what earlier
stages left, the program itself), so that a stage that is done again can say what changed.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SOURCES = (".py", ".js", ".html", ".css", ".json")
LARGE = 1 << 26  # bytes; of larger files a sample is read
SAMPLE = 1 << 20
SKIPPED = {".git", "__pycache__", ".cache", ".venv"}


def content_hash(*parts: Any) -> str:
    """A short stable hash of JSON-able values, arrays and paths (whose contents are hashed)."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            _hash_path(digest, part)
        elif isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def _hash_path(digest: Any, path: Path) -> None:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        name = file.name if file == path else file.relative_to(path).as_posix()
        digest.update(f"{name}\0{file.stat().st_size}\0".encode("utf-8", "surrogateescape"))
        with file.open("rb") as handle:
            while chunk := handle.read(1 << 20):
                digest.update(chunk)


def fingerprint(path: Path) -> str:
    """What tells a checkout or a file of weights from another one without reading gigabytes.

    Every file's name and size; its content up to `LARGE` bytes, above that its two ends and when
    it was changed. Version control and caches of a checkout do not count.
    """
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        name = file.name if file == path else file.relative_to(path).as_posix()
        if not SKIPPED.isdisjoint(name.split("/")):
            continue
        status = file.stat()
        digest.update(f"{name}\0{status.st_size}\0".encode("utf-8", "surrogateescape"))
        with file.open("rb") as handle:
            if status.st_size <= LARGE:
                digest.update(handle.read())
            else:
                digest.update(handle.read(SAMPLE))
                handle.seek(-SAMPLE, 2)
                digest.update(handle.read(SAMPLE))
                digest.update(str(status.st_mtime_ns).encode())
    return digest.hexdigest()[:16]


@functools.cache
def program_hash(*names: str) -> str:
    """A hash of the source files of packages or modules, none of which is imported."""
    digest = hashlib.sha256()
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ValueError(f"no package or module {name}")
        origin = Path(spec.origin)
        files = [origin]
        if spec.submodule_search_locations:
            files = sorted(p for p in origin.parent.rglob("*") if p.suffix in SOURCES)
        for file in files:
            digest.update(f"{file.relative_to(origin.parent).as_posix()}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class StageKey:
    """Hashes of the parts that decide a stage's result, by the name they are spoken of with."""

    parts: Mapping[str, str]

    @classmethod
    def of(cls, **made_from: Any) -> StageKey:
        """From values, arrays and paths by name; a tuple stands for several of them."""
        return cls(
            {
                name: content_hash(*value) if isinstance(value, tuple) else content_hash(value)
                for name, value in made_from.items()
            }
        )

    def __str__(self) -> str:
        return content_hash(dict(self.parts))

    def changed_since(self, recorded: Mapping[str, str]) -> list[str]:
        """Names of the parts that are not as they were, underscores as spaces."""
        names = [*self.parts, *(n for n in recorded if n not in self.parts)]
        return [n.replace("_", " ") for n in names if self.parts.get(n) != recorded.get(n)]
