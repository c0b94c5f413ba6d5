"""Clips of which a part is damaged: what can be decoded whole is used, at its own time."""

import av
import numpy as np
import pytest

from fourreal.video_decode import pick_frames
from fourreal.video_facts import probe
from tests.gen.footage.footage_files import ffmpeg

CODERS = {
    "a.mp4": ("-c:v", "libx264", "-x264-params", "keyint=10:bframes=0:scenecut=0"),
    "b.mp4": ("-c:v", "libx265", "-x265-params", "log-level=none:keyint=10:bframes=0:scenecut=0"),
    "c.avi": ("-c:v", "mpeg4", "-g", "10", "-q:v", "2"),
}


@pytest.mark.parametrize("name", CODERS)
def test_damaged_frames_and_what_follows_from_them_are_left_out(tmp_path, name, capsys):
    file = tmp_path / name
    source = "testsrc2=s=160x96:r=10:d=4,noise=alls=30:allf=t:all_seed=1"
    ffmpeg("-f", "lavfi", "-i", source, *CODERS[name], file)
    sound = pick_frames(probe(file), list(range(40)), 96, 160)
    data = bytearray(file.read_bytes())
    with av.open(str(file)) as container:
        packet = [p for p in container.demux(video=0) if p.size][14]
    at, end = packet.pos + 8, packet.pos + packet.size
    data[at:end] = bytes(end - at)
    file.write_bytes(data)
    for wanted in ([5, 13, 25, 39], [5, 15, 18, 21], list(range(40))):
        got = pick_frames(probe(file), wanted, 96, 160)
        meant = [13 if 14 <= k <= 16 else 20 if 17 <= k < 20 else k for k in wanted]
        assert (got == sound[meant]).all()
    said = capsys.readouterr().err
    assert f"{name} is damaged (1.4 to 1.9 s): 6 of 40 frames" in said
    assert said.count("damaged") == 1


def test_a_clip_that_is_damaged_all_over_is_refused(tmp_path):
    file = tmp_path / "a.avi"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x96:r=10:d=4,noise=alls=30:allf=t", *CODERS["c.avi"],
           file)  # fmt: skip
    data = bytearray(file.read_bytes())
    with av.open(str(file)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    for packet in packets[3::2]:
        at, end = packet.pos + packet.size // 4, packet.pos + packet.size
        data[at:end] = np.random.default_rng(0).integers(0, 255, end - at, dtype=np.uint8).tobytes()
    file.write_bytes(data)
    with pytest.raises(ValueError, match="of 40 frames can be decoded whole; copy it again"):
        pick_frames(probe(file), [3, 8], 96, 160)
