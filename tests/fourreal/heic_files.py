"""HEIC as phones and cameras write it: HEVC of ffmpeg's x265 in a container made by hand."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from tests.gen.footage.footage_files import atom, ffmpeg

SRGB, DISPLAY_P3, PQ = (1, 13, 1), (12, 13, 1), (9, 16, 9)  # primaries, transfer, matrix of H.273
NAMES_OF_MATRICES = {1: "bt709", 9: "bt2020nc"}


def heic(
    picture: NDArray,
    tiles: tuple[int, int] = (1, 1),
    turns: int = 0,
    mirror: int | None = None,
    colours: tuple[int, int, int] = SRGB,
    icc: bytes = b"",
    alpha: NDArray | None = None,
    exif: bytes = b"",
    others: Sequence[NDArray] = (),
    brands: bytes = b"heic\0\0\0\0mif1heic",
) -> bytes:
    """A HEIC file.

    Args:
        picture: [H, W, 3] as it is stored, uint8, or uint16 for one of 10 bits.
        tiles: rows and columns of pictures that it is laid together of, as iPhones do.
        turns: quarters of a turn to the left that bring it upright; mirror: then mirrored, 0
            about a level axis, 1 about an upright one.
        colours: of H.273. icc: a profile instead of them.
        alpha: uint8 [H, W]. others: pictures of the same size that come before the main one.
        brands: the content of the first box.
    """
    rows, columns = tiles
    height, width = picture.shape[0] // rows, picture.shape[1] // columns
    parts = [
        picture[r * height : (r + 1) * height, c * width : (c + 1) * width]
        for r in range(rows)
        for c in range(columns)
    ]
    box = Boxes()
    size = box.property(b"ispe", struct.pack(">3I", 0, width, height))
    if icc:
        colour = box.property(b"colr", b"prof" + icc)
    else:
        colour = box.property(b"colr", b"nclx" + struct.pack(">3HB", *colours, 128))
    for other in others:
        (data,), config = hevc([other], colours)
        box.item(b"hvc1", data, [size, colour, -box.property(b"hvcC", config)])
    datas, config = hevc(parts, colours)
    own = [size, colour, -box.property(b"hvcC", config)]
    after = [-box.property(b"irot", bytes([turns]))] if turns else []
    after += [-box.property(b"imir", bytes([mirror]))] if mirror is not None else []
    if tiles == (1, 1):
        main = box.item(b"hvc1", datas[0], own + after)
    else:
        pieces = [box.item(b"hvc1", data, own, hidden=True) for data in datas]
        whole = box.property(b"ispe", struct.pack(">3I", 0, *picture.shape[1::-1]))
        layout = struct.pack(">4B2H", 0, 0, rows - 1, columns - 1, *picture.shape[1::-1])
        main = box.item(b"grid", layout, [whole, colour, *after])
        box.refer(b"dimg", main, pieces)
    if alpha is not None:
        (data,), config = hevc([alpha[..., None].repeat(3, -1)], SRGB, "gray")
        is_alpha = b"\0\0\0\0urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"
        properties = [size, box.property(b"auxC", is_alpha), -box.property(b"hvcC", config)]
        box.refer(b"auxl", box.item(b"hvc1", data, properties + after), [main])
    if exif:
        tag = exif if exif.startswith(b"Exif\0\0") else b"Exif\0\0" + exif
        box.refer(b"cdsc", box.item(b"Exif", struct.pack(">I", 6) + tag, []), [main])
    return box.file(main, brands)


class Boxes:
    """The items of a HEIF file with their properties."""

    def __init__(self) -> None:
        self.properties: list[bytes] = []
        self.items: list[tuple[bytes, bytes, list[int], bool]] = []
        self.references = b""

    def property(self, kind: bytes, payload: bytes) -> int:
        """Add a property; its number from 1."""
        self.properties.append(atom(kind, payload))
        return len(self.properties)

    def item(self, kind: bytes, data: bytes, properties: list[int], hidden: bool = False) -> int:
        """Add an item with numbers of properties, below 0 where they are essential; its number."""
        self.items.append((kind, data, properties, hidden))
        return len(self.items)

    def refer(self, kind: bytes, item: int, to: list[int]) -> None:
        """Say that one item is made of, or about, others."""
        self.references += atom(kind, struct.pack(f">{2 + len(to)}H", item, len(to), *to))

    def file(self, main: int, brands: bytes) -> bytes:
        """All of it, item ``main`` being the one that is shown."""
        head = atom(b"ftyp", brands)
        start = len(head) + len(self._meta(main, 0))
        data = atom(b"mdat", b"".join(item[1] for item in self.items))
        return head + self._meta(main, start + 8) + data

    def _meta(self, main: int, at: int) -> bytes:
        entries, places, owned = b"", b"", b""
        for number, (kind, data, properties, hidden) in enumerate(self.items, 1):
            entries += atom(b"infe", struct.pack(">IHH4sx", 2 << 24 | hidden, number, 0, kind))
            places += struct.pack(">HHHII", number, 0, 1, at, len(data))
            owned += struct.pack(">HB", number, len(properties))
            owned += bytes(abs(p) | (128 if p < 0 else 0) for p in properties)
            at += len(data)
        count = len(self.items)
        parts = [
            atom(b"hdlr", bytes(8) + b"pict" + bytes(13)),
            atom(b"pitm", struct.pack(">IH", 0, main)),
            atom(b"iloc", struct.pack(">IBBH", 0, 0x44, 0, count) + places),
            atom(b"iinf", struct.pack(">IH", 0, count) + entries),
            atom(b"iprp", atom(b"ipco", b"".join(self.properties))
                 + atom(b"ipma", struct.pack(">II", 0, count) + owned)),
        ]  # fmt: skip
        if self.references:
            parts.append(atom(b"iref", bytes(4) + self.references))
        return atom(b"meta", bytes(4) + b"".join(parts))


def hevc(
    pictures: Sequence[NDArray], colours: tuple[int, int, int], pixels: str = ""
) -> tuple[list[bytes], bytes]:
    """Pictures [H, W, 3] of one size as HEVC, each on its own, and the decoder's configuration."""
    deep = pictures[0].dtype == np.uint16
    height, width = pictures[0].shape[:2]
    matrix = NAMES_OF_MATRICES[colours[2]]
    pixels = pixels or ("yuv444p10le" if deep else "yuv444p")
    with tempfile.TemporaryDirectory() as folder:
        raw, out = Path(folder) / "raw", Path(folder) / "out.mp4"
        raw.write_bytes(np.stack(pictures).tobytes())
        ffmpeg(
            "-f", "rawvideo", "-pix_fmt", "rgb48le" if deep else "rgb24", "-s", f"{width}x{height}",
            "-i", raw, "-vf", f"scale=out_color_matrix={matrix}:out_range=full,format={pixels}",
            "-c:v", "libx265", "-x265-params", "keyint=1:crf=2:log-level=none", "-tag:v", "hvc1",
            "-color_range", "pc", "-colorspace", matrix, out,
        )  # fmt: skip
        with av.open(str(out)) as container:
            stream = container.streams.video[0]
            datas = [bytes(p) for p in container.demux(stream) if p.size]
            return datas, bytes(stream.codec_context.extradata)
