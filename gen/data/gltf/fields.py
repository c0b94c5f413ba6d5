"""Typed reads out of untrusted JSON: every value is checked for kind and range where it is taken.

All functions take the JSON object, the key and a `where` that names the object in messages, and
raise `MalformedGltf` when the value is missing (and has no default) or is not what it should be.
"""

from __future__ import annotations

import math
from typing import Any

Json = dict[str, Any]
_REQUIRED: Any = object()


class MalformedGltf(ValueError):
    """The file breaks the glTF specification, or one of our limits on untrusted input."""


class MissingFile(MalformedGltf):
    """A file that the asset names, and may name, is not there."""


def an_object(value: Any, where: str) -> Json:
    """`value` as a JSON object."""
    if not isinstance(value, dict):
        raise MalformedGltf(f"{where} is not an object")
    return value


def objects(parent: Json, key: str, where: str, most: int = 100_000) -> list[Json]:
    """A list of objects (empty when absent) of at most `most` entries."""
    value = parent.get(key, [])
    if not isinstance(value, list):
        raise MalformedGltf(f"{where}.{key} is not a list")
    if len(value) > most:
        raise MalformedGltf(f"{where}.{key} has {len(value)} entries; at most {most} are read")
    return [an_object(v, f"{where}.{key}[{i}]") for i, v in enumerate(value)]


def sub_object(parent: Json, key: str, where: str) -> Json:
    """An object, empty when absent."""
    return an_object(parent.get(key, {}), f"{where}.{key}")


def integer(
    parent: Json, key: str, where: str, default: Any = _REQUIRED, low: int = 0, high: int = 2**40
) -> int:
    """An integer in low..high (a float without fraction counts); `default` when absent."""
    value = parent.get(key, default)
    if value is _REQUIRED:
        raise MalformedGltf(f"{where} has no {key}")
    if value is default:
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise MalformedGltf(f"{where}.{key} must be an integer in {low}..{high}, got {value!r:.40}")
    return value


def index(parent: Json, key: str, count: int, where: str, default: Any = _REQUIRED) -> Any:
    """An index into a list of `count` entries; `default` (for instance None) when absent."""
    if default is not _REQUIRED and key not in parent:
        return default
    return integer(parent, key, where, high=count - 1)


def indices(parent: Json, key: str, count: int, where: str) -> list[int]:
    """A list of indices into a list of `count` entries; empty when absent."""
    value = parent.get(key, [])
    if not isinstance(value, list) or len(value) > 100_000:
        raise MalformedGltf(f"{where}.{key} is not a list of indices")
    return [integer({key: v}, key, where, high=count - 1) for v in value]


def number(parent: Json, key: str, where: str, default: float) -> float:
    """A finite number."""
    value = parent.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedGltf(f"{where}.{key} must be a number, got {value!r:.40}")
    try:
        finite = math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        finite = False
    if not finite:
        raise MalformedGltf(f"{where}.{key} is not finite")
    return float(value)


def numbers(
    parent: Json, key: str, where: str, length: int | None, default: list[float] | None
) -> list[float] | None:
    """A list of finite numbers, `length` of them (None: any number up to 4096)."""
    value = parent.get(key)
    if value is None:
        return default
    if not isinstance(value, list) or (len(value) != length if length else len(value) > 4096):
        raise MalformedGltf(f"{where}.{key} must be a list of {length or 'at most 4096'} numbers")
    return [number({key: v}, key, where, 0.0) for v in value]


def boolean(parent: Json, key: str, where: str, default: bool = False) -> bool:
    """True or false."""
    value = parent.get(key, default)
    if not isinstance(value, bool):
        raise MalformedGltf(f"{where}.{key} must be true or false")
    return value


def text(parent: Json, key: str, where: str, default: str = "") -> str:
    """A string; `default` when absent."""
    value = parent.get(key, default)
    if not isinstance(value, str):
        raise MalformedGltf(f"{where}.{key} must be text")
    return value


def choice(parent: Json, key: str, where: str, options: tuple[Any, ...], default: Any) -> Any:
    """One of `options`."""
    value = parent.get(key, default)
    if isinstance(value, list | dict) or value not in options:
        raise MalformedGltf(f"{where}.{key} must be one of {list(options)}, got {value!r:.40}")
    return value
