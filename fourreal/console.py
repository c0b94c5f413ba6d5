"""What the program says: plain lines on stdout, warnings and progress bars on stderr."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

Report = Callable[[str, int, int], None]
"""How long work tells how far it is: (what is being made, steps done, steps in all)."""


def print_any_name() -> None:
    """What a console cannot show is printed as an escape from now on, instead of ending the work:
    a name in another script, or one whose bytes are no text."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):  # it is closed
                stream.reconfigure(errors="backslashreplace")


def say(message: str) -> None:
    """Print one line on stdout, above any progress bar that is being drawn."""
    tqdm.write(message, file=sys.stdout)
    sys.stdout.flush()


def warn(message: str) -> None:
    """Print one warning line on stderr: every fallback announces itself through this."""
    tqdm.write(f"warning: {message}", file=sys.stderr)
    sys.stderr.flush()


def last_words(message: str) -> None:
    """Print the line that a command ends with on stderr, in place of bars that are still drawn."""
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()
    print(message, file=sys.stderr)


def progress(
    iterable: Iterable[Any] | None = None, description: str = "", total: int | None = None
) -> tqdm:
    """Return a progress bar (a tqdm object: iterate it, or call ``update`` and ``set_postfix``).

    On a terminal it redraws itself; in a log file it prints a line every ten seconds.
    """
    interactive = sys.stderr.isatty()
    return tqdm(
        iterable,
        desc=f"  {description}",
        total=total,
        file=sys.stderr,
        mininterval=0.1 if interactive else 10.0,
        leave=False,
        dynamic_ncols=True,
    )


@contextmanager
def reporting() -> Iterator[Report]:
    """A report that draws a progress bar for each thing that is made, while it is being made."""
    bars: dict[str, tqdm] = {}

    def report(name: str, done: int, total: int) -> None:
        if name not in bars:
            bars[name] = progress(description=name, total=total)
        bars[name].update(done - bars[name].n)
        if done >= total:
            bars[name].close()

    try:
        yield report
    finally:
        for bar in bars.values():
            bar.close()
