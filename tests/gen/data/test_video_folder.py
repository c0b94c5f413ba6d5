"""Captioned video folders: what is found, what is named and skipped, what a clip looks like."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fourreal.errors import UserError
from fourreal.video_io import write_image, write_video
from gen.data.batches import draw_clips, seeded
from gen.data.video_folder import VideoFolder, crop_window, resize_uint8
from gen.network.dit import Mode

H, W = 16, 24


def counting_clip(frames: int, height: int = 36, width: int = 64) -> np.ndarray:
    """Frame i has red 20 + 5 i everywhere, green rises to the right, blue downwards."""
    clip = np.zeros((frames, height, width, 3), np.uint8)
    clip[..., 0] = 20 + 5 * np.arange(frames)[:, None, None]
    clip[..., 1] = np.linspace(0, 200, width)
    clip[..., 2] = np.linspace(0, 200, height)[:, None]
    return clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    write_video(root / "a.mp4", counting_clip(30), 10)
    (root / "a.txt").write_text("counting up slowly\n")
    (root / "b").mkdir()
    for i, frame in enumerate(counting_clip(9)):
        write_image(root / "b" / f"{i:03d}.png", frame)
    (root / "b.txt").write_text("counting in pictures")
    write_image(root / "c.png", counting_clip(1)[0])
    (root / "c.txt").write_text("a still")
    (root / "broken.mp4").write_bytes(b"no video at all" * 100)
    (root / "broken.txt").write_text("broken")
    write_video(root / "short.mp4", counting_clip(3), 10)
    (root / "short.txt").write_text("too short")
    write_image(root / "silent.png", counting_clip(1)[0])
    return root


def times(clip: torch.Tensor) -> list[float]:
    """Which frame of `counting_clip` each frame is, by its red."""
    return ((clip[..., 0].float().mean((1, 2)) - 20) / 5).tolist()


def test_unusable_files_are_named_in_one_warning(folder, capfd):
    found = VideoFolder(folder, Mode.DYNAMIC, 8, H, W, 0)
    lines = [x for x in capfd.readouterr().err.splitlines() if x.strip()]
    assert len(lines) == 1 and "3 unusable" in lines[0]
    assert all(name in lines[0] for name in ("broken.mp4", "short.mp4", "silent.png"))
    assert [e.caption for e in found.entries] == ["counting up slowly", "counting in pictures"]
    assert found.word_counts()["counting"] == 2 and found.word_counts()["still"] == 1


def test_clips_are_windows_of_their_files_in_time_and_space(folder):
    found = VideoFolder(folder, Mode.FREEZE_TIME, 8, H, W, 0)
    strides, seen = set(), set()
    for number in range(24):
        clip = found.item(3, number)
        assert clip.frames.shape == (8, H, W, 3) and clip.frames.dtype == torch.uint8
        assert clip.mode == Mode.FREEZE_TIME
        seen.add(clip.text)
        at = times(clip.frames)
        gaps = np.diff(at)
        assert np.allclose(gaps, gaps[0], atol=0.7) and 0.5 < gaps[0] < 4.5
        assert -0.7 < at[0] and at[-1] < 29.7
        strides.add(round(float(gaps.mean())))
        green, blue = clip.frames[0, ..., 1].float(), clip.frames[0, ..., 2].float()
        # The crop keeps proportions and orientation: green rises to the right, blue downwards.
        right = (green[:, -1] - green[:, 0]).mean() / 200 * 64
        down = (blue[-1] - blue[0]).mean() / 200 * 36
        assert right / down == pytest.approx(W / H, rel=0.2) and right > 30
    assert len(strides) > 1 and seen == {"counting up slowly", "counting in pictures"}


def test_items_are_the_same_again_and_differ_by_seed_step_and_number(folder):
    one, two = (VideoFolder(folder, Mode.DYNAMIC, 4, H, W, 0) for _ in range(2))
    one.item(0, 0)
    assert torch.equal(one.item(5, 2).frames, two.item(5, 2).frames)
    others = [
        two.item(5, 3),
        two.item(6, 2),
        VideoFolder(folder, Mode.DYNAMIC, 4, H, W, 1).item(5, 2),
    ]
    assert not any(torch.equal(one.item(5, 2).frames, x.frames) for x in others)
    batch = draw_clips(one, 0, 5, range(2, 4), 3)
    assert batch.clean.shape == (2, 3, H, W, 3) and not batch.known.all(1).any()


def test_single_pictures_come_from_images_and_videos(folder):
    found = VideoFolder(folder, Mode.DYNAMIC, 1, H, W, 0)
    clips = [found.item(0, n) for n in range(40)]
    assert all(c.frames.shape == (1, H, W, 3) for c in clips)
    assert {"a still", "counting up slowly", "too short"} <= {c.text for c in clips}
    assert max(times(c.frames)[0] for c in clips) > 15


def test_jsonl_captions(folder, tmp_path, capfd):
    write_video(tmp_path / "x.mp4", counting_clip(10), 10)
    write_video(tmp_path / "unlisted.mp4", counting_clip(10), 10)
    lines = [
        json.dumps({"file": "x.mp4", "caption": "listed"}),
        json.dumps({"file": "gone.mp4", "caption": "gone"}),
        "{not json",
        json.dumps({"file": "x.mp4"}),
    ]
    (tmp_path / "captions.jsonl").write_text("\n".join(lines) + "\n")
    found = VideoFolder(tmp_path, Mode.DYNAMIC, 8, H, W, 0)
    warning = capfd.readouterr().err
    assert found.item(0, 0).text == "listed" and len(found.entries) == 1
    assert "3 unusable" in warning and "gone.mp4" in warning and "line 3" in warning


def test_a_file_that_ends_early_is_named_and_another_taken(tmp_path, capfd):
    write_video(
        tmp_path / "cut.mp4", np.random.default_rng(0).integers(0, 255, (40, 64, 64, 3), "u1"), 10
    )
    data = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 3])
    write_video(tmp_path / "fine.mp4", counting_clip(40), 10)
    for name in ("cut", "fine"):
        (tmp_path / f"{name}.txt").write_text(name)
    found = VideoFolder(tmp_path, Mode.DYNAMIC, 8, H, W, 0)
    first = [found.item(0, n) for n in range(12)]
    error = capfd.readouterr().err
    assert error.count("cut.mp4") == 1
    again = VideoFolder(tmp_path, Mode.DYNAMIC, 8, H, W, 0)
    assert torch.equal(again.item(0, 11).frames, first[11].frames)


def test_nothing_usable_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        VideoFolder(tmp_path / "none", Mode.DYNAMIC, 8, H, W, 0)
    with pytest.raises(UserError, match="NAME.txt"):
        VideoFolder(tmp_path, Mode.DYNAMIC, 8, H, W, 0)
    write_image(tmp_path / "a.png", counting_clip(1)[0])
    (tmp_path / "a.txt").write_text("only a still")
    with pytest.raises(UserError, match="still images"):
        VideoFolder(tmp_path, Mode.DYNAMIC, 8, H, W, 0)
    assert VideoFolder(tmp_path, Mode.DYNAMIC, 1, H, W, 0).item(0, 0).text == "only a still"


def test_crops_have_the_shape_asked_for_and_shrinking_averages():
    for number in range(30):
        g = seeded(number)
        rows, columns = crop_window(90, 70, H, W, g)
        h, w = rows.stop - rows.start, columns.stop - columns.start
        assert 0 <= rows.start and rows.stop <= 90 and 0 <= columns.start and columns.stop <= 70
        assert abs(w / h - W / H) < 0.06 and w >= 0.78 * 70
    checks = (np.indices((64, 96)).sum(0) % 2 * 200).astype(np.uint8)[..., None].repeat(3, 2)
    assert np.abs(resize_uint8(checks, H, W).astype(int) - 100).max() <= 1
