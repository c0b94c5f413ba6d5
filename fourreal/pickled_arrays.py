"""Arrays in a pickle file, read without running anything that the file names.

A pickle is a program for a small stack machine; this one knows the operations that dictionaries of
NumPy arrays need and no others. Names in the file stay words: nothing is imported or called.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fourreal.errors import UserError

_ARRAY = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_WORDS = (*_ARRAY, "numpy ndarray", "numpy dtype")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = (
    *("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2"),
    *("BINBYTES", "SHORT_BINBYTES"),
)


@dataclass
class _Name:
    """A word of the file that stands for something of NumPy's."""

    word: str


@dataclass
class _Made:
    """What calling a name would have made: an array or a dtype, its state yet to come."""

    word: str
    arguments: tuple[Any, ...]
    state: Any = None

    def array(self) -> np.ndarray:
        _, shape, kind, fortran, data = self.state
        if not isinstance(kind, _Made) or kind.arguments[0] not in ("f4", "f8", "i4", "i8"):
            raise ValueError("an array of an unknown kind")
        order = (kind.state or (0, "<"))[1]
        values = np.frombuffer(data, np.dtype(order + kind.arguments[0]))
        return values.reshape(shape, order="F" if fortran else "C")


def read_pickled_arrays(path: str | Path) -> dict[str, Any]:
    """Nested dictionaries of arrays in a pickle file.

    Raises:
        UserError: unreadable, or it holds anything else.
    """
    try:
        with Path(path).open("rb") as file:
            found = _plain(_machine(file))
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"{path}: not a file of plain arrays ({error})") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: expected a dictionary of arrays")
    return found


def _machine(file: Any) -> Any:
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}
    for operation, value, _ in pickletools.genops(file):
        name = operation.name
        if name in ("PROTO", "FRAME"):
            continue
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _VALUES:
            stack.append(value)
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[value] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[value])
        elif name == "GLOBAL":
            if value not in _WORDS:
                raise ValueError(f"it names {value!r}")
            stack.append(_Name(value))
        elif name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            start = marks.pop() if name == "TUPLE" else len(stack) - int(name[-1])
            items = tuple(stack[start:])
            del stack[start:]
            stack.append(items)
        elif name == "REDUCE":
            arguments, called = stack.pop(), stack.pop()
            stack.append(_Made(called.word, arguments))
        elif name == "BUILD":
            state = stack.pop()
            stack[-1].state = state
        elif name == "SETITEM":
            item, key = stack.pop(), stack.pop()
            stack[-1][key] = item
        elif name == "SETITEMS":
            start = marks.pop()
            pairs = stack[start:]
            del stack[start:]
            stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))
        elif name == "STOP":
            return stack.pop()
        else:
            raise ValueError(f"the operation {name} has no place in it")
    raise ValueError("it ends too early")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, _Made) and value.word in _ARRAY:
        return value.array()
    raise ValueError(f"it holds {type(value).__name__}")
