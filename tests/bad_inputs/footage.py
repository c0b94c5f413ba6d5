"""Data sets of others, and pairs of clips, that cannot be used."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np

from fourreal.video_io import write_image, write_video
from gen.data.world.grid import make_grid
from tests.bad_inputs.case import BadInput
from tests.bad_inputs.grids import void
from tests.gen.data.tiny_gltf import bent_box
from tests.gen.footage import footage_files as files

TITLE = "Data sets and pairs"


def scene():
    return files.scene(V=3, T=3, size=(24, 32))


def transforms(**top: object) -> None:
    files.nerfstudio(scene(), Path("data"), **top)


def frame(**fields: object) -> None:
    """transforms.json whose second frame has other fields (None removes one)."""
    transforms()
    file = Path("data/transforms.json")
    data = json.loads(file.read_text())
    changed = data["frames"][1] | fields
    data["frames"][1] = {k: v for k, v in changed.items() if v is not None}
    file.write_text(json.dumps(data))


def gone() -> None:
    transforms()
    shutil.rmtree("data/images")


def moving() -> None:
    pose = np.eye(4)
    pose[0, 3] = 5.0
    frame(transform_matrix=pose.tolist())


def meta(**fields: object) -> None:
    files.panoptic(scene(), Path("data"))
    file = Path("data/train_meta.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def yml(text: str) -> None:
    files.easyvolcap(scene(), Path("data"))
    Path("data/extri.yml").write_text(text)


def poses(rows: np.ndarray, pickled: bool = False) -> None:
    files.neural_3d_video(scene(), Path("data"))
    np.save("data/poses_bounds.npy", rows, allow_pickle=pickled)


def asset() -> None:
    Path("a.glb").write_bytes(bent_box().glb())


def rig() -> None:
    files.videos(scene(), Path("data"))


def wrapped() -> None:
    write_video("plain.mp4", scene().row(0), 8)
    files.ffmpeg("-i", "plain.mp4", "-c", "copy", "last.mp4")
    files.with_360_mark(Path("last.mp4"), Path("a.mp4"))


def programs() -> None:
    Path("data").mkdir()
    for name in ("index.ts", "main.ts"):
        Path("data", name).write_text("export const a = 1;\n")


def one_camera() -> None:
    Path("data").mkdir()
    for name in ("cam00", "cam00_mask", "cam00_depth"):
        write_video(f"data/{name}.mp4", scene().row(0), 8)


def shapes() -> None:
    files.image_folders(scene(), Path("data"))
    for file in Path("data/cam01").iterdir():
        write_image(file, np.zeros((24, 24, 3), np.float32))


def pair() -> None:
    grid, _, _ = make_grid(seed=5, V=4, T=4, size=(48, 80))
    write_video("a.mp4", grid.row(0), 8)
    write_video("b.mp4", grid.column(0), 8)


def wandering() -> None:
    rough = np.random.default_rng(0).random((18, 40, 3), np.float32)
    wide = np.clip(cv2.resize(rough, (320, 144), interpolation=cv2.INTER_CUBIC), 0, 1)
    write_video("a.mp4", np.stack([wide[:, 8 * k : 8 * k + 192] for k in range(6)]), 8)
    write_video("b.mp4", np.stack([wide[:, 4 * k : 4 * k + 192] for k in range(4)]), 8)


PAIR = "videos --fixed-view a.mp4 --freeze-time b.mp4"
CASES = [
    BadInput("one camera that moves while the scene does", "grid data", r"one camera that moves",
             lambda: files.d_nerf(scene(), Path("data"), monocular=True)),
    BadInput("fisheye lenses", "grid data", r"OPENCV_FISHEYE: undistort",
             lambda: transforms(camera_model="OPENCV_FISHEYE")),
    BadInput("more distortion than is modelled", "grid data", r"more terms",
             lambda: transforms(k4=0.1)),
    BadInput("a focal length in words", "grid data", r"'fl_x' in frame 1",
             lambda: frame(fl_x="long")),
    BadInput("a frame without a pose", "grid data", r"'transform_matrix' in frame 1",
             lambda: frame(transform_matrix=None)),
    BadInput("a frame file outside the folder", "grid data", r"leads out of the folder",
             lambda: frame(file_path="../../etc/passwd")),
    BadInput("no frame file is there", "grid data", r"00_000.png of frame 0 .* is missing", gone),
    BadInput("a camera of a rig that moves", "grid data", r"camera of view 0000 moves", moving),
    BadInput("two frames of one view and time", "grid data", r"share view and time",
             lambda: frame(time=0.0)),
    BadInput("cameras of another number of times", "grid data", r"different lengths",
             lambda: meta(cam_id=[[1, 2]])),
    BadInput("a mirrored camera", "grid data", r"mirrors",
             lambda: meta(w2c=[[np.diag([1, 1, -1, 1]).tolist()] * 3] * 3)),
    BadInput("YAML that would run code", "grid data", r"does not start with %YAML",
             lambda: yml("!!python/object/apply:os.system ['true']\n")),
    BadInput("a camera without extrinsics", "grid data", r"no 'Rot_00'",
             lambda: yml("%YAML:1.0\n---\nnames: [ '00' ]\n")),
    BadInput("poses of another number of cameras", "grid data", r"2 cameras for 3 views",
             lambda: poses(np.ones((2, 17)))),
    BadInput("pickled poses", "grid data", r"not a plain array",
             lambda: poses(np.array([{}], dtype=object), True)),
    BadInput("360-degree video", "videos --freeze-time a.mp4", r"360-degree video", wrapped),
    BadInput("an animation that the asset has not", "grid a.glb --clip Jump",
             r"no clip like 'Jump'; it has Rig.Bend_Over", asset),
    BadInput("views of something that is no asset", "grid data --views 4",
             r"--views goes with a \.glb or \.gltf file", rig),
    BadInput("an arc of nothing", "grid a.glb --arc 0", r"--arc 0: choose degrees", asset),
    BadInput("a .glb that is none", "grid a.glb", r"a\.glb", lambda: void("a.glb")),
    BadInput("videos beside programs of the same suffix", "grid data",
             r"nothing that can be read as a grid", programs),
    BadInput("one camera with masks and depth beside it", "grid data",
             r"one camera .cam00..* depth: cam00_depth.* masks: cam00_mask", one_camera),
    BadInput("views of different shapes", "grid data", r"cut them to one shape", shapes),
    BadInput("nothing left after --start", "grid data --start 60", r"times are empty",
             lambda: files.videos(scene(), Path("data"))),
    BadInput("negative frame rate", "grid . --fps -1", r"--fps -1: give frames"),
    BadInput("shared frame in words", f"{PAIR} --shared-frame first", r"write A:B", pair),
    BadInput("shared frame beyond the clips", f"{PAIR} --shared-frame 0:99", r"frames 0\.\.3",
             pair),
    BadInput("a fixed view that is not fixed", PAIR, r"is not fixed", wandering),
    BadInput("a sheet of another kind", "inspect b.mp4 --sheet b.txt", r"name a .png", pair),
]  # fmt: skip
