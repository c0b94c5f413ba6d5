"""`njit` whose kept machine code is never older than the source it was made from.

numba keeps compiled kernels on disk and looks only at the date of the file that holds a kernel,
not at helpers and constants that it imports from other files. Here the folder that they are kept
in is named by a hash of the file and of every file of ours that it imports, directly or not. The
folders lie in the user's own cache, so that a checkout that cannot be written works too.

A kernel that calls another one must have it inlined (``forceinline=True``, and no cache of its
own). Otherwise the process that compiles them calls the helper's own machine code while one that
loads the kernel calls the copy compiled with it, and the two differ in last bits.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba

from fourreal.console import warn

OURS = Path(__file__).resolve().parents[1]
UNUSED_DAYS = 30  # compiled code of other sources is kept that long
_IMPORT = re.compile(
    rb"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n#]*)|import[ \t]+([\w., \t]+))",
    re.MULTILINE,
)


def njit(function: Callable | None = None, *, cache: bool = False, **options: Any) -> Any:
    """``numba.njit`` with a cache as this module describes it; a decorator with or without options.

    Where no folder can be written, kernels are compiled anew by every process.
    """
    if function is None:
        return functools.partial(njit, cache=cache, **options)
    kernel = numba.njit(**options)(function)
    root = cache_root() if cache else None
    if root is not None:
        config: Any = numba.config
        before = config.CACHE_DIR
        config.CACHE_DIR = str(_folder(root, function.__module__, _file(function)))
        try:
            kernel.enable_caching()
        finally:
            config.CACHE_DIR = before
    return kernel


@functools.cache
def cache_root() -> Path | None:
    """The folder that compiled kernels are kept in; None: there is none that can be written.

    ``NUMBA_CACHE_DIR`` if it is set, else the user's cache folder, else a private one among the
    temporary files, which is said.
    """
    for folder in user_caches():
        if _writable(folder):
            return folder
    hint = "NUMBA_CACHE_DIR can name a folder for compiled kernels"
    private = _private_folder()
    if private is not None and _writable(private, private=True):
        warn(f"compiled kernels are kept in {private}: no cache folder can be written; {hint}")
        return private
    warn(f"no cache folder can be written, so kernels are compiled anew by every command; {hint}")
    return None


def _private_folder() -> Path | None:
    try:
        return Path(tempfile.gettempdir()) / f"fourreal-kernels-{getattr(os, 'getuid', int)()}"
    except OSError:  # there is no temporary folder
        return None


def user_caches() -> Iterator[Path]:
    """Where compiled kernels may be kept, the best place first."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(chosen)
    home = os.path.expanduser("~")
    places = [os.environ.get("XDG_CACHE_HOME")]
    if home != "~":
        places.append(os.path.join(home, ".cache"))
    places.append(os.environ.get("LOCALAPPDATA"))
    for place in places:
        if place and os.path.isabs(place):
            yield Path(place) / "fourreal" / "kernels"


def sources(file: Path, root: Path = OURS) -> list[Path]:
    """A Python file and those below ``root`` that it imports, directly or not, in path order."""
    found: set[Path] = set()
    waiting = [file]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        waiting += _imported(path, root)
    return sorted(found)


@functools.cache
def source_key(file: str, root: Path = OURS) -> str:
    """A hash of a kernel's file and everything below ``root`` that it imports."""
    digest = hashlib.sha256()
    for path in sources(Path(file).resolve(), root):
        digest.update(path.name.encode() + _digest(path))
    return digest.hexdigest()[:16]


@functools.cache
def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


@functools.cache
def _imported(path: Path, root: Path) -> list[Path]:
    """The files below ``root`` that a source may import."""
    names = [name for name in _modules(path.read_bytes()) if _exists(root / name.split(".")[0])]
    places = [root.joinpath(*name.split(".")) for name in dict.fromkeys(names)]
    return [p for at in places for p in (at.with_suffix(".py"), at / "__init__.py") if _exists(p)]


@functools.cache
def _exists(path: Path) -> bool:
    return path.exists()


def _modules(text: bytes) -> Iterator[str]:
    """Names of the modules that a source may import."""
    for package, names, modules in _IMPORT.findall(text):
        if package:
            yield package.decode()
            for name in re.findall(rb"\w+", names):
                yield f"{package.decode()}.{name.decode()}"
        for module in re.findall(rb"[\w.]+", modules):
            yield module.decode()


def _file(function: Callable) -> str:
    """The file that a function comes from."""
    module = sys.modules.get(function.__module__)
    return getattr(module, "__file__", None) or function.__code__.co_filename


@functools.cache
def _folder(root: Path, module: str, file: str) -> Path:
    """The folder of one module's kernels; those of its sources of long ago are removed."""
    tree = Path(file).resolve().parents[module.count(".")]
    folder = root / f"{module}-{source_key(file, tree)}"
    with contextlib.suppress(OSError):
        if not folder.is_dir():
            folder.mkdir(parents=True)
            for other in root.glob(f"{module}-*"):
                if other.stat().st_mtime < time.time() - UNUSED_DAYS * 86400:
                    shutil.rmtree(other, ignore_errors=True)
        os.utime(folder)
    return folder


def _writable(folder: Path, private: bool = False) -> bool:
    """Whether files can be made in a folder, which is made; ``private``: nobody else's, too."""
    try:
        folder.mkdir(mode=0o700 if private else 0o777, parents=True, exist_ok=True)
        if private and hasattr(os, "getuid"):  # what lies there is trusted as code
            about = folder.lstat()
            if about.st_uid != os.getuid() or stat.S_IMODE(about.st_mode) & 0o077:
                return False
            if not stat.S_ISDIR(about.st_mode):
                return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
