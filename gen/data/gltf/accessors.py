"""Accessors: the typed arrays of a glTF file, with strides, sparse values and normalised integers.

Decoded arrays are kept, so that meshes which share an accessor share the memory; the number of
values that one file may decode is limited.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gen.data.gltf.container import Document
from gen.data.gltf.fields import Json, MalformedGltf, boolean, choice, integer, sub_object

MAX_VALUES = 128_000_000  # numbers in all arrays of one file together: 512 MB as float32
COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
TYPES: dict[int, np.dtype] = {
    5120: np.dtype("i1"), 5121: np.dtype("u1"), 5122: np.dtype("<i2"), 5123: np.dtype("<u2"),
    5125: np.dtype("<u4"), 5126: np.dtype("<f4"),
}  # fmt: skip


class Accessors:
    """Decodes the accessors of one document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._entries = document.list_of("accessors")
        self._decoded: dict[int, NDArray] = {}
        self._floats: dict[int, NDArray[np.float32]] = {}
        self._left = MAX_VALUES

    def floats(self, number: int, components: tuple[int, ...]) -> NDArray[np.float32]:
        """Accessor `number` as float32 [count, C], C one of `components`; integers normalised.

        Integers that are not marked as normalised keep their value (quantised positions).
        """
        values = self._read(number, components)
        if number not in self._floats:
            self._floats[number] = self._as_floats(values, number)
        return self._floats[number]

    def _as_floats(self, values: NDArray, number: int) -> NDArray[np.float32]:
        if values.dtype.kind == "f":
            out = values
        elif boolean(self._entries[number], "normalized", f"accessors[{number}]"):
            top = np.float32(np.iinfo(values.dtype).max)
            out = np.maximum(values.astype(np.float32) / top, np.float32(-1))
        else:
            out = values.astype(np.float32)
        if not np.isfinite(out).all():
            raise MalformedGltf(f"accessors[{number}] holds NaN or Inf")
        return out

    def integers(self, number: int, components: int) -> NDArray[np.int64]:
        """Accessor `number` as int64 [count, components]; floats are refused."""
        values = self._read(number, (components,))
        if values.dtype.kind == "f":
            raise MalformedGltf(f"accessors[{number}] must hold integers")
        return values.astype(np.int64)

    def _read(self, number: int, components: tuple[int, ...]) -> NDArray:
        if not 0 <= number < len(self._entries):
            raise MalformedGltf(f"accessor {number} does not exist")
        if number not in self._decoded:
            self._decoded[number] = self._decode(number)
        values = self._decoded[number]
        if values.shape[1] not in components:
            raise MalformedGltf(
                f"accessors[{number}] has {values.shape[1]} components, expected {components}"
            )
        return values

    def _decode(self, number: int) -> NDArray:
        entry, where = self._entries[number], f"accessors[{number}]"
        count = integer(entry, "count", where, low=1, high=MAX_VALUES)
        width = COMPONENTS[choice(entry, "type", where, tuple(COMPONENTS), None)]
        dtype = TYPES[choice(entry, "componentType", where, tuple(TYPES), None)]
        self._left -= count * width
        if self._left < 0:
            raise MalformedGltf(f"its arrays hold more than {MAX_VALUES} values")
        if "bufferView" in entry:
            values = self._slice(entry, where, count, width, dtype)
        else:
            values = np.zeros((count, width), dtype)
        if "sparse" in entry:
            values = self._overwrite(values, sub_object(entry, "sparse", where), f"{where}.sparse")
        return values

    def _slice(self, entry: Json, where: str, count: int, width: int, dtype: np.dtype) -> NDArray:
        """`count` rows of `width` values, as an array of the buffer's own bytes."""
        number = integer(entry, "bufferView", where)
        data = self._document.view(number)
        view = self._document.list_of("bufferViews")[number]
        size = width * dtype.itemsize
        stride = integer(view, "byteStride", f"bufferViews[{number}]", size, low=1, high=252)
        start = integer(entry, "byteOffset", where, 0)
        if stride < size or start + (count - 1) * stride + size > len(data):
            raise MalformedGltf(f"{where} reaches beyond its buffer view")
        return np.ndarray((count, width), dtype, data, start, (stride, dtype.itemsize))

    def _overwrite(self, values: NDArray, sparse: Json, where: str) -> NDArray:
        """A copy of `values` with the rows that a sparse accessor lists replaced."""
        count = integer(sparse, "count", where, low=1, high=len(values))
        spots = sub_object(sparse, "indices", where)
        kind = TYPES[choice(spots, "componentType", f"{where}.indices", (5121, 5123, 5125), None)]
        rows = self._slice(spots, f"{where}.indices", count, 1, kind)[:, 0].astype(np.int64)
        if rows.max() >= len(values):
            raise MalformedGltf(f"{where} replaces row {rows.max()} of {len(values)}")
        source = sub_object(sparse, "values", where)
        out = values.copy()
        out[rows] = self._slice(source, f"{where}.values", count, values.shape[1], values.dtype)
        return out
