"""Ways in which a file can be wrong, as hypothesis strategies; the same ones every time."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from fourreal.errors import UserError
from fourreal.run_folder import peak_memory_mb, reset_peak_memory

MEMORY_MB = 700
"""What a reader may take more than it had, for files of a few kilobytes."""


def bounded(examples: int) -> settings:
    """The same examples every time, and so many of them."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def damaged(draw: st.DrawFn, sound: bytes) -> bytes:
    """``sound`` cut off, with bits flipped, bytes overwritten, repeated, or something else."""
    kind = draw(st.sampled_from(["cut", "flip", "flip", "overwrite", "insert", "other"]))
    data = bytearray(sound)
    # headers are where the claims are made
    place = draw(st.integers(0, min(len(data), 400) - 1) | st.integers(0, len(data) - 1))
    if kind == "cut":
        return bytes(data[:place])
    if kind == "flip":
        for bit in draw(st.lists(st.integers(0, 7), min_size=1, max_size=8)):
            data[(place + 13 * bit) % len(data)] ^= 1 << bit
    elif kind == "overwrite":
        new = draw(st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\x7f" * 4, b"9" * 12, b"[" * 3000]))
        data[place : place + len(new)] = new
    elif kind == "insert":
        data[place:place] = draw(st.binary(min_size=1, max_size=40))
    else:
        return draw(st.binary(max_size=200) | st.sampled_from(STRANGERS))
    return bytes(data)


STRANGERS = [
    b"",
    b"\x80\x04\x95\x0e\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
    b"!!python/object/apply:os.system ['true']",
    b"#EXTM3U\nfile:///etc/passwd\n",
    b"PK\x05\x06" + b"\0" * 18,
    b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
    b"[" * 100_000,
    b'{"a":' * 50_000,
]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 2**31, 2**63, 10**30, -(10**400), 1e308, float("nan"), 1e-320]),
    st.sampled_from(["", "../../etc/passwd", "/etc/passwd", "a\0b", "1e9", "x" * 5000]),
    st.sampled_from([[], {}, [[]], [None], {"a": 1}, [[1, 2], [3]], [1e400] * 3]),
    st.floats(),
    st.integers(),
    st.text(max_size=20),
)


@st.composite
def wrongly_typed(draw: st.DrawFn, sound: dict[str, Any]) -> dict[str, Any]:
    """A copy of a JSON document in which one or two values, anywhere, are others or missing."""
    document = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 2))):
        at: Any = document
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(at[key], (dict, list)) and at[key] and draw(st.booleans()):
                at = at[key]
                continue
            if draw(st.integers(0, 5)):
                at[key] = copy.deepcopy(draw(VALUES))  # it may be changed in turn
            else:
                del at[key]
            break
    return document


def read_or_refuse(read: Callable[[], object]) -> bool:
    """Whether ``read`` took its input; it may refuse it with a UserError of one line, and nothing
    else, in bounded memory."""
    reset_peak_memory()
    before = peak_memory_mb()
    try:
        read()
        taken = True
    except UserError as error:
        assert str(error).strip(), "an empty message"
        taken = False
    grown = peak_memory_mb() - before
    assert grown < MEMORY_MB, f"took {grown:.0f} MB more"
    return taken
