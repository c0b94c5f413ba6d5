"""Photographs as phones, editors and messengers make them: upright, in the colours that were meant,
whatever they are called."""

import struct

import numpy as np
import pytest
from PIL import Image

from fourreal.errors import UserError
from fourreal.image_facts import upright
from fourreal.video_io import image_size, read_image, small_image
from gen.footage.views import ImagesView

# Columns: the primaries' XYZ under D50.
DISPLAY_P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.0666, 0.78407))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141))


def icc_profile(primaries, name: str, gamma: float = 2.2) -> bytes:
    """An ICC profile (version 2, matrix and curve) of an RGB space."""

    def number(x: float) -> bytes:
        return struct.pack(">i", round(x * 65536))

    text = name.encode() + b"\0"
    xyz = [b"XYZ \0\0\0\0" + b"".join(number(x) for x in p) for p in primaries]
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(80),
        b"cprt": b"text\0\0\0\0free\0\0\0\0",
        b"wtpt": b"XYZ \0\0\0\0" + number(0.9642) + number(1.0) + number(0.8249),
        b"rXYZ": xyz[0], b"gXYZ": xyz[1], b"bXYZ": xyz[2],
        b"rTRC": curve, b"gTRC": curve, b"bTRC": curve,
    }  # fmt: skip
    at, table, data = 128 + 4 + 12 * len(tags), b"", b""
    for key, value in tags.items():
        table += key + struct.pack(">II", at + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    body = struct.pack(">I", len(tags)) + table + data
    head = struct.pack(">II", 128 + len(body), 0) + struct.pack(">I", 0x02100000)
    head += b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += number(0.9642) + number(1.0) + number(0.8249)
    return head + bytes(128 - len(head)) + body


@pytest.fixture
def picture() -> np.ndarray:
    """Four quarters of different colours, no symmetry, uint8 [16, 24, 3]."""
    out = np.zeros((16, 24, 3), np.uint8)
    out[:8, :12], out[:8, 12:], out[8:, :12], out[8:, 12:] = (
        (200, 60, 60), (60, 180, 60), (70, 70, 190), (220, 220, 220)
    )  # fmt: skip
    return out


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
@pytest.mark.parametrize(
    ("name", "format"),
    [("a.jpg", "JPEG"), ("a.png", "PNG"), ("a.webp", "WEBP"), ("b.png", "JPEG"), ("b.jpg", "PNG")],
)
def test_an_orientation_tag_is_obeyed_in_every_format(tmp_path, picture, name, format, orientation):
    undo = {2: 2, 3: 3, 6: 8, 8: 6}[orientation]
    tag = Image.Exif()
    tag[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(upright(picture, undo)))
    how = {"lossless": True} if format == "WEBP" else {"quality": 95, "subsampling": 0}
    stored.save(tmp_path / name, format, exif=tag, **(how if format != "PNG" else {}))
    assert image_size(tmp_path / name) == (16, 24)
    assert image_size(tmp_path / name, upright=False) == stored.size[::-1]
    middle = np.s_[2:6, 2:10]
    assert np.abs(read_image(tmp_path / name)[middle] * 255 - picture[middle]).max() < 6
    assert read_image(tmp_path / name, upright=False).shape[:2] == stored.size[::-1]
    small = small_image(tmp_path / name, 8, 12).astype(int)
    assert np.abs(small[1:3, 1:5] - picture[3, 3]).max() < 8


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_colours_of_a_wide_space_are_brought_to_srgb(tmp_path, name):
    red = np.full((16, 24, 3), (200, 60, 60), np.uint8)
    profile = icc_profile(DISPLAY_P3, "Display P3")
    Image.fromarray(red).save(tmp_path / name, icc_profile=profile, quality=100)
    got = read_image(tmp_path / name)[8, 12] * 255
    # the same light in sRGB, by the matrices of both spaces
    matrix = np.linalg.inv(np.array(SRGB).T) @ np.array(DISPLAY_P3).T
    linear = np.clip(matrix @ (red[0, 0] / 255.0) ** 2.2, 0, 1)
    meant = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear) * 255
    assert np.abs(got - meant).max() < 4 and got[0] - 200 > 10
    (note,) = ImagesView("a", (tmp_path / name,)).notes
    assert note == "colours of Display P3: brought to sRGB"


@pytest.mark.parametrize("profile", [icc_profile(SRGB, "sRGB", 2.2), b"no profile at all", b""])
def test_srgb_and_damaged_profiles_change_nothing(tmp_path, picture, profile):
    Image.fromarray(picture).save(tmp_path / "a.png", icc_profile=profile)
    assert (np.round(read_image(tmp_path / "a.png") * 255) == picture).all()
    assert ImagesView("a", (tmp_path / "a.png",)).notes == ()


def test_transparent_pixels_of_a_wide_space_are_white(tmp_path, picture):
    clear = np.concatenate([picture, np.zeros((16, 24, 1), np.uint8)], -1)
    profile = icc_profile(DISPLAY_P3, "Display P3")
    Image.fromarray(clear).save(tmp_path / "a.png", icc_profile=profile)
    assert (read_image(tmp_path / "a.png") == 1).all()


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_what_is_cut_off_or_empty_is_said(tmp_path, name, capfd):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged or cut off: copy it again"):
        read_image(tmp_path / name)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match="is empty: copy it again"):
        read_image(tmp_path / name)
    assert capfd.readouterr().err == ""  # the decoders' own lines are no help
