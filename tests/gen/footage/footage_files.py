"""The same small scene written in every format that is read, as their makers write them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

from fourreal.cameras import c2w_from_w2c
from fourreal.video_io import to_uint8, write_image, write_video
from gen.data.world.grid import make_grid
from gen.grid import VideoGrid

ALPHA = 255


def scene(V: int = 4, T: int = 3, size: tuple[int, int] = (48, 80), seed: int = 5) -> VideoGrid:
    """A procedural grid with its cameras; 8 frames per second."""
    grid, _, _ = make_grid(seed=seed, V=V, T=T, size=size)
    assert grid.K is not None and grid.w2c is not None
    grid.fps = 8.0
    return grid


def ffmpeg(*arguments: str | Path) -> None:
    """Run ffmpeg quietly; the last argument is the output."""
    import subprocess

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", "-nostdin"]
    subprocess.run([*command, *map(str, arguments)], check=True)


def atom(kind: bytes, payload: bytes) -> bytes:
    """A box of an mp4."""
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def with_box(source: Path, target: Path, box: bytes) -> None:
    """A copy of an mp4 whose sample description holds one more box, as cameras write it."""
    data = bytearray(source.read_bytes())
    at = data.rindex(b"avcC") - 4
    length = int.from_bytes(data[at : at + 4], "big")
    data[at + length : at + length] = box
    for parent in (b"avc1", b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        where = data.rindex(parent) - 4
        grown = int.from_bytes(data[where : where + 4], "big") + len(box)
        data[where : where + 4] = grown.to_bytes(4, "big")
    target.write_bytes(data)


def with_360_mark(source: Path, target: Path) -> None:
    """A copy of an mp4 (index last) that says it is equirectangular."""
    maker = atom(b"svhd", bytes(4) + b"maker\0")
    projection = atom(b"proj", atom(b"prhd", bytes(16)) + atom(b"equi", bytes(20)))
    with_box(source, target, atom(b"sv3d", maker + projection))


def videos(grid: VideoGrid, folder: Path) -> Path:
    """cam00.mp4 …, without cameras."""
    folder.mkdir(parents=True, exist_ok=True)
    for v in range(grid.V):
        write_video(folder / f"cam{v:02d}.mp4", grid.row(v), grid.fps)
    return folder


def neural_3d_video(grid: VideoGrid, folder: Path) -> Path:
    """cam00.mp4 … and poses_bounds.npy (LLFF: axes down, right, backward)."""
    videos(grid, folder)
    rows = []
    for K, w2c in zip(grid.K, grid.w2c, strict=True):
        c2w = c2w_from_w2c(w2c, "llff")[:3]
        hwf = np.array([[grid.height], [grid.width], [K[0, 0]]])
        rows.append([*np.concatenate([c2w, hwf], 1).ravel(), 0.5, 20.0])
    np.save(folder / "poses_bounds.npy", np.array(rows))
    return folder


def cameras_json(grid: VideoGrid, folder: Path) -> Path:
    """cam00.mp4 … and our cameras.json, at twice the resolution of the videos."""
    videos(grid, folder)
    cameras = []
    for v in range(grid.V):
        K = grid.K[v].copy()
        K[:2] *= 2
        cameras.append({"name": f"cam{v:02d}", "K": K.tolist(), "w2c": grid.w2c[v].tolist()})
    text = {"width": 2 * grid.width, "height": 2 * grid.height, "cameras": cameras}
    (folder / "cameras.json").write_text(json.dumps(text))
    return folder


def image_folders(grid: VideoGrid, folder: Path) -> Path:
    """cam00/0000.png …"""
    for v in range(grid.V):
        (folder / f"cam{v:02d}").mkdir(parents=True)
        for t in range(grid.T):
            write_image(folder / f"cam{v:02d}" / f"{t:04d}.png", grid.frames[v, t])
    return folder


def nerfstudio(grid: VideoGrid, folder: Path, camera_id: bool = True, **extra: object) -> Path:
    """transforms.json with `time` and `camera_id`, OpenGL camera-to-world."""
    (folder / "images").mkdir(parents=True)
    frames = []
    for v in range(grid.V):
        for t in range(grid.T):
            if not grid.known[v, t]:
                continue
            name = f"images/{v:02d}_{t:03d}.png"
            write_image(folder / name, grid.frames[v, t])
            frame = {
                "file_path": name,
                "time": t / max(grid.T - 1, 1),
                "transform_matrix": c2w_from_w2c(grid.w2c[v], "opengl").tolist(),
            }
            frames.append(frame | ({"camera_id": v} if camera_id else {}))
    K = grid.K[0]
    top = {
        "camera_model": "OPENCV", "w": grid.width, "h": grid.height,
        "fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2],
    }  # fmt: skip
    (folder / "transforms.json").write_text(json.dumps(top | extra | {"frames": frames}))
    return folder


def d_nerf(grid: VideoGrid, folder: Path, monocular: bool = False) -> Path:
    """transforms_train.json: `camera_angle_x`, RGBA images named without suffix."""
    (folder / "train").mkdir(parents=True)
    angle = 2 * np.arctan(grid.width / 2 / grid.K[0, 0, 0])
    frames = []
    for v in range(grid.V):
        for t in range(grid.T):
            if monocular and t != v % grid.T:
                continue
            name = f"train/r_{v:02d}{t:02d}"
            rgba = np.full((grid.height, grid.width, 4), ALPHA, np.uint8)
            rgba[..., :3] = to_uint8(grid.frames[v, t])[..., ::-1]
            cv2.imwrite(str(folder / f"{name}.png"), rgba)
            c2w = c2w_from_w2c(grid.w2c[v], "opengl").tolist()
            time = t / max(grid.T - 1, 1)
            frames.append({"file_path": f"./{name}", "time": time, "transform_matrix": c2w})
    data = {"camera_angle_x": float(angle), "frames": frames}
    (folder / "transforms_train.json").write_text(json.dumps(data))
    return folder


def panoptic(grid: VideoGrid, folder: Path) -> Path:
    """train_meta.json and ims/CAM/T.jpg."""
    fn, k, w2c, cam_id = [], [], [], []
    for t in range(grid.T):
        fn.append([f"{7 + v}/{t:06d}.png" for v in range(grid.V)])
        k.append(grid.K.tolist())
        w2c.append(grid.w2c.tolist())
        cam_id.append([7 + v for v in range(grid.V)])
        for v in range(grid.V):
            file = folder / "ims" / fn[-1][v]
            file.parent.mkdir(parents=True, exist_ok=True)
            write_image(file, grid.frames[v, t])
    meta = {"w": grid.width, "h": grid.height, "fn": fn, "k": k, "w2c": w2c, "cam_id": cam_id}
    (folder / "train_meta.json").write_text(json.dumps(meta))
    return folder


def easyvolcap(grid: VideoGrid, folder: Path, distortion: tuple[float, ...] = ()) -> Path:
    """images/CAM/T.png, intri.yml, extri.yml as OpenCV writes them."""
    names = [f"{v:02d}" for v in range(grid.V)]
    for v, name in enumerate(names):
        (folder / "images" / name).mkdir(parents=True)
        for t in range(grid.T):
            write_image(folder / "images" / name / f"{t:06d}.png", grid.frames[v, t])
    intri = cv2.FileStorage(str(folder / "intri.yml"), cv2.FILE_STORAGE_WRITE)
    extri = cv2.FileStorage(str(folder / "extri.yml"), cv2.FILE_STORAGE_WRITE)
    for storage in (intri, extri):
        storage.startWriteStruct("names", cv2.FileNode_SEQ)
        for name in names:
            storage.write("", name)
        storage.endWriteStruct()
    coefficients = np.array((*distortion, *([0.0] * (5 - len(distortion)))))[:, None]
    for v, name in enumerate(names):
        intri.write(f"K_{name}", np.ascontiguousarray(grid.K[v]))
        intri.write(f"H_{name}", float(grid.height))
        intri.write(f"W_{name}", float(grid.width))
        intri.write(f"D_{name}", coefficients)
        rotation = np.ascontiguousarray(grid.w2c[v, :3, :3])
        extri.write(f"R_{name}", cv2.Rodrigues(rotation)[0])
        extri.write(f"Rot_{name}", rotation)
        extri.write(f"T_{name}", np.ascontiguousarray(grid.w2c[v, :3, 3:]))
    intri.release()
    extri.release()
    return folder


FORMATS = {
    "Neural 3D Video": neural_3d_video,
    "cameras.json": cameras_json,
    "nerfstudio": nerfstudio,
    "D-NeRF": d_nerf,
    "Panoptic": panoptic,
    "EasyVolcap": easyvolcap,
}
