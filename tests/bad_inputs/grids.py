"""Grids that cannot be read or used."""

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from fourreal.video_io import write_image, write_video
from gen.grid import VideoGrid
from tests.bad_inputs.case import BadInput

TITLE = "Grids"


def frames(views: int = 2, times: int = 2, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    """Noise [V, T, H, W, 3], the same every time."""
    return np.random.default_rng(0).random((views, times, *size, 3), np.float32)


def folder() -> None:
    """A sound grid folder ``grid/``."""
    VideoGrid(frames()).save("grid")


def metadata(**changed: object) -> None:
    """A grid folder whose grid.json has other values."""
    folder()
    marker = Path("grid/grid.json")
    marker.write_text(json.dumps(json.loads(marker.read_text()) | changed))


def npz(**arrays: np.ndarray) -> None:
    np.savez_compressed("grid.npz", **arrays)  # type: ignore[arg-type]


def pickled() -> None:
    """An npz whose ``rgb`` would have to be unpickled."""
    npz(rgb=np.array([{"code": "would run"}], dtype=object))


def claims(shape: tuple[int, ...]) -> None:
    """An npz of a few bytes whose header claims an array of ``shape``."""
    header = io.BytesIO()
    described = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    with zipfile.ZipFile("grid.npz", "w") as archive:
        archive.writestr("rgb.npy", header.getvalue() + b"\0" * 64)


def cut(name: str, share: float = 0.5) -> None:
    """Keep the first part of a file."""
    file = Path(name)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])


def png_of(height: int, width: int) -> bytes:
    """A PNG that says it has so many pixels and holds none of them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def void(name: str) -> None:
    """A file of plain text, whatever its name says."""
    Path(name).write_text("plain text\n")


def missing_cell() -> None:
    folder()
    Path("grid/v01/t001.png").unlink()


def other_size() -> None:
    folder()
    write_image("grid/v01/t001.png", np.zeros((8, 8, 3), np.float32))


def text_for_image() -> None:
    folder()
    Path("grid/v00/t000.png").write_text("not a picture")


def huge_image() -> None:
    folder()
    Path("grid/v00/t000.png").write_bytes(png_of(100_000, 100_000))


def cut_npz() -> None:
    npz(rgb=frames())
    cut("grid.npz")


def tiled_without_layout() -> None:
    write_video("tiled.mp4", np.zeros((3, 32, 48, 3), np.float32), 8)


def broken_json() -> None:
    folder()
    Path("grid/grid.json").write_text('{"version": 1,')


CASES = [
    BadInput("no such grid", "grid missing.npz", r"no such file"),
    BadInput("an empty folder", "grid empty", r"expected v00", lambda: Path("empty").mkdir()),
    BadInput("text for a grid", "grid a.mp4", r"not a", lambda: void("a.mp4")),
    BadInput("npz without frames", "grid grid.npz", r"neither 'rgb'", lambda: npz(x=frames())),
    BadInput("frames of a single clip", "grid grid.npz", r"\[V, T, H, W, 3\]",
             lambda: npz(rgb=frames()[0])),
    BadInput("frames of text", "grid grid.npz", r"uint8 or float",
             lambda: npz(rgb=frames().astype("S"))),
    BadInput("pickled objects", "grid grid.npz", r"object|pickle", pickled),
    BadInput("npz cut off", "grid grid.npz", r"not a usable grid", cut_npz),
    BadInput("npz that claims 10^12 values", "grid grid.npz", r"not a usable grid",
             lambda: claims((10, 10, 10_000, 10_000, 100))),
    BadInput("floats in 0..255", "grid grid.npz", r"from 0\.\S+ to 25\d: floats are in 0\.\.1",
             lambda: npz(rgb=255 * frames())),
    BadInput("floats in -1..1", "grid grid.npz", r"from -\S+ to \S+: floats are in 0\.\.1",
             lambda: npz(rgb=2 * frames() - 1)),
    BadInput("NaN in the frames", "grid grid.npz", r"NaN",
             lambda: npz(rgb=np.full((2, 2, 24, 32, 3), np.nan, np.float32))),
    BadInput("broken grid.json", "grid grid", r"not valid JSON", broken_json),
    BadInput("grid.json of a later version", "grid grid", r"version", lambda: metadata(version=9)),
    BadInput("times that go back", "grid grid", r"times must increase",
             lambda: metadata(times=[0.5, 0.2])),
    BadInput("words for times", "grid grid", r"not a usable grid",
             lambda: metadata(times="soon")),
    BadInput("row 0 incomplete", "grid grid", r"row 0 and column 0",
             lambda: metadata(known=[[1, 0], [1, 1]])),
    BadInput("cameras of another number of views", "grid grid", r"K must be finite",
             lambda: metadata(K=[[[1, 0, 0], [0, 1, 0], [0, 0, 1]]])),
    BadInput("a missing cell", "grid grid", r"no such image", missing_cell),
    BadInput("a cell of another size", "grid grid", r"differs in size", other_size),
    BadInput("text for an image", "grid grid", r"cannot read the image", text_for_image),
    BadInput("a PNG that claims 10^10 pixels", "grid grid", r"100000x100000", huge_image),
    BadInput("a single view", "grid grid.npz", r"at least 2", lambda: npz(rgb=frames(1))),
    BadInput("a thousand views", "grid grid.npz", r"256 .*--pick-views 0:1000:4",
             lambda: npz(rgb=np.tile(frames(1, 1, (16, 16)), (1000, 1, 1, 1, 1)))),
    BadInput("nothing is picked", "grid grid --pick-views 5:9", r"picked views", folder),
    BadInput("picks in words", "grid grid --pick-views some", r"A:B", folder),
    BadInput("tiles unknown", "grid tiled.mp4", r"--tiles", tiled_without_layout),
    BadInput("tiles that do not fit", "grid tiled.mp4 --tiles 9x9", r"do not fit",
             tiled_without_layout),
]  # fmt: skip
