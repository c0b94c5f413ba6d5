"""Facts about video files: those that a player goes by, whatever tags and names say."""

import subprocess

import av
import cv2
import numpy as np
import pytest

from fourreal import ffmpeg as program
from fourreal.video_decode import frames, pick_frames
from fourreal.video_facts import probe
from fourreal.video_io import read_clip, read_video, write_video
from tests.gen.footage.footage_files import atom, ffmpeg, with_360_mark, with_box

SIZE = (48, 64)


def counting(count, size=SIZE):
    """Frames that differ: a bright bar that is farther right in every one."""
    out = np.full((count, *size, 3), 0.2, np.float32)
    for k in range(count):
        at = round(k * (size[1] - 4) / max(count - 1, 1))
        out[k, :, at : at + 4] = 0.9
    return out


def bars(clip):
    """Where the bar is in every frame [F, H, W, 3]."""
    return np.asarray(clip, float).mean((1, 3)).argmax(1)


def shown(path):
    """Facts, and all frames; a file must have as many as its facts say."""
    facts = probe(path)
    clip = np.stack(list(frames(facts)))
    assert len(clip) == facts.count == len(facts.seconds)
    return facts, clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(path, counting(16), 8)
    return path


@pytest.fixture(scope="module")
def gop(tmp_path_factory):
    """40 frames with B-frames across the key frames, every 10."""
    path = tmp_path_factory.mktemp("gop") / "gop.mp4"
    write_video(path.with_name("all.mp4"), counting(40, (48, 96)), 10)
    coding = "keyint=10:min-keyint=10:open-gop=1:bframes=3:b-adapt=0:scenecut=0"
    ffmpeg("-i", path.with_name("all.mp4"), "-c:v", "libx264", "-x264-params", coding, path)
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "mov"])
def test_sound_before_the_picture_repeats_no_frame(clip, tmp_path, suffix):
    late = tmp_path / f"late.{suffix}"
    sound = ["-f", "lavfi", "-i", "sine=frequency=440:duration=3"]
    ffmpeg("-itsoffset", "1", "-i", clip, *sound, "-map", "0:v", "-map", "1:a",
           "-c:v", "copy", "-c:a", "aac", late)  # fmt: skip
    facts, found = shown(late)
    assert facts.count == 16 and facts.fps == pytest.approx(8, rel=0.01)
    assert (bars(found) == bars(shown(clip)[1])).all() and not facts.notes
    assert len(np.unique(bars(found))) == 16


@pytest.mark.parametrize("start", [0.55, 1.55, 2.0])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_a_lossless_trim_shows_what_is_behind_the_cut(gop, tmp_path, suffix, start):
    cut = tmp_path / f"cut.{suffix}"
    ffmpeg("-ss", str(start), "-i", gop, "-t", "1.5", "-c", "copy", cut)
    found = bars(shown(cut)[1])
    assert (np.diff(found) > 0).all() and len(found) >= 11  # no frame twice, none out of order
    if suffix != "mkv":  # which has no edit list: it plays from the key frame on
        assert found[0] >= bars(shown(gop)[1])[round(start * 10) - 1]
    read, _ = read_clip(cut)
    assert len(read) == len(found)


def test_a_stream_that_begins_within_a_group_of_pictures(gop, tmp_path):
    ffmpeg("-i", gop, "-c:v", "libx265", "-x265-params",
           "log-level=none:keyint=10:min-keyint=10:open-gop=1:bframes=3:scenecut=0",
           tmp_path / "whole.mp4")  # fmt: skip
    ffmpeg("-ss", "1.55", "-i", tmp_path / "whole.mp4", "-c", "copy", tmp_path / "cut.ts")
    facts, found = shown(tmp_path / "cut.ts")
    assert (np.diff(bars(found)) > 0).all()


def test_tags_and_names_are_no_facts(clip, tmp_path):
    folder = tmp_path / "Truncated take 2, partial file ended prematurely"
    folder.mkdir()
    lying = folder / "Stream #0:7 Video: hevc, yuv420p10le(smpte2084), 640x480, 90 fps.mp4"
    said = "Stream #0:3: Video: h264, yuva420p, 4000x3000 [SAR 2:1], 30 fps, 60 tbr (top first)"
    ffmpeg("-i", clip, "-c", "copy", "-metadata", f"title={said}", "-metadata",
           f"comment=rotation of -90.00 degrees\n{said}", "-metadata:s:v", f"handler_name={said}",
           lying)  # fmt: skip
    facts, found = shown(lying)
    assert (facts.height, facts.width, facts.fps, facts.count) == (*SIZE, 8, 16)
    assert facts.notes == () and "rotation of" in facts.comment
    assert read_video(lying)[2] == facts.comment


