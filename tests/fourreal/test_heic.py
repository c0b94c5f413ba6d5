"""Photographs as phones and cameras keep them now: HEIC, AVIF, TIFF."""

import cv2
import numpy as np
import pytest
from PIL import Image

from fourreal import ffmpeg
from fourreal.errors import UserError
from fourreal.image_facts import image_facts, upright
from fourreal.video_facts import probe
from fourreal.video_io import image_size, read_image, read_video, small_image
from gen.footage.views import ImagesView
from tests.fourreal.heic_files import DISPLAY_P3, PQ, heic
from tests.fourreal.test_image_facts import DISPLAY_P3 as P3_COLUMNS
from tests.fourreal.test_image_facts import icc_profile
from tests.gen.footage.footage_files import ffmpeg as run_ffmpeg

COLOURS = ((200, 60, 60), (60, 180, 60), (70, 70, 190), (220, 220, 220))


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Four quarters of different colours, no symmetry, uint8 [64, 96, 3]."""
    out = np.zeros((64, 96, 3), np.uint8)
    out[:32, :48], out[:32, 48:], out[32:, :48], out[32:, 48:] = COLOURS
    return out


def corners(image) -> np.ndarray:
    """The middles of the quarters [4, 3] in 0..255."""
    h, w = image.shape[:2]
    at = [(h // 4, w // 4), (h // 4, 3 * w // 4), (3 * h // 4, w // 4), (3 * h // 4, 3 * w // 4)]
    return 255 * np.array([image[a] for a in at], np.float64)


def near(image, meant, off=4) -> bool:
    return image.shape == meant.shape and np.abs(corners(image) - corners(meant / 255)).max() < off


@pytest.mark.parametrize("name", ["IMG_1.HEIC", "IMG_1.heif", "DSC1.HIF", "IMG_1.jpg"])
def test_heic_is_read_whatever_it_is_called(tmp_path, picture, name):
    file = tmp_path / name
    file.write_bytes(heic(picture, tiles=(2, 3)))  # an iPhone lays its pictures together of tiles
    assert image_size(file) == (64, 96)
    assert near(read_image(file), picture)
    assert near(small_image(file, 8, 12) / 255, picture[::8, ::8])
    assert ImagesView("a", (file,)).notes == ()


@pytest.mark.parametrize(("turns", "mirror"), [(1, None), (2, None), (3, None), (0, 1), (1, 0)])
def test_heic_is_upright_as_its_container_says(tmp_path, picture, turns, mirror):
    """The tag of EXIF, which iPhones write as well, is of the pixels before that: it is not obeyed
    a second time."""
    tag = Image.Exif()
    tag[0x0112] = 6
    stored = np.rot90(picture[:, ::-1] if mirror else picture[::-1] if mirror == 0 else picture,
                      -turns)  # fmt: skip
    file = tmp_path / "a.heic"
    file.write_bytes(heic(np.ascontiguousarray(stored), turns=turns, mirror=mirror,
                          exif=tag.tobytes()))  # fmt: skip
    assert image_size(file) == (64, 96)
    assert near(read_image(file), picture)


def test_wide_colours_of_heic_by_profile_or_code_are_the_same(tmp_path, picture):
    one, two = tmp_path / "a.heic", tmp_path / "b.heic"
    one.write_bytes(heic(picture, icc=icc_profile(P3_COLUMNS, "Display P3")))
    two.write_bytes(heic(picture, colours=DISPLAY_P3))
    assert near(read_image(two), read_image(one) * 255, 10)  # its curve is not quite sRGB's
    assert corners(read_image(two))[0, 0] - 200 > 10  # red is redder than sRGB's number says
    for file in (one, two):
        assert ImagesView("a", (file,)).notes == ("colours of Display P3: brought to sRGB",)


@pytest.mark.skipif(not ffmpeg.has_filters("zscale"), reason="needs an ffmpeg with zscale")
def test_a_photo_of_high_dynamic_range_looks_like_a_clip_of_it(tmp_path, picture):
    deep = picture.astype(np.uint16) * 160  # of 65535: some 200 cd/m2 at most
    (tmp_path / "a.hif").write_bytes(heic(deep, colours=PQ))
    (tmp_path / "raw").write_bytes(np.stack([deep] * 3).tobytes())
    run_ffmpeg(
        "-f", "rawvideo", "-pix_fmt", "rgb48le", "-s", "96x64", "-i", tmp_path / "raw",
        "-vf", "scale=out_color_matrix=bt2020nc:out_range=tv,format=yuv444p10le", "-c:v", "libx265",
        "-x265-params", "log-level=none:crf=2:colorprim=bt2020:transfer=smpte2084:"
        "colormatrix=bt2020nc", "-colorspace", "bt2020nc", tmp_path / "a.mp4",
    )  # fmt: skip
    frames, _, _ = read_video(tmp_path / "a.mp4")
    assert probe(tmp_path / "a.mp4").notes == ("high dynamic range (PQ): mapped to SDR",)
    photo = read_image(tmp_path / "a.hif")
    assert near(photo, frames[0] * 255, 6) and 100 < corners(photo).max() < 255
    assert ImagesView("a", (tmp_path / "a.hif",)).notes == probe(tmp_path / "a.mp4").notes


def test_ten_bits_keep_their_precision(tmp_path, picture):
    ramp = np.linspace(20000, 24000, 96).astype(np.uint16)
    deep = np.broadcast_to(ramp[None, :, None], (64, 96, 3)).copy()
    (tmp_path / "a.heic").write_bytes(heic(deep))
    got = read_image(tmp_path / "a.heic")[32, :, 1] * 65535
    assert np.abs(got - ramp).max() < 200 and len(np.unique(got)) > 40  # 16 levels of 8 bits


def test_transparent_parts_of_heic_are_white_and_other_pictures_are_not_read(tmp_path, picture):
    alpha = np.zeros((64, 96), np.uint8)
    alpha[:, :48] = 255
    (tmp_path / "a.heic").write_bytes(heic(picture, alpha=alpha))
    meant = picture.copy()
    meant[:, 48:] = 255
    assert near(read_image(tmp_path / "a.heic"), meant)
    (tmp_path / "b.heic").write_bytes(heic(picture, others=[255 - picture]))
    assert near(read_image(tmp_path / "b.heic"), picture)
    said = ("2 pictures in a file: the main one is used",)
    assert ImagesView("b", (tmp_path / "b.heic",)).notes == said


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_heic_that_is_cut_off_or_damaged_is_named(tmp_path, picture, part, capfd):
    noise = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    whole = heic(noise, tiles=(2, 3))
    file = tmp_path / "a.heic"
    file.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(UserError, match="a.heic; it is damaged or cut off: copy it again"):
        read_image(file)
    file.write_bytes(whole[: int(len(whole) * part)] + bytes(len(whole) - int(len(whole) * part)))
    with pytest.raises(UserError, match="a.heic; it is damaged or cut off: copy it again"):
        read_image(file)
    file.write_bytes(b"")
    with pytest.raises(UserError, match="is empty"):
        read_image(file)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("brands", [b"avif", b"mif1"])
def test_avif_is_read(tmp_path, picture, brands):
    file, tag = tmp_path / "a.avif", Image.Exif()
    tag[0x0112] = 6
    stored = Image.fromarray(np.ascontiguousarray(upright(picture, 8)))
    stored.save(file, quality=95, exif=tag)
    data = file.read_bytes()
    file.write_bytes(data[:8] + brands + data[12:])
    assert image_facts(file).format == "AVIF"
    assert image_size(file) == (64, 96) and near(read_image(file), picture, 6)
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="damaged or cut off"):
        read_image(file)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "CMYK", "L", "P"])
def test_tiff_of_eight_bits(tmp_path, picture, mode, orientation):
    tag = Image.Exif()
    tag[0x0112] = orientation
    undo = {1: 1, 3: 3, 6: 8}[orientation]
    stored = Image.fromarray(np.ascontiguousarray(upright(picture, undo)))
    stored = stored.quantize(8) if mode == "P" else stored.convert(mode)
    stored.save(tmp_path / "a.tif", exif=tag, compression="tiff_lzw")
    whole = Image.fromarray(picture).convert(mode if mode != "P" else "RGB")
    meant = np.asarray(whole.convert("RGB"))
    assert image_size(tmp_path / "a.tif") == (64, 96)
    assert near(read_image(tmp_path / "a.tif"), meant)
    assert near(small_image(tmp_path / "a.tif", 8, 12) / 255, meant[::8, ::8])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tiff_of_sixteen_bits_keeps_them(tmp_path, channels):
    deep = np.random.default_rng(0).integers(0, 65535, (24, 32, channels), dtype=np.uint16)
    if channels == 4:
        deep[..., 3] = 65535
    stored = deep[..., [2, 1, 0, 3][:channels]] if channels > 1 else deep[..., 0]
    (tmp_path / "a.tiff").write_bytes(cv2.imencode(".tiff", stored)[1].tobytes())
    meant = deep[..., :3] / np.float32(65535)
    assert np.abs(read_image(tmp_path / "a.tiff") - meant).max() < 1e-6
    small = small_image(tmp_path / "a.tiff", 24, 32) / 255
    assert np.abs(small - meant).max() < 0.01


def test_tiff_that_is_no_picture_of_numbers_of_16_bits_is_named(tmp_path):
    for name, values, says in (
        ("a.tif", np.zeros((8, 8), np.float32), "numbers with a decimal point: export"),
        ("b.tif", np.zeros((8, 8), np.int32), "numbers of 32 bits: export"),
    ):
        Image.fromarray(values).save(tmp_path / name)
        with pytest.raises(UserError, match=says):
            read_image(tmp_path / name)
    three = cv2.imencode(".tif", np.zeros((8, 8, 3), np.float32))[1].tobytes()
    (tmp_path / "c.tif").write_bytes(three)
    with pytest.raises(UserError, match="of a kind that is not read"):
        read_image(tmp_path / "c.tif")


def test_a_picture_where_a_clip_is_expected_is_called_so(tmp_path, picture):
    (tmp_path / "a.heic").write_bytes(heic(picture, tiles=(2, 3)))
    Image.fromarray(picture).save(tmp_path / "a.avif")
    Image.fromarray(picture).save(tmp_path / "a.tif")
    for name, kind in (("a.heic", "HEIC"), ("a.avif", "AVIF"), ("a.tif", "TIFF")):
        with pytest.raises(ValueError, match=rf"it is a picture \({kind}\), not a video"):
            probe(tmp_path / name)


def test_a_jpeg_that_is_torn_inside_is_named(tmp_path):
    """What copies and repair programs leave: the end is there, a part before it is not."""
    rough = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(rough).resize((320, 240)).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) * 6 // 10] + b"\xff\xd9")
    with pytest.raises(UserError, match="damaged or cut off: copy it again"):
        read_image(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(whole + bytes(500))  # what follows its end is no matter
    read_image(tmp_path / "a.jpg")
