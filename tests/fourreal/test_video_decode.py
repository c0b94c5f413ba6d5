"""Clips as phones, editors and screens make them: decoded as they are shown, or refused by name."""

import re

import av
import numpy as np
import pytest

from fourreal.errors import UserError
from fourreal.ffmpeg import has_filters
from fourreal.video_decode import frames, over_white, pick_frames
from fourreal.video_facts import probe
from fourreal.video_io import image_size, read_clip, read_image, write_video
from tests.gen.footage.footage_files import atom, ffmpeg, with_box

SOURCE = "testsrc2=s=64x48:r=10:d=1"


def made(path, *coding, source=SOURCE):
    ffmpeg("-f", "lavfi", "-i", source, *coding, path)
    return path


def shown(path):
    return probe(path), np.stack(list(frames(probe(path))))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return made(tmp_path_factory.mktemp("v") / "plain.mp4", "-c:v", "libx264", "-crf", "5")


def test_plain_clip(plain):
    facts, clip = shown(plain)
    assert (facts.height, facts.width, facts.fps, facts.count) == (48, 64, 10, 10)
    assert clip.shape == (10, 48, 64, 3) and facts.notes == ()
    picked = pick_frames(facts, [2, 7], 24, 32)
    assert picked.shape == (2, 24, 32, 3)
    assert np.abs(picked[0].mean((0, 1)) - clip[2].mean((0, 1))).max() < 1


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_tag_is_obeyed(plain, tmp_path, degrees):
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", str(degrees), "-i", plain, "-c", "copy", turned)
    facts, clip = shown(turned)
    straight = shown(plain)[1]
    expected = np.stack([np.rot90(f, degrees // 90) for f in straight])  # counter-clockwise
    assert clip.shape == expected.shape and "upright" in " ".join(facts.notes)
    assert np.abs(clip.astype(int) - expected).mean() < 6


@pytest.mark.parametrize("degrees", [30, 88])
def test_a_turn_of_odd_degrees_is_left_aside_and_said(plain, tmp_path, degrees):
    turned = tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", str(degrees), "-i", plain, "-c", "copy", turned)
    facts, clip = shown(turned)
    assert "degrees: left aside" in " ".join(facts.notes)
    assert (clip == shown(plain)[1]).all()


@pytest.mark.parametrize(("degrees", "note"), [(0, "mirrored, as"), (90, "says, and upright")])
def test_mirrored_as_the_tag_says(plain, tmp_path, degrees, note):
    path = tmp_path / "mirrored.mp4"
    ffmpeg("-display_rotation", degrees, "-display_hflip", "-i", plain, "-c", "copy", path)
    facts, clip = shown(path)
    assert note in " ".join(facts.notes)
    straight = shown(plain)[1]
    turns = np.stack([np.rot90(f, degrees // 90)[:, ::-1] for f in straight])
    ways = (turns, turns[:, ::-1, ::-1])  # a flip before or after the turn
    assert min(np.abs(clip.astype(int) - way).mean() for way in ways) < 6


def test_uneven_frame_rate_becomes_even(tmp_path):
    kept = "select='not(mod(n,3))+lt(n,20)'"
    path = made(tmp_path / "vfr.mp4", "-vf", kept, "-fps_mode", "vfr", "-c:v", "libx264",
                source="testsrc2=s=64x48:r=30:d=2")  # fmt: skip
    facts, clip = shown(path)
    assert "uneven frame rate" in " ".join(facts.notes)
    assert abs(len(clip) / facts.fps - 2) < 0.3


@pytest.mark.parametrize(
    ("name", "source", "coding", "note"),
    [
        ("odd.mkv", "testsrc=s=65x47:r=10:d=1", ["-c:v", "ffv1", "-pix_fmt", "gbrp"], ""),
        ("ten.mp4", SOURCE, ["-c:v", "libx264", "-pix_fmt", "yuv420p10le"], "10 bit: rounded"),
        ("grey.mkv", SOURCE, ["-c:v", "ffv1", "-pix_fmt", "gray"], "grey"),
        ("wide.mp4", SOURCE, ["-vf", "setsar=2/1", "-c:v", "libx264"], "not square"),
    ],
)
def test_unusual_clips_are_read(tmp_path, name, source, coding, note):
    facts, clip = shown(made(tmp_path / name, *coding, source=source))
    assert note in " ".join(facts.notes)
    assert clip.shape[1:] == (facts.height, facts.width, 3) and clip.std() > 20
    if name == "odd.mkv":
        assert clip.shape[1:3] == (47, 65)
    if name == "wide.mp4":
        assert clip.shape[1:3] == (48, 128)
    if name == "grey.mkv":
        assert (clip[..., 0] == clip[..., 1]).all()


def test_transparent_parts_become_white(tmp_path):
    path = made(tmp_path / "alpha.mov", "-vf", "format=rgba,colorchannelmixer=aa=0.5",
                "-c:v", "qtrle")  # fmt: skip
    facts, clip = shown(path)
    assert "laid over white" in " ".join(facts.notes) and clip.mean() > 120
    half = over_white(np.array([[0, 0, 0, 0], [10, 20, 30, 255]], np.uint8))
    assert half.tolist() == [[255, 255, 255], [10, 20, 30]]


@pytest.mark.parametrize(("name", "coder"), [("a.webm", "libvpx-vp9"), ("b.webm", "libvpx")])
def test_transparent_parts_of_a_webm_become_white(tmp_path, name, coder, monkeypatch):
    half = "format=rgba,geq=r=200:g=0:b=0:a='if(lt(X,32),0,255)'"
    path = made(tmp_path / name, "-vf", half, "-c:v", coder, "-pix_fmt", "yuva420p",
                "-auto-alt-ref", "0", "-b:v", "1M")  # fmt: skip
    facts, clip = shown(path)
    assert facts.notes == ("transparent pixels: laid over white",)
    assert np.abs(clip[:, 8:-8, 8:24].astype(int) - 255).max() < 8
    assert np.abs(clip[:, 8:-8, 40:56].astype(int) - (200, 0, 0)).max() < 24
    monkeypatch.setattr("fourreal.ffmpeg.has_decoder", lambda name: False)
    assert not probe(path).alpha


@pytest.mark.parametrize(
    ("primaries", "coding", "name"),
    [
        ("bt2020", "2020:t=2020_10:m=2020_ncl", "BT.2020"),
        ("smpte432", "smpte432:t=709:m=709", "P3"),
    ],
)
def test_wide_colours_without_hdr_are_brought_to_those_of_screens(
    tmp_path, primaries, coding, name
):
    red = "color=0xC83C3C:s=64x48:r=10:d=0.3,format=gbrp"
    convert = f"zscale=min=gbr:pin=709:tin=709:p={coding}:r=limited,format=yuv420p"
    plain = made(tmp_path / "plain.mkv", "-c:v", "ffv1", source=red)
    wide = made(tmp_path / "wide.mkv", "-vf", convert, "-c:v", "ffv1", source=red)
    facts, clip = shown(wide)
    assert f"{name}: brought to those of ordinary screens" in " ".join(facts.notes)
    assert np.abs(clip.astype(int) - shown(plain)[1]).max() <= 4


@pytest.mark.parametrize(("transfer", "name"), [("arib-std-b67", "HLG"), ("smpte2084", "PQ")])
def test_high_dynamic_range_is_mapped(tmp_path, transfer, name):
    colours = f"log-level=none:colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc"
    path = made(tmp_path / "hdr.mp4", "-c:v", "libx265", "-x265-params", colours,
                "-pix_fmt", "yuv420p10le")  # fmt: skip
    facts, clip = shown(path)
    assert f"({name}): mapped to SDR" in " ".join(facts.notes)
    assert clip.shape == (10, 48, 64, 3) and 5 < clip.mean() < 250


def test_high_dynamic_range_without_the_filter_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("fourreal.ffmpeg.has_filters", lambda *names: False)
    colours = "log-level=none:colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc"
    path = made(tmp_path / "hdr.mp4", "-c:v", "libx265", "-x265-params", colours,
                "-pix_fmt", "yuv420p10le")  # fmt: skip
    with pytest.raises(UserError, match="high dynamic range .HLG. needs"):
        read_clip(path)


def test_clip_that_breaks_off_is_refused(tmp_path):
    path = tmp_path / "whole.mp4"
    write_video(path, np.random.default_rng(0).random((40, 48, 64, 3)), 10)
    data = path.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 3])
    with pytest.raises(UserError, match="cannot read the clip.*breaks off"):
        read_clip(tmp_path / "cut.mp4")


def test_encrypted_video_is_named_and_refused(plain, tmp_path):
    key = "76a6c65c5ea762046bd749a2e632ccbb"
    ffmpeg("-i", plain, "-c", "copy", "-encryption_scheme", "cenc-aes-ctr", "-encryption_key", key,
           "-encryption_kid", "a7e61c373e219033c21091fa607bf3b8", tmp_path / "drm.mp4")  # fmt: skip
    with pytest.raises(ValueError, match="it is encrypted .DRM."):
        probe(tmp_path / "drm.mp4")


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"\x93NUMPY\x01\x00", "a single array"), (b"%PDF-1.7", "is a PDF"), (b"Rar!\x1a", "(rar)"),
        (b"  <html>", "web page"), (b"", "it is empty"), (b"words", "not a readable video"),
    ],
)  # fmt: skip
def test_what_is_no_video_is_named(tmp_path, head, says):
    (tmp_path / "a.mp4").write_bytes(head)
    with pytest.raises(ValueError, match=re.escape(says)):
        probe(tmp_path / "a.mp4")


def test_playlists_are_not_followed(plain, tmp_path):
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {plain}\n")
    with pytest.raises(ValueError, match="not a readable video"):
        probe(tmp_path / "list.mp4")


def test_photographs_are_read_as_they_are_shown(tmp_path):
    from PIL import Image

    ramp = np.linspace(0, 255, 24, dtype=np.uint8)
    image = np.stack([np.tile(ramp, (16, 1))] * 3, -1)
    tag = Image.Exif()
    tag[0x0112] = 6  # the camera was held on its side
    Image.fromarray(image).save(tmp_path / "turned.jpg", exif=tag, quality=95)
    assert image_size(tmp_path / "turned.jpg") == (24, 16)
    assert read_image(tmp_path / "turned.jpg").shape == (24, 16, 3)
    Image.fromarray(np.tile((ramp * 257.0).astype(np.uint16), (16, 1))).save(tmp_path / "deep.png")
    deep = read_image(tmp_path / "deep.png")
    assert deep.shape == (16, 24, 3) and np.abs(deep[0, :, 0] - ramp / 255).max() < 1e-3
    clear = np.concatenate([image, np.zeros((16, 24, 1), np.uint8)], -1)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png") == 1).all()


UNTAGGED = "setparams=colorspace=unknown:color_primaries=unknown:color_trc=unknown"


@pytest.mark.parametrize(
    ("size", "matrix"),
    [("1280x720", "bt709"), ("720x1280", "bt709"), ("640x480", "bt601"), ("720x576", "bt601")],
)
def test_colours_of_untagged_clips_are_those_that_players_show(tmp_path, size, matrix):
    source = f"color=c=0xC83C3C:s={size}:r=2:d=1,format=rgb24"
    source += f",scale=out_color_matrix={matrix}:out_range=tv,format=yuv420p,{UNTAGGED}"
    path = made(tmp_path / "a.mp4", "-c:v", "libx264", "-crf", "5", source=source)
    _, clip = shown(path)
    assert np.abs(clip[0].mean((0, 1)) - (200, 60, 60)).max() < 3


def test_a_grid_of_an_earlier_version_keeps_its_colours(tmp_path):
    source = "color=c=0xC83C3C:s=1280x720:r=2:d=1,format=rgb24"
    source += f",scale=out_color_matrix=bt601:out_range=tv,format=yuv420p,{UNTAGGED}"
    path = made(tmp_path / "grid.mp4", "-c:v", "libx264", "-crf", "5", "-metadata",
                'comment={"fourreal_tiles": [2, 2]}', source=source)  # fmt: skip
    assert np.abs(shown(path)[1][0].mean((0, 1)) - (200, 60, 60)).max() < 3


def test_what_is_written_says_its_colours(tmp_path):
    red = np.full((2, 48, 64, 3), (200, 60, 60), np.uint8)
    write_video(tmp_path / "a.mp4", red, 5)
    with av.open(str(tmp_path / "a.mp4")) as container:
        written = container.streams.video[0].codec_context
        assert (written.colorspace, written.color_primaries, written.color_trc) == (1, 1, 1)
    assert np.abs(read_clip(tmp_path / "a.mp4")[0][0].mean((0, 1)) * 255 - (200, 60, 60)).max() < 3


@pytest.mark.skipif(not has_filters("zscale"), reason="needs an ffmpeg with zscale")
def test_high_dynamic_range_that_leaves_its_matrix_open(tmp_path):
    colours = "log-level=none:transfer=arib-std-b67"
    path = made(tmp_path / "hdr.mp4", "-c:v", "libx265", "-x265-params", colours,
                "-pix_fmt", "yuv420p10le")  # fmt: skip
    facts, clip = shown(path)
    assert facts.notes == ("high dynamic range (HLG): mapped to SDR",) and len(clip) == 10
    assert clip.std() > 20


@pytest.mark.parametrize(("profile", "compatible"), [(5, 0), (8, 4), (8, 1)])
def test_dolby_vision_of_phones_is_read_and_of_films_is_named(plain, tmp_path, profile, compatible):
    """Bytes of the box: version, profile and level, which parts there are, what it fits."""
    config = bytes([1, 0, profile << 1, 0x25, compatible << 4]) + bytes(19)
    with_box(plain, tmp_path / "a.mp4", atom(b"dvvC", config))
    if compatible:
        assert probe(tmp_path / "a.mp4").count == 10
    else:
        with pytest.raises(ValueError, match="Dolby Vision of profile 5.*export it as HDR10"):
            probe(tmp_path / "a.mp4")
