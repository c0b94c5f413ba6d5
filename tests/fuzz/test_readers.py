"""Every reader, given damaged files: it reads them or says in one line why not, and nothing else.

No hang, no memory out of proportion, no code of strangers. The examples are the same every time.
"""

import gzip
import json
import struct
from dataclasses import asdict
from pathlib import Path

import fourdgs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fourreal.run_folder import RECORD, RunFolder
from fourreal.stage_key import StageKey
from fourreal.video_io import read_clip, read_image, write_image, write_video
from gen.footage.detect import read_source
from gen.grid import VideoGrid
from gen.network.base import BaseModel, load_base, save_base
from gen.network.params import DiTParams
from pipeline.batch_list import read_items
from recon.ply import read_ply
from recon.scene import Scene4D
from scripts.evaluate.result_file import ResultFile
from tests.fourreal.heic_files import heic
from tests.fuzz.damage import STRANGERS, bounded, damaged, read_or_refuse, wrongly_typed
from tests.gen.footage import footage_files
from tests.recon.scenes import column_from_depth, moving_square, tiny_scene
from tracking.column_file import load_column, save_column
from viewer.export.open_4dgs import write_open_4dgs
from viewer.export.ply import write_sequence
from viewer.page.html import read_player, write_player
from viewer.page.payload import MAGIC, decode, encode, write_fr4d
from viewer.player_scene import PlayerScene
from viewer.read.any_scene import read_player_scene

FRAMES = np.random.default_rng(0).random((2, 2, 16, 24, 3)).astype(np.float32)


