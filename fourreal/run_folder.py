"""The run folder: stages that leave whole artefacts behind and are skipped when they are done.

``run.yaml`` records, for every finished stage, its key (`fourreal.stage_key`: everything that
decides its result), its seconds and its peak memory. Running the same command again continues
after the last finished stage; whatever changed changes the key, and the stage is done again,
saying why. A refused or interrupted command leaves the record of what an earlier one finished as
it was.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import importlib.metadata
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from fourreal.atomic import PARTIAL, atomic_file, remove_partials
from fourreal.console import say, warn
from fourreal.errors import UserError
from fourreal.read_text import read_yaml
from fourreal.stage_key import StageKey

RECORD = "run.yaml"
LOCK = ".lock"


def slug(text: str) -> str:
    """A folder name from any text."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "scene"


class RunFolder:
    """One run's folder, locked while in use.

    Raises:
        UserError: the folder holds something that is not a run, cannot be written, or is in use.
    """

    def __init__(
        self,
        path: str | Path,
        command: dict[str, Any],
        force: str = "",
        less_memory: str = "smaller inputs",
    ) -> None:
        self.path = Path(path)
        self.command = command
        self._force = force
        self._less_memory = less_memory
        self._forcing = False
        self._ran_any = False
        self._open()

    def _open(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; choose another --out")
        content = [] if not self.path.exists() else [p.name for p in self.path.iterdir()]
        self._new = RECORD not in content
        foreign = [n for n in content if n != LOCK and not n.startswith(PARTIAL)]
        if self._new and foreign:
            raise UserError(
                f"{self.path} holds other files ({min(foreign)}, …) and is no run of ours; "
                "choose another --out, nothing was touched"
            )
        self._made = [p for p in (self.path, *self.path.parents) if not p.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / LOCK).open("w")
        except OSError as error:
            raise UserError(
                f"cannot write to {self.path} ({error.strerror}); choose another --out"
            ) from None
        _lock_exclusively(self._lock, self.path)
        remove_partials(self.path)
        self.record = self._read()
        previous = self.record.get("command", {}).get("kind")
        if previous not in (None, self.command.get("kind")):
            raise UserError(
                f"{self.path} is a run of '{previous}', not of '{self.command.get('kind')}'; "
                "choose another --out"
            )
        self.record.setdefault("stages", {})
        if killed := self.record.pop("running", None):
            warn(
                f"the last run was killed during stage '{killed}' (the system does that when "
                f"memory runs out; {self._less_memory})"
            )
        if self._new:  # the mark of a folder of ours
            self.record.update(command=self.command, versions=versions())
            self._write(self.record)

    def _read(self) -> dict[str, Any]:
        file = self.path / RECORD
        if not file.exists():
            return {}
        try:
            loaded = read_yaml(file)
            if set(loaded) - {"command", "versions", "stages", "running"}:
                raise ValueError("unknown fields")
            for name in ("command", "versions", "stages"):
                if not isinstance(loaded.get(name, {}), dict):
                    raise ValueError(f"{name} is no mapping")
            if not isinstance(loaded.get("running", ""), str):
                raise ValueError("running is no name")
            for stage in loaded.get("stages", {}).values():
                float(stage["seconds"])
                str(stage["key"])
                dict(stage.get("made_from", {}))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise UserError(
                f"{file} is damaged; delete it to redo the run, or choose another --out"
            ) from None
        return loaded

    def _write(self, record: dict[str, Any]) -> None:
        with atomic_file(self.path / RECORD) as temporary:
            text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True)
            temporary.write_text(text, "utf-8")

    def stage(
        self,
        name: str,
        title: str,
        key: StageKey,
        outputs: Iterable[str],
        work: Callable[[], None],
    ) -> bool:
        """Run ``work`` unless the stage is recorded with this key and its outputs are there.

        Args:
            name: the stage's name, as ``--force`` takes it.
            title: what is printed.
            key: everything that decides the result.
            outputs: names relative to the folder that ``work`` writes atomically.

        Returns:
            Whether the work was done now.
        """
        names = list(outputs)
        done = self.record["stages"].get(name)
        if name == self._force:
            self._forcing = True
        present = all((self.path / n).exists() for n in names)
        if done and done["key"] == str(key) and present and not self._forcing:
            say(f"[{name}] {title}: done before ({done['seconds']:.1f} s)")
            return False
        say(f"[{name}] {title} …{self._why_again(done, key, present)}")
        start = time.perf_counter()
        reset_peak_memory()
        with self._running(name, names):
            work()
        missing = [n for n in names if not (self.path / n).exists()]
        if missing:
            raise RuntimeError(f"stage {name} did not write {', '.join(missing)}")
        seconds, peak = time.perf_counter() - start, peak_memory_mb()
        self.record["stages"][name] = {
            "key": str(key),
            "made_from": dict(key.parts),
            "seconds": round(seconds, 2),
            "peak_mb": round(peak),
            "outputs": names,
        }
        self._write(self.record)
        self._ran_any = True
        say(f"[{name}] done in {seconds:.1f} s, peak memory {peak / 1024:.1f} GB")
        return True

    def _why_again(self, done: dict[str, Any] | None, key: StageKey, present: bool) -> str:
        """Why a stage that was finished before is done again; empty when it never was."""
        if done is None:
            return ""
        if self._forcing:
            return " (again: --force)"
        if "made_from" not in done:
            return " (again: an earlier version did not record everything it was made from)"
        if changed := key.changed_since(done["made_from"]):
            return f" (again: changed: {', '.join(changed)})"
        return "" if present else " (again: its files are gone)"

    @contextlib.contextmanager
    def _running(self, name: str, outputs: list[str]) -> Iterator[None]:
        """On disk the stage is not finished and runs; what was there returns if nothing was
        written (the input was refused, the command stopped early)."""
        before = copy.deepcopy(self.record)
        stamps = self._stamps(outputs)
        self.record["stages"].pop(name, None)
        self.record.update(command=self.command, versions=versions())
        try:
            self._write({**self.record, "running": name})
            yield
        except BaseException:
            with contextlib.suppress(OSError):  # a full disk: the record says less, never more
                self._write(before if self._stamps(outputs) == stamps else self.record)
            raise

    def _stamps(self, outputs: list[str]) -> list[tuple[int, int] | None]:
        """What tells whether an output was replaced: its inode and time of change."""
        found = [self.path / name for name in outputs]
        stats = [p.stat() if p.exists() else None for p in found]
        return [s and (s.st_ino, s.st_mtime_ns) for s in stats]

    @property
    def ran_any(self) -> bool:
        """Whether any stage had to be run."""
        return self._ran_any

    def discard_if_new(self) -> None:
        """Remove the folder when this run made it and no stage of it was finished."""
        if self._new and not self.record["stages"]:
            for name in (RECORD, LOCK):
                (self.path / name).unlink(missing_ok=True)
            remove_partials(self.path)
            with contextlib.suppress(OSError):  # a stage left something readable: keep it
                for folder in self._made:
                    folder.rmdir()

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()


def _lock_exclusively(handle: Any, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not a POSIX system: two runs on one folder are then not detected
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
            raise UserError(
                f"{path} is in use by another run; wait for it or choose another --out"
            ) from None
        warn(
            f"the drive of {path} cannot lock ({error.strerror}): two runs on one folder would not "
            "be noticed there"
        )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape the result."""
    out = {"python": platform.python_version()}
    for name in ("fourreal", "torch", "numpy", "opencv-python-headless", "numba", "gsplat"):
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return out


def reset_peak_memory() -> None:
    """Start the peak-memory reading anew where the system can do that (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory_mb() -> float:
    """Peak resident memory in MiB since the last reset (since the start where there is none)."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # not a POSIX system
        return float("nan")
    scale = 2**20 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
