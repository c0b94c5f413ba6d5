"""How a command ends: finished, refused, stopped, or short of memory, disk or permission.

Whatever the user can do something about is one line on stderr; anything else is a bug and keeps
its traceback.
"""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from fourreal.console import last_words
from fourreal.errors import UserError

INTERRUPTED, TERMINATED = 130, 143
GO_ON = "the same command goes on after the last finished stage"

# torch, OpenCV and the CUDA runtime say in words that an allocation failed.
_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|insufficient memory|failed to allocate",
    re.IGNORECASE,
)
# safetensors reports what the system said only inside its own message.
_SYSTEM = re.compile(r"\(os error (\d+)\)")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


class Terminated(KeyboardInterrupt):
    """SIGTERM: the same as Ctrl-C, but for the exit code."""


def exit_code(work: Callable[[], Any], less_memory: str = "use smaller inputs") -> int:
    """Call ``work`` and return the command's exit code; what is not a bug becomes one line.

    0 on success; 2 after a UserError, or when memory, disk space or a permission is lacking; 130
    after Ctrl-C and 143 after SIGTERM.

    Args:
        work: the command.
        less_memory: what the user can do when memory runs out.
    """
    try:
        with terminated_like_interrupted():
            work()
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, Terminated)
        last_words(f"{'terminated' if terminated else 'interrupted'}: {GO_ON}")
        return TERMINATED if terminated else INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        return 0
    except Exception as error:
        line = one_line(error, less_memory)
        if line is None:
            raise
        last_words(f"error: {line}")
        return UserError.exit_code
    return 0


def one_line(error: BaseException, less_memory: str) -> str | None:
    """What to tell the user about ``error``; None when it is a bug.

    Errors that carry a cause of these kinds count as that cause.
    """
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if out_of_memory(error):
        gpu = "CUDA" in str(error)
        return f"out of {'GPU ' if gpu else ''}memory; {less_memory}"
    number = system_error(error)
    if number is None:
        return None
    name = getattr(error, "filename", None)
    where = f" ({name})" if name else ""
    if number in _FULL:
        return f"no space left to write{where}; free some, then {GO_ON}"
    if number in _READ_ONLY:
        return f"may not write or read{where}; choose another --out, or change its permissions"
    if isinstance(error, OSError) and name:
        return f"{name}: {error.strerror}"
    return None


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the processor or on a GPU."""
    if isinstance(error, MemoryError):
        return True
    told = isinstance(error, RuntimeError) or type(error).__module__ == "cv2"
    return told and bool(_MEMORY.search(str(error)))


def system_error(error: BaseException) -> int | None:
    """The errno behind ``error``, also when a library hands it on only in its message."""
    if isinstance(error, OSError):
        return error.errno
    found = _SYSTEM.search(str(error))
    return int(found[1]) if found else None


@contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM raises Terminated inside, so that files and children are cleaned up as by Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        raise Terminated

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def loading() -> Iterator[None]:
    """Ctrl-C while the program is still being loaded ends it in one line with 130: nothing is there
    to be cleaned up, and a KeyboardInterrupt amid imports would come out as any error."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        os.write(2, b"interrupted before anything was begun\n")
        os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
