"""The run folder: stages that leave whole artefacts behind and are skipped when they are done.

``run.yaml`` records, for every finished stage, a key (a hash of its settings and of everything
it was made from), its seconds and its peak memory. Running the same command again continues
after the last finished stage; a changed input changes the key and the stage is redone.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import platform
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from gen.atomic import atomic_file, remove_partials
from gen.console import say
from gen.errors import UserError

RECORD = "run.yaml"
LOCK = ".lock"


def slug(text: str) -> str:
    """A folder name from any text."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "scene"


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
        digest.update(file.name.encode())
        with file.open("rb") as handle:
            while chunk := handle.read(1 << 20):
                digest.update(chunk)


class RunFolder:
    """One run's folder, locked while in use.

    Raises:
        UserError: the folder holds something that is not a run, cannot be written, or is in use.
    """

    def __init__(self, path: str | Path, command: dict[str, Any], force: str = "") -> None:
        self.path = Path(path)
        self.command = command
        self._force = force
        self._forcing = False
        self._ran_any = False
        self._stages_seen: list[str] = []
        self._open()

    def _open(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; choose another --out")
        content = [] if not self.path.exists() else [p.name for p in self.path.iterdir()]
        known = {RECORD, LOCK}
        if content and RECORD not in content and set(content) - known:
            raise UserError(
                f"{self.path} holds other files ({sorted(content)[0]}, …) and is no run of ours; "
                "choose another --out, nothing was touched"
            )
        self._new = not content
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
        self.record.update(command=self.command, versions=versions())
        self.record.setdefault("stages", {})
        self._write()

    def _read(self) -> dict[str, Any]:
        file = self.path / RECORD
        if not file.exists():
            return {}
        try:
            loaded = yaml.safe_load(file.read_text())
        except (yaml.YAMLError, UnicodeDecodeError):
            loaded = None
        if not isinstance(loaded, dict) or not isinstance(loaded.get("stages", {}), dict):
            raise UserError(
                f"{file} is damaged; delete it to redo the run, or choose another --out"
            )
        return loaded

    def _write(self) -> None:
        with atomic_file(self.path / RECORD) as temporary:
            temporary.write_text(yaml.safe_dump(self.record, sort_keys=False, allow_unicode=True))

    def stage(
        self, name: str, title: str, key: str, outputs: Iterable[str], work: Callable[[], None]
    ) -> bool:
        """Run ``work`` unless the stage is recorded with this key and its outputs are there.

        Args:
            name: the stage's name, as ``--force`` takes it.
            title: what is printed.
            key: hash of the settings and inputs (``content_hash``).
            outputs: names relative to the folder that ``work`` writes atomically.

        Returns:
            Whether the work was done now.
        """
        self._stages_seen.append(name)
        names = list(outputs)
        done = self.record["stages"].get(name)
        if name == self._force:
            self._forcing = True
        present = all((self.path / n).exists() for n in names)
        if done and done.get("key") == key and present and not self._forcing:
            say(f"[{name}] {title}: done before ({done.get('seconds', 0):.1f} s)")
            return False
        if done:
            del self.record["stages"][name]
            self._write()
        say(f"[{name}] {title} …")
        start = time.perf_counter()
        reset_peak_memory()
        work()
        missing = [n for n in names if not (self.path / n).exists()]
        if missing:
            raise RuntimeError(f"stage {name} did not write {', '.join(missing)}")
        seconds, peak = time.perf_counter() - start, peak_memory_mb()
        self.record["stages"][name] = {
            "key": key,
            "seconds": round(seconds, 2),
            "peak_mb": round(peak),
            "outputs": names,
        }
        self._write()
        self._ran_any = True
        say(f"[{name}] done in {seconds:.1f} s, peak memory {peak / 1024:.1f} GB")
        return True

    @property
    def ran_any(self) -> bool:
        """Whether any stage had to be run."""
        return self._ran_any

    def check_force(self) -> None:
        """Raise a UserError when ``--force`` named a stage that this command does not have."""
        if self._force and self._force not in self._stages_seen:
            raise UserError(
                f"--force {self._force}: no such stage; choose from {', '.join(self._stages_seen)}"
            )

    def discard_if_new(self) -> None:
        """Remove the folder when this run made it and no stage of it was finished."""
        if self._new and not self.record["stages"]:
            for name in (RECORD, LOCK):
                (self.path / name).unlink(missing_ok=True)
            remove_partials(self.path)
            with contextlib.suppress(OSError):  # a stage left something readable: keep it
                self.path.rmdir()

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
    except OSError:
        raise UserError(
            f"{path} is in use by another run; wait for it or choose another --out"
        ) from None


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
