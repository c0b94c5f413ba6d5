"""Result files of the evaluation scripts: one JSON schema, kept up to date while they run.

``{"schema": 1, "title", "command", "hardware", "results": {SCENE: {VARIANT: {METRIC: number |
null}}}, "notes": [text], "settings": {SCENE: {...}}, "keys": {SCENE: {VARIANT: text}}}``.
`settings` say which test set a scene's rows belong to, a `key` what a variant was made from: a row
counts as done only when both are what they were, so one table never mixes test sets or weights.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from fourreal.atomic import atomic_file
from fourreal.console import warn
from fourreal.errors import UserError

SCHEMA = 1
REPOSITORY = Path(__file__).resolve().parents[2]
Metrics = Mapping[str, float | int | None]

_NUMBERS = re.compile(r"\[\s+(-?\d[^\[\]{}\":]*?)\s+\]")


def command_line() -> str:
    """The command that runs, with paths inside the repository relative to it."""
    words = [word.replace(f"{REPOSITORY}{os.sep}", "") for word in sys.argv]
    script, _, name = words[0].partition(".py ")  # of one of several commands in a script
    called = [shlex.quote(f"{script}.py"), name] if name else [shlex.quote(script)]
    return " ".join(["python", *called, *map(shlex.quote, words[1:])])


def processor() -> str:
    """The processor's model name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def hardware_line(device: torch.device | str = "cpu") -> str:
    """What the figures were measured on: processor or GPU, threads, version of torch."""
    threads = torch.get_num_threads()
    line = f"{processor()}, {threads} thread{'s' * (threads != 1)}, torch {torch.__version__}"
    if torch.device(device).type == "cuda":
        line = f"one {torch.cuda.get_device_name(device)}; {line}"
    return line


class ResultFile:
    """Rows that are written as soon as they exist; without a path they are only kept in memory.

    Several processes may add rows to one file. `order` sorts the variants of a scene; variants it
    does not name come last, as they were added.

    Raises:
        UserError: the path holds something else, or rows of a scene with other settings.
    """

    def __init__(
        self,
        path: Path | None,
        title: str,
        device: torch.device | str = "cpu",
        order: Sequence[str] = (),
    ) -> None:
        self.path = path
        self._order = list(order)
        self._new: dict[str, Any] = {
            "schema": SCHEMA,
            "title": title,
            "command": command_line(),
            "hardware": hardware_line(device),
            "results": {},
            "notes": [],
        }
        self.document: dict[str, Any] = self._stored() or self._new

    def _stored(self) -> dict[str, Any] | None:
        if self.path is None or not self.path.exists():
            return None
        try:
            document = json.loads(self.path.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{self.path} is not readable as JSON ({error}); delete it") from None
        if not is_result(document):
            raise UserError(f"{self.path} is no result file; delete it or choose another --json")
        document["notes"] = as_list(document.get("notes", []))
        return document

    @contextmanager
    def _changed(self) -> Iterator[None]:
        """Take up what other processes added, let the caller change it, write it in one step."""
        if self.path is None:
            yield
            return
        with _locked(self.path):
            self.refresh()
            yield
            commands = self.document.setdefault("command", self._new["command"]).split("; ")
            if self._new["command"] not in commands:
                self.document["command"] = "; ".join([*commands, self._new["command"]])
            self._write(self.path)

    def _write(self, path: Path) -> None:
        text = json.dumps(self.document, indent=1, ensure_ascii=False)
        # Lists of numbers stay on one line.
        text = _NUMBERS.sub(lambda m: "[" + re.sub(r"\s+", " ", m[1]) + "]", text)
        with atomic_file(path) as temporary:
            temporary.write_text(text + "\n")

    def refresh(self) -> None:
        """Take up what other processes added."""
        self.document = self._stored() or self.document

    def variants(self, scene: str) -> dict[str, dict[str, float | int | None]]:
        """The rows of a scene so far, by variant."""
        return self.document["results"].get(scene, {})

    def use_settings(self, scene: str, settings: dict[str, Any]) -> None:
        """Say which test set the rows of a scene belong to; refuse to mix two."""
        now = json.loads(json.dumps(settings, default=str))
        with self._changed():
            every = self.document.setdefault("settings", {})
            if scene in self.document["results"] and every.get(scene) != now:
                before = every.get(scene) or {}
                names = [k for k in sorted({*before, *now}) if before.get(k) != now.get(k)]
                raise UserError(
                    f"{self.path} holds rows of {scene} made with other settings "
                    f"({', '.join(f'{k}: {before.get(k)}, now {now.get(k)}' for k in names)}); "
                    "delete it or choose another --json"
                )
            every[scene] = now

    def done(self, scene: str, variant: str, key: str = "") -> bool:
        """Whether this row is there and was made from the same thing."""
        return variant in self.variants(scene) and self.key(scene, variant) == key

    def key(self, scene: str, variant: str) -> str:
        """What a row was made from, "" when that was not said."""
        return self.document.get("keys", {}).get(scene, {}).get(variant, "")

    def add(self, scene: str, variant: str, metrics: Metrics, key: str = "") -> None:
        """Add or replace a row."""
        with self._changed():
            rows = {**self.variants(scene), variant: dict(metrics)}
            place = {name: i for i, name in enumerate(self._order)}
            names = sorted(rows, key=lambda name: place.get(name, len(place)))
            self.document["results"][scene] = {name: rows[name] for name in names}
            if key:
                keys = self.document.setdefault("keys", {})
                keys.setdefault(scene, {})[variant] = key

    def keep(self, name: str, scene: str, variant: str, values: Any) -> None:
        """Store what later rows are compared with, under `name`, beside the results."""
        with self._changed():
            self.document.setdefault(name, {}).setdefault(scene, {})[variant] = values

    def kept(self, name: str, scene: str) -> dict[str, Any]:
        """What `keep` stored for a scene, by variant."""
        return self.document.get(name, {}).get(scene, {})

    def store(self, name: str, value: Any) -> None:
        """Put a value of its own beside the results."""
        with self._changed():
            self.document[name] = value

    def note(self, text: str, instead_of: str = "") -> None:
        """Add a note once; it takes the place of a note that starts with `instead_of`, if given.
        An empty text only removes that one."""
        with self._changed():
            text = text.replace(f"{REPOSITORY}{os.sep}", "")
            kept: list[str] = []
            for note in self.document["notes"]:
                if instead_of and note.startswith(instead_of):
                    note = text
                if note and note not in kept:
                    kept.append(note)
            self.document["notes"] = kept + [text] * bool(text and text not in kept)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time between reading and writing `path`, where the system can lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # not a POSIX system: two processes on one file are not supported there
        yield
        return
    folder = os.open(path.parent, os.O_RDONLY)  # locking the folder leaves no lock file behind
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
        except OSError as error:
            warn(f"the drive of {path} cannot lock ({error.strerror}): run one process on it only")
        yield
    finally:
        os.close(folder)


def is_result(document: Any) -> bool:
    """Whether a JSON value has the form of a result file."""
    return (
        isinstance(document, dict)
        and document.get("schema") == SCHEMA
        and isinstance(document.get("results"), dict)
        and isinstance(document.get("command", ""), str)
    )


def as_list(notes: Any) -> list[str]:
    """Notes as a list of texts, however a file says them."""
    if isinstance(notes, str):
        return [notes]
    if isinstance(notes, dict):
        return [f"{k}: {v}" for k, v in notes.items() if not isinstance(v, list)]
    if isinstance(notes, list):
        return [str(note) for note in notes]
    return [] if notes is None else [str(notes)]
