"""Photos of a still scene whose cameras, or pixels, cannot be used."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from fourreal.video_io import write_video
from tests.bad_inputs.case import BadInput
from tests.gen.footage import colmap_files as colmap
from tests.gen.footage import footage_files as files

TITLE = "Photos and their cameras"
NAMES = ["0.png", "1.png", "2.png"]


def scene():
    return files.scene(V=3, T=2, size=(24, 32))


def photos(folder: str = "set/images", names: list[str] = NAMES) -> None:
    colmap.photos(scene(), Path(folder), names)


def model(names: list[str] = NAMES, kind: str = "PINHOLE", damage: int = 0) -> None:
    """A COLMAP scene; its images.bin lacks so many bytes."""
    photos()
    at = colmap.model(scene(), Path("set/sparse/0"), names, kind)
    if damage:
        data = (at / "images.bin").read_bytes()
        (at / "images.bin").write_bytes(data[:-damage])


def rows(count: int) -> None:
    photos()
    np.save("set/poses_bounds.npy", np.ones((count, 17)))


def unread(suffix: str, head: bytes = b"II*\0\x08\0\0\0") -> None:
    Path("set").mkdir()
    for k in range(3):
        Path(f"set/IMG_{k}{suffix}").write_bytes(head)


def float_tiff() -> None:
    Path("set").mkdir()
    for k in range(3):
        Image.fromarray(np.full((24, 32), k / 3, np.float32)).save(f"set/{k}.tif")


def in_the_cloud() -> None:
    Path("set").mkdir()
    for k in range(3):
        Path(f"set/.IMG_{k}.HEIC.icloud").write_bytes(b"bplist00")


def pages(head: bytes) -> None:
    Path("set").mkdir()
    for k in range(3):
        Path(f"set/{k}.jpg").write_bytes(head)


def rig_of_c2w() -> None:
    files.image_folders(scene(), Path("rig"))
    names = ("cam00", "cam01", "cam02")
    entries = [{"name": n, "K": np.eye(3).tolist(), "c2w": np.eye(4).tolist()} for n in names]
    text = json.dumps({"width": 32, "height": 24, "cameras": entries})
    Path("rig/cameras.json").write_text(text)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def clip_and_cameras() -> None:
    write_video("b.mp4", scene().frames[:, 0], 8)
    cameras = {"width": 32, "height": 24, "K": np.eye(3).tolist(), "w2c": [np.eye(4).tolist()] * 2}
    Path("c.json").write_text(json.dumps(cameras))


STILL = "videos --freeze-time set"
CASES = [
    BadInput("a single photo", STILL, r"holds one image \(0.png\): a still scene needs two",
             lambda: colmap.photos(scene(), Path("set"), ["0.png"])),
    BadInput("photos that are still in the cloud", STILL, r"3 photos .*still in iCloud",
             in_the_cloud),
    BadInput("photos that are web pages", STILL, r"0.jpg; it is a web page, not a picture",
             lambda: pages(b"<!DOCTYPE html><html>")),
    BadInput("photos that Git LFS has not fetched", STILL, r"run `git lfs pull`",
             lambda: pages(b"version https://git-lfs.github.com/spec/v1\n")),
    BadInput("cameras without poses", "grid rig", r"has no 'w2c' \(world to camera", rig_of_c2w),
    BadInput("raw photos", STILL, r"3 raw images.*export them as JPEG", lambda: unread(".DNG")),
    BadInput("HEIC cut off", STILL, r"IMG_0.HEIC; it is damaged", lambda: unread(".HEIC", HEIC)),
    BadInput("TIFF of floating-point numbers", STILL, r"with a decimal point: export", float_tiff),
    BadInput("photos without cameras for a grid", "grid set", r"videos --freeze-time set", photos),
    BadInput("a folder of folders for a clip", STILL, r"holds folders of images",
             lambda: files.image_folders(scene(), Path("set"))),
    BadInput("a COLMAP model cut off", STILL, r"images.bin is damaged", lambda: model(damage=30)),
    BadInput("a COLMAP model with fisheye lenses", "grid set", r"OPENCV_FISHEYE: undistort",
             lambda: model(kind="OPENCV_FISHEYE")),
    BadInput("a COLMAP model of other photos", STILL, r"no cameras of these photos",
             lambda: model(["a.png", "b.png", "c.png"])),
    BadInput("a COLMAP model for a grid", "grid set/sparse/0", r"without its photos", model),
    BadInput("LLFF poses of another number", "grid set", r"5 cameras for 3 images",
             lambda: rows(5)),
    BadInput("no such cameras", f"{STILL} --cameras gone", r"no such file", photos),
    BadInput("cameras that are none", f"{STILL} --cameras set/images/0.png",
             r"0.png holds no cameras", photos),
    BadInput("cameras of another number of frames", "videos --freeze-time b.mp4 --cameras c.json",
             r"2 cameras for 3 frames", clip_and_cameras),
    BadInput("cameras for a data set with its own", "grid set --cameras set/transforms.json",
             r"has its own cameras", lambda: files.nerfstudio(scene(), Path("set"))),
]  # fmt: skip