def test_a_tag_that_is_no_text_is_no_obstacle(clip, tmp_path):
    ffmpeg("-i", clip, "-c", "copy", "-metadata", "comment=XYZQ", tmp_path / "a.mp4")
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(data.replace(b"XYZQ", b"\xff\xfe\xe4\xf6"))
    assert shown(tmp_path / "b.mp4")[0].count == 16


@pytest.mark.parametrize(
    ("name", "coding", "rate"),
    [
        ("a.MTS", ["-c:v", "libx264", "-f", "mpegts"], 8),
        ("a.gif", [], 8),
        ("a.webm", ["-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "16"], 8),
        ("b.webm", ["-c:v", "libvpx-vp9"], 8),
        ("a.h264", ["-c:v", "libx264"], 8),
        ("a.hevc", ["-c:v", "libx265", "-x265-params", "log-level=none"], 8),
        ("a.avi", ["-c:v", "mpeg4", "-bf", "2"], 8),
        ("a.wmv", ["-c:v", "wmv2"], 8),
        ("a.flv", ["-c:v", "flv1"], 8),
        ("a.ogv", ["-c:v", "libtheora"], 8),
        ("a.3gp", ["-c:v", "libx264"], 8),
        ("a.m4v", ["-c:v", "libx264"], 8),
        ("a.ivf", ["-c:v", "libvpx"], 8),
        ("a.y4m", ["-pix_fmt", "yuv420p"], 8),
        ("a.nut", ["-c:v", "ffv1"], 8),
        ("a.apng", ["-plays", "0"], 8),
        ("a.mov", ["-c:v", "prores"], 8),
        ("a.vob", ["-c:v", "mpeg2video", "-r", "25", "-f", "vob"], 25),
        ("frag.mp4", ["-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov"], 8),
        ("a", ["-c:v", "libx264", "-f", "matroska"], 8),
    ],
)
def test_any_container_is_a_clip(clip, tmp_path, name, coding, rate):
    ffmpeg("-i", clip, *coding, tmp_path / name)
    facts, found = shown(tmp_path / name)
    assert facts.fps == pytest.approx(rate, rel=0.01)
    assert facts.count == (16 if rate == 8 else 50)
    assert abs(bars(found)[[0, -1]] - [0, SIZE[1] - 4]).max() < 5


def test_every_frame_of_an_uneven_clip_once_with_its_time(tmp_path):
    kept = "select='not(mod(n,3))+lt(n,20)'"
    write_video(tmp_path / "all.mp4", counting(60, (48, 256)), 30)
    ffmpeg("-i", tmp_path / "all.mp4", "-vf", kept, "-fps_mode", "vfr", tmp_path / "vfr.mp4")
    facts, found = shown(tmp_path / "vfr.mp4")
    wanted = [n for n in range(60) if n % 3 == 0 or n < 20]
    assert np.allclose(facts.seconds, np.array(wanted) / 30, atol=1e-3)
    assert "every frame keeps its time" in " ".join(facts.notes)
    assert len(np.unique(bars(found))) == len(wanted)


def test_small_jitter_is_an_even_rate(tmp_path):
    write_video(tmp_path / "a.mp4", counting(30), 29.97)
    ffmpeg("-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "a.mkv")  # stamps of whole ms
    for name in ("a.mp4", "a.mkv"):
        facts, _ = shown(tmp_path / name)
        assert facts.fps == pytest.approx(29.97, rel=1e-3) and not facts.notes


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("marked", [False, True])
def test_a_thumbnail_before_the_film_is_not_the_film(clip, tmp_path, suffix, marked):
    if marked and suffix == "mkv":
        pytest.skip("Matroska keeps covers as attachments")
    picture = tmp_path / "cover.jpg"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=160x120", "-frames:v", "1", picture)
    mark = ["-disposition:v:0", "attached_pic"] if marked else []
    film = tmp_path / f"film.{suffix}"
    ffmpeg("-i", picture, "-i", clip, "-map", "0", "-map", "1", "-c", "copy", *mark, film)
    facts, found = shown(film)
    assert (bars(found) == bars(shown(clip)[1])).all()
    assert marked or "2 video streams" in " ".join(facts.notes)


@pytest.mark.parametrize("field", ["tff", "bff"])
def test_interlaced_clips_are_deinterlaced(tmp_path, field):
    top = "interleave_top" if field == "tff" else "interleave_bottom"
    for name, coding in (("a.mp4", "libx264"), ("a.mpg", "mpeg2video"), ("a.mkv", "libx264")):
        ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=50:d=1", "-vf",
               f"tinterlace={top},setfield={field}", "-c:v", coding, "-flags", "+ildct+ilme",
               tmp_path / name)  # fmt: skip
        facts, _ = shown(tmp_path / name)
        assert facts.interlaced and "interlaced: deinterlaced" in facts.notes


@pytest.fixture(scope="module")
def index_last(clip):
    """The clip with its index behind the pictures, whose places then stay as they are."""
    ffmpeg("-i", clip, "-c", "copy", "-map_metadata", "-1", clip.with_name("last.mp4"))
    return clip.with_name("last.mp4")


def test_360_degree_video_is_named_and_refused(index_last, tmp_path):
    with_360_mark(index_last, tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="360-degree video .equirectangular.*v360"):
        probe(tmp_path / "a.mp4")


@pytest.mark.parametrize(("mode", "name"), [(1, "top and bottom"), (2, "side by side")])
def test_stereo_video_is_named_and_refused(index_last, tmp_path, mode, name):
    with_box(index_last, tmp_path / "a.mp4", atom(b"st3d", bytes(4) + bytes([mode])))
    with pytest.raises(ValueError, match=f"stereo video .{name}.*per eye"):
        probe(tmp_path / "a.mp4")


def test_stereo_and_360_without_marks_are_told_by_their_looks(tmp_path):
    rough = np.random.default_rng(0).random((9, 20, 3), np.float32)
    picture = cv2.resize(rough, (160, 72), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    eyes = np.concatenate([picture[:, :128], picture[:, 4:132]], 1)
    write_video(tmp_path / "eyes.mp4", np.stack([eyes] * 3), 8)
    with pytest.raises(ValueError, match="seems to be stereo video, side by side"):
        probe(tmp_path / "eyes.mp4")
    around = np.concatenate([rough[:, :8], rough[:, :8], rough[:, :8]], 1)  # meets itself
    wrap = cv2.resize(around, (384, 64), interpolation=cv2.INTER_CUBIC)[:, 128:256].clip(0, 1)
    wrap[:3], wrap[-3:] = 0.8, 0.3  # poles
    write_video(tmp_path / "wrap.mp4", np.stack([wrap] * 3), 8)
    with pytest.raises(ValueError, match="seems to be 360-degree video"):
        probe(tmp_path / "wrap.mp4")
    wide = cv2.resize(rough, (256, 72), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    plain = np.ones((64, 128, 3), np.float32)
    plain[20:50, 40:90] = 0.2
    for name, ordinary in (("wide", wide), ("square", wide[:, :144]), ("plain", plain)):
        write_video(tmp_path / f"{name}.mp4", np.stack([ordinary] * 3), 8)
        assert probe(tmp_path / f"{name}.mp4").count == 3


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_file_that_breaks_off_says_so(tmp_path, suffix):
    write_video(tmp_path / "a.mp4", np.random.default_rng(0).random((40, 48, 64, 3)), 10)
    whole = tmp_path / f"whole.{suffix}"
    ffmpeg("-i", tmp_path / "a.mp4", "-c", "copy", "-movflags" if suffix == "mp4" else "-y",
           *(["+faststart"] if suffix == "mp4" else []), whole)  # fmt: skip
    assert probe(whole).count == 40
    data = whole.read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    for share in (0.4, 0.9):
        cut.write_bytes(data[: int(share * len(data))])
        with pytest.raises(ValueError, match="breaks off after [0-9]+ frames"):
            probe(cut)


def test_picked_frames_are_those_of_the_whole_clip(gop):
    facts, whole = shown(gop)
    for wanted in ([0], [39], [3, 4, 9], [0, 2, 4, 6], list(range(40)), [1, 2, 5, 38]):
        assert (pick_frames(facts, wanted, *whole.shape[1:3]) == whole[wanted]).all()


def test_no_ffmpeg_is_one_line(clip, tmp_path, monkeypatch):
    from fourreal.errors import UserError

    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    with pytest.raises(UserError, match="need the program ffmpeg .*IMAGEIO_FFMPEG_EXE"):
        read_clip(clip)
    with pytest.raises(UserError, match="need the program ffmpeg"):
        write_video(tmp_path / "a.mp4", counting(2), 8)
    assert probe(clip).count == 16


def test_why_pixels_come_from_the_program():
    """PyAV's wheels have no zscale, which maps high dynamic range; when they do, one of the two
    ways of decoding can go."""
    assert "zscale" not in av.filter.filters_available
    listed = subprocess.run([program.program(), "-filters"], capture_output=True, text=True)
    assert " zscale " in listed.stdout
