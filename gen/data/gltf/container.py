"""The outermost layer of a glTF file: .glb chunks or .gltf JSON, and the bytes of its buffers.

Nothing is fetched: an external buffer or image must be a regular file inside the asset's own
folder. Sizes are limited, so a hostile file costs bounded memory.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from gen.data.gltf.fields import (
    Json,
    MalformedGltf,
    MissingFile,
    an_object,
    integer,
    objects,
    sub_object,
    text,
)

MAX_FILE_BYTES = 512 * 2**20
MAX_JSON_BYTES = 64 * 2**20
_GLB_MAGIC, _CHUNK_JSON, _CHUNK_BIN = b"glTF", 0x4E4F534A, 0x004E4942

# What a file may list under extensionsRequired: read, or touching only looks that we leave out.
KNOWN_EXTENSIONS = {
    "KHR_materials_unlit", "KHR_texture_transform", "KHR_mesh_quantization", "EXT_texture_webp",
    "KHR_materials_pbrSpecularGlossiness", "KHR_materials_emissive_strength",
    "KHR_materials_clearcoat", "KHR_materials_ior", "KHR_materials_sheen",
    "KHR_materials_specular", "KHR_materials_transmission", "KHR_materials_volume",
    "KHR_materials_variants", "KHR_lights_punctual",
}  # fmt: skip


@dataclass(frozen=True)
class Document:
    """The JSON of a glTF file and its buffers' bytes, in the order of `json["buffers"]`."""

    name: str
    folder: Path
    json: Json
    buffers: list[bytes]
    _checked: dict[str, list[Json]] = field(default_factory=dict)

    def list_of(self, key: str) -> list[Json]:
        """A top-level list of objects, such as "meshes"; empty when absent."""
        if key not in self._checked:
            self._checked[key] = objects(self.json, key, "file")
        return self._checked[key]

    def view(self, number: int) -> memoryview:
        """The bytes of buffer view `number`."""
        views = self.list_of("bufferViews")
        if not 0 <= number < len(views):
            raise MalformedGltf(f"bufferView {number} does not exist")
        where = f"bufferViews[{number}]"
        buffer = self.buffers[integer(views[number], "buffer", where, high=len(self.buffers) - 1)]
        start = integer(views[number], "byteOffset", where, 0)
        length = integer(views[number], "byteLength", where, low=1)
        if start + length > len(buffer):
            raise MalformedGltf(
                f"{where} ends at byte {start + length} of a buffer of {len(buffer)}"
            )
        return memoryview(buffer)[start : start + length]


def read_document(path: Path) -> Document:
    """Read a .glb or .gltf file with its buffers.

    Raises:
        MalformedGltf: not glTF 2.0, damaged, too big, or in need of something not supported.
        OSError: unreadable.
    """
    data = _read_limited(path)
    if data[:4] == _GLB_MAGIC:
        raw, binary = _split_glb(data)
    else:
        raw, binary = data, None
    document = _parse(raw)
    if not text(sub_object(document, "asset", "file"), "version", "asset").startswith("2."):
        raise MalformedGltf("it is not glTF 2.0 (asset.version)")
    required = document.get("extensionsRequired", [])
    if not isinstance(required, list) or not all(isinstance(r, str) for r in required):
        raise MalformedGltf("extensionsRequired is not a list of names")
    if missing := sorted(set(required) - KNOWN_EXTENSIONS):
        raise MalformedGltf(
            f"it needs {', '.join(missing)[:120]}, which is not read here; "
            "export it without compression or extras"
        )
    folder = path.resolve().parent
    buffers, total = [], 0
    for i, entry in enumerate(objects(document, "buffers", "file", most=1000)):
        where = f"buffers[{i}]"
        length = integer(entry, "byteLength", where, low=1)
        if "uri" in entry:
            content = resolve_uri(text(entry, "uri", where), folder)
        elif i == 0 and binary is not None:
            content = binary
        else:
            raise MalformedGltf(f"{where} has neither a uri nor a binary chunk")
        if len(content) < length:
            raise MalformedGltf(f"{where} holds {len(content)} bytes of {length}")
        total += len(content)
        if total > MAX_FILE_BYTES:
            raise MalformedGltf(f"its buffers exceed {MAX_FILE_BYTES >> 20} MB")
        buffers.append(content[:length])
    return Document(path.name, folder, document, buffers)


def resolve_uri(uri: str, folder: Path) -> bytes:
    """The bytes behind a data URI, or behind a relative path that stays inside `folder`.

    Raises:
        MalformedGltf: another scheme, or a path that leaves the folder.
        MissingFile: no such file.
    """
    if uri.startswith("data:"):
        head, comma, body = uri.partition(",")
        if not comma or not head.endswith(";base64"):
            raise MalformedGltf("a data URI is not base64")
        try:
            return base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError) as error:
            raise MalformedGltf(f"a data URI is not valid base64 ({error})") from error
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", uri) or uri.startswith(("/", "\\")):
        raise MalformedGltf(f"refused to open {uri[:80]!r}: only files beside the asset are read")
    try:
        target = (folder / unquote(uri).replace("\\", "/")).resolve()
        inside = target.is_relative_to(folder.resolve())
        there = inside and target.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # NUL bytes, names too long, link loops
        raise MalformedGltf(f"cannot open {uri[:80]!r} ({error})") from error
    if not inside:
        raise MalformedGltf(f"refused to open {uri[:80]!r}: it lies outside the asset's folder")
    if not there:
        raise MissingFile(f"its file {uri[:80]!r} is missing")
    return _read_limited(target)


def _read_limited(path: Path) -> bytes:
    with path.open("rb") as handle:
        data = handle.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise MalformedGltf(f"{path.name} is larger than {MAX_FILE_BYTES >> 20} MB")
    return data


def _split_glb(data: bytes) -> tuple[bytes, bytes | None]:
    """The JSON chunk and the binary chunk (or None) of a .glb."""
    if len(data) < 20:
        raise MalformedGltf("the file is cut off")
    version, length = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise MalformedGltf(f"it is .glb version {version}; only version 2 is read")
    if length > len(data):
        raise MalformedGltf(f"the file is cut off: {len(data)} bytes of {length}")
    position = 12
    chunks: dict[int, tuple[int, int]] = {}
    while position + 8 <= length:
        size, kind = struct.unpack_from("<II", data, position)
        position += 8
        if position + size > length:
            raise MalformedGltf("a chunk reaches beyond the end of the file")
        chunks.setdefault(kind, (position, size))
        position += size
    if _CHUNK_JSON not in chunks:
        raise MalformedGltf("the .glb has no JSON chunk")
    parts = {kind: data[at : at + size] for kind, (at, size) in chunks.items()}
    return parts[_CHUNK_JSON], parts.get(_CHUNK_BIN)


def _no_constant(name: str) -> Any:
    raise MalformedGltf(f"its JSON holds {name}, which is not a JSON number")


def _parse(raw: bytes) -> Json:
    if len(raw) > MAX_JSON_BYTES:
        raise MalformedGltf(f"its JSON is larger than {MAX_JSON_BYTES >> 20} MB")
    try:
        parsed = json.loads(raw.decode("utf-8-sig"), parse_constant=_no_constant)
    except MalformedGltf:
        raise
    except (ValueError, RecursionError) as error:  # also wrong UTF-8 and integers of 5000 digits
        raise MalformedGltf(f"its JSON cannot be read ({str(error)[:80]})") from error
    return an_object(parsed, "file")