def write_theirs(path):
    """A container of the other temporal model, as other programs write it."""
    n, rng = 12, np.random.default_rng(3)
    gaussians = fourdgs.GaussianSet(
        positions=rng.normal(size=(n, 3)).astype("f4"),
        scales=np.full((n, 3), 0.1, "f4"),
        rotations=np.tile(np.array([0, 0, 0, 1], "f4"), (n, 1)),
        colors=rng.random((n, 4)).astype("f4"),
        motions=rng.normal(size=(n, 3)).astype("f4"),
        mu_t=np.linspace(0, 1, n).astype("f4"),
        sigma_t=np.full(n, 0.3, "f4"),
        win_lo=np.zeros(n),
        win_hi=np.ones(n),
    )
    fourdgs.write(str(path), gaussians, 1.0)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder of sound files, small and not compressed more than need be."""
    made = tmp_path_factory.mktemp("sound")
    K = np.tile(np.array([[20.0, 0, 12], [0, 20, 8], [0, 0, 1]]), (2, 1, 1))
    grid = VideoGrid(FRAMES, K=K, w2c=np.tile(np.eye(4), (2, 1, 1)))
    grid.save(made / "grid")
    np.savez(made / "grid.npz", rgb=(FRAMES * 255).astype(np.uint8), K=K, fps=8.0)
    write_image(made / "image.png", FRAMES[0, 0])
    write_image(made / "image.jpg", FRAMES[0, 0])
    (made / "image.heic").write_bytes(
        heic(np.tile((FRAMES[0, 0] * 255).astype(np.uint8), (4, 4, 1)))
    )
    write_video(made / "clip.mp4", FRAMES[0], 8)
    scene = tiny_scene(n=40, times=2)
    scene.save(made / "scene.safetensors")
    write_sequence(scene, made / "ply")
    write_player(scene, made / "page.html")
    write_fr4d(scene, made / "scene.fr4d")
    write_open_4dgs(scene, made / "scene.4dgs", frames=3)
    write_theirs(made / "theirs.4dgs")
    frames, depth, K, w2c = moving_square(views=2, times=1, size=(16, 24))
    save_column(column_from_depth(frames[:, 0], depth[:, 0], K, w2c, 1), made / "t.npz")
    with np.load(made / "t.npz") as stored:
        np.savez(made / "t.npz", **dict(stored))
    return made


READERS = {
    "grid.npz": (VideoGrid.load, 40),
    "grid/grid.json": (lambda p: VideoGrid.load(p.parent), 30),
    "grid/v00/t000.png": (lambda p: VideoGrid.load(p.parents[1]), 30),
    "t.npz": (load_column, 60),
    "scene.safetensors": (Scene4D.load, 60),
    "ply/frame0001.ply": (read_ply, 60),
    "page.html": (read_player, 40),
    "scene.fr4d": (read_player_scene, 40),
    "scene.4dgs": (read_player_scene, 150),
    "theirs.4dgs": (read_player_scene, 80),
    "image.png": (read_image, 40),
    "image.jpg": (read_image, 40),
    "image.heic": (read_image, 40),
}


@pytest.mark.parametrize("name", READERS)
def test_damaged_file_is_read_or_refused(sound, name):
    read, examples = READERS[name]
    file, whole = sound / name, (sound / name).read_bytes()
    assert read_or_refuse(lambda: read(file)), "the sound file is read"

    @bounded(examples)
    @given(data=damaged(whole))
    def attack(data):
        file.write_bytes(data)
        read_or_refuse(lambda: read(file))

    try:
        attack()
    finally:
        file.write_bytes(whole)


def test_damaged_clip_is_read_or_refused(sound):
    file, whole = sound / "clip.mp4", (sound / "clip.mp4").read_bytes()

    @bounded(12)  # each starts ffmpeg
    @given(data=damaged(whole))
    def attack(data):
        file.write_bytes(data)
        read_or_refuse(lambda: read_clip(file))

    try:
        attack()
    finally:
        file.write_bytes(whole)


@pytest.mark.parametrize("stranger", STRANGERS, ids=range(len(STRANGERS)))
def test_stranger_is_refused_by_every_reader(tmp_path, stranger):
    for name, (read, _) in READERS.items():
        if "grid/" not in name:
            file = tmp_path / Path(name).name
            file.write_bytes(stranger)
            assert not read_or_refuse(lambda read=read, file=file: read(file)), name


def test_grid_of_wrong_values_is_read_or_refused(sound):
    marker = sound / "grid" / "grid.json"
    text = marker.read_text()

    @bounded(60)
    @given(document=wrongly_typed(json.loads(text)))
    def attack(document):
        marker.write_text(json.dumps(document))
        read_or_refuse(lambda: VideoGrid.load(sound / "grid"))

    try:
        attack()
    finally:
        marker.write_text(text)


def test_arrays_of_other_kinds_are_read_or_refused(tmp_path, sound):
    with np.load(sound / "t.npz") as stored:
        arrays = dict(stored)
    kinds = st.sampled_from(
        [np.zeros(0), np.array(5), np.array("x"), np.full((2, 3), np.nan), np.zeros((2, 2), "c8"),
         np.array([b"x"]), np.zeros((1, 1, 1, 1, 3)), np.array(-1), np.array(2**62),
         np.zeros(2, [("a", "i4")]), np.full((2, 4, 4), np.inf), np.array(["2020-01-01"], "M8[D]")]
    )  # fmt: skip
    file = tmp_path / "t.npz"

    @bounded(80)
    @given(name=st.sampled_from(sorted(arrays)), value=kinds, drop=st.booleans())
    def attack(name, value, drop):
        changed = {k: v for k, v in arrays.items() if k != name}
        np.savez(file, **(changed if drop else changed | {name: value}))
        read_or_refuse(lambda: load_column(file))
        np.savez(file, **{"rgb": (FRAMES * 255).astype(np.uint8), "K": value})
        read_or_refuse(lambda: VideoGrid.load(file))

    attack()


def test_scene_of_wrong_values_is_read_or_refused(sound):
    """The JSON header of a safetensors file: offsets, shapes and types that lie."""
    file, whole = sound / "scene.safetensors", (sound / "scene.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    header, body = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    meta = json.loads(header["__metadata__"]["scene"])

    @bounded(100)
    @given(document=wrongly_typed(header), scene=wrongly_typed(meta), which=st.booleans())
    def attack(document, scene, which):
        changed = document if which else header | {"__metadata__": {"scene": json.dumps(scene)}}
        text = json.dumps(changed).encode()
        file.write_bytes(struct.pack("<Q", len(text)) + text + body)
        read_or_refuse(lambda: Scene4D.load(file))

    try:
        attack()
    finally:
        file.write_bytes(whole)
    file.write_bytes(struct.pack("<Q", 2**40) + whole[8:])
    assert not read_or_refuse(lambda: Scene4D.load(file))
    file.write_bytes(whole)


def test_payload_of_wrong_values_is_read_or_refused():
    """Past the compression: the header and the sections of a player payload."""
    raw = gzip.decompress(encode(PlayerScene.from_scene(tiny_scene(n=40))))
    start, (_, length) = len(MAGIC), struct.unpack_from("<II", raw, len(MAGIC))
    header, body = json.loads(raw[start + 8 : start + 8 + length]), raw[start + 8 + length :]

    @bounded(120)
    @given(document=wrongly_typed(header))
    def attack_header(document):
        text = json.dumps(document).encode()
        packed = raw[: start + 4] + struct.pack("<I", len(text)) + text + body
        read_or_refuse(lambda: decode(gzip.compress(packed, 1)))

    @bounded(60)
    @given(data=damaged(raw))
    def attack_bytes(data):
        read_or_refuse(lambda: decode(gzip.compress(data, 1)))

    attack_header()
    attack_bytes()


def test_record_of_a_run_is_read_or_refused(tmp_path):
    record = tmp_path / "run" / RECORD
    record.parent.mkdir()
    sound = (
        b"command: {kind: test}\nstages:\n"
        b"  grid: {key: abc, made_from: {a: b}, seconds: 1.5, outputs: [grid]}\n"
    )

    def open_and_run():
        folder = RunFolder(record.parent, {"kind": "test"})
        try:
            folder.stage("grid", "reading", StageKey.of(a=1), [RECORD], lambda: None)
        finally:
            folder.close()

    @bounded(40)
    @given(data=damaged(sound))
    def attack(data):
        record.write_bytes(data)
        read_or_refuse(open_and_run)

    attack()


def test_weights_of_wrong_values_are_read_or_refused(tmp_path):
    torch.manual_seed(0)
    params = DiTParams(16, 1, 2, 8, 8, 16, text_width=8, bottleneck=8)
    save_base(BaseModel(params, ["a", "red", "ball"]), tmp_path, {"made": "by a test"})
    config, shard = tmp_path / "config.json", tmp_path / "base-00.safetensors"
    sound, whole = json.loads(config.read_text()), shard.read_bytes()
    assert sound["params"] == asdict(params)

    @bounded(80)
    @given(document=wrongly_typed(sound))
    def attack_config(document):
        config.write_text(json.dumps(document))
        read_or_refuse(lambda: load_base(tmp_path))

    @bounded(30)
    @given(data=damaged(whole))
    def attack_shard(data):
        shard.write_bytes(data)
        read_or_refuse(lambda: load_base(tmp_path))

    attack_config()
    config.write_text(json.dumps(sound))
    attack_shard()


def test_result_file_is_read_or_refused(tmp_path):
    file = tmp_path / "r.json"
    sound = {"schema": 1, "title": "t", "command": "c", "hardware": "h", "notes": ["n"],
             "results": {"scene": {"default": {"psnr": 1.5}}}}  # fmt: skip

    @bounded(60)
    @given(document=wrongly_typed(sound))
    def attack(document):
        file.write_text(json.dumps(document))
        read_or_refuse(lambda: ResultFile(file, "t"))

    attack()


@pytest.mark.parametrize("suffix", [".txt", ".yaml", ".jsonl"])
def test_list_of_commands_is_read_or_refused(tmp_path, suffix):
    sound = {
        ".txt": b"# scenes\na red ball\ngrid 'a b.npz' --preset debug\n",
        ".yaml": b"- a red ball\n- {command: grid, path: a.npz, name: fox, views: 4}\n",
        ".jsonl": b'{"prompt": "a red ball", "times": 3}\n{"command": "render", "run": "a"}\n',
    }[suffix]
    file = tmp_path / f"list{suffix}"
    file.write_bytes(sound)
    assert len(read_items(file, tmp_path)) == 2

    @bounded(30)
    @given(data=damaged(sound))
    def attack(data):
        file.write_bytes(data)
        read_or_refuse(lambda: read_items(file, tmp_path))

    attack()


FOOTAGE = {
    "transforms.json": footage_files.nerfstudio,
    "transforms_train.json": footage_files.d_nerf,
    "train_meta.json": footage_files.panoptic,
}


@pytest.mark.parametrize("name", FOOTAGE)
def test_footage_of_wrong_values_is_read_or_refused(tmp_path, name):
    FOOTAGE[name](footage_files.scene(V=2, T=2, size=(16, 24)), tmp_path / "set")
    file = next((tmp_path / "set").rglob(name))
    text = file.read_text()

    @bounded(60)
    @given(document=wrongly_typed(json.loads(text)))
    def attack_values(document):
        file.write_text(json.dumps(document))
        read_or_refuse(lambda: read_source(file))

    @bounded(20)
    @given(data=damaged(text.encode()))
    def attack_bytes(data):
        file.write_bytes(data)
        read_or_refuse(lambda: read_source(file))

    attack_values()
    attack_bytes()


@pytest.mark.parametrize("name", ["intri.yml", "extri.yml", "poses_bounds.npy"])
def test_calibration_is_read_or_refused(tmp_path, name):
    make = footage_files.neural_3d_video if name.endswith("npy") else footage_files.easyvolcap
    make(footage_files.scene(V=2, T=2, size=(16, 24)), tmp_path / "set")
    file = tmp_path / "set" / name
    whole = file.read_bytes()

    @bounded(25)
    @given(data=damaged(whole))
    def attack(data):
        file.write_bytes(data)
        read_or_refuse(lambda: read_source(tmp_path / "set"))

    attack()
