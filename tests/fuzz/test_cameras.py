"""Readers of cameras that others wrote, given damaged files: read, or refused in one line."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen.footage.column import open_column
from gen.footage.detect import read_source
from tests.fuzz.damage import STRANGERS, bounded, damaged, read_or_refuse, wrongly_typed
from tests.gen.footage import colmap_files as colmap
from tests.gen.footage import footage_files as files
from tests.gen.footage.test_given_cameras import easyvolcap

NAMES = ["0.png", "1.png", "2.png"]


@pytest.fixture(scope="module")
def scene():
    return files.scene(V=3, T=2, size=(16, 24))


def everything(folder):
    """The folder as a grid and as a clip."""
    read_source(folder)
    open_column(str(folder), "", "clip")


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "cameras.txt", "images.txt"])
def test_damaged_model_is_read_or_refused(scene, tmp_path, name):
    colmap.photos(scene, tmp_path / "images", NAMES)
    model = colmap.model(scene, tmp_path / "sparse" / "0", NAMES, "OPENCV", name.endswith("bin"))
    whole = (model / name).read_bytes()
    assert read_or_refuse(lambda: everything(tmp_path))

    @bounded(60)
    @given(data=damaged(whole))
    def attack(data):
        (model / name).write_bytes(data)
        read_or_refuse(lambda: everything(tmp_path))

    attack()
    for stranger in STRANGERS:
        (model / name).write_bytes(stranger)
        read_or_refuse(lambda: everything(tmp_path))


def test_counts_and_numbers_that_lie_are_refused_in_bounded_memory(scene, tmp_path):
    colmap.photos(scene, tmp_path / "images", NAMES)
    model = colmap.model(scene, tmp_path / "sparse" / "0", NAMES)
    whole = {n: (model / n).read_bytes() for n in ("cameras.bin", "images.bin")}
    wild = st.sampled_from([0, 1, 2**31, 2**63, 2**64 - 1])

    @bounded(60)
    @given(name=st.sampled_from(sorted(whole)), at=st.integers(0, 40), value=wild)
    def attack(name, at, value):
        for file, data in whole.items():
            (model / file).write_bytes(data)
        data = bytearray(whole[name])
        data[at : at + 8] = struct.pack("<Q", value)
        (model / name).write_bytes(data)
        read_or_refuse(lambda: everything(tmp_path))

    attack()


NUMBERS = st.sampled_from(
    ["nan", "inf", "-1", "0", "1e400", "x", "", "9" * 5000, "../../etc/passwd", "1_0", "１"]
)


@pytest.mark.parametrize("name", ["cameras.txt", "images.txt"])
def test_words_of_text_models_may_be_anything(scene, tmp_path, name):
    colmap.photos(scene, tmp_path / "images", NAMES)
    model = colmap.model(scene, tmp_path / "sparse" / "0", NAMES, binary=False)
    lines = (model / name).read_text().splitlines()

    @bounded(80)
    @given(row=st.integers(0, len(lines) - 1), column=st.integers(0, 10), word=NUMBERS)
    def attack(row, column, word):
        words = lines[row].split()
        words[column : column + 1] = [word]
        changed = [*lines[:row], " ".join(words), *lines[row + 1 :]]
        (model / name).write_text("\n".join(changed))
        read_or_refuse(lambda: everything(tmp_path))

    attack()


@pytest.mark.parametrize("name", ["transforms.json", "cameras.json", "list.json", "3dgs.json"])
def test_json_of_cameras_of_wrong_values(scene, tmp_path, name):
    colmap.photos(scene, tmp_path / "images", NAMES)
    file = tmp_path / ("transforms.json" if name == "transforms.json" else "cameras.json")
    if name == "transforms.json":
        colmap.transforms(scene, file, [f"images/{n}" for n in NAMES])
    elif name == "cameras.json":
        colmap.ours(scene, file, NAMES)
    elif name == "3dgs.json":
        colmap.splatting(scene, file, NAMES)
    else:
        data = {"width": 24, "height": 16, "K": scene.K.tolist(), "w2c": scene.w2c.tolist()}
        file.write_text(json.dumps(data))
    sound = json.loads(file.read_text())
    assert read_or_refuse(lambda: everything(tmp_path))

    @bounded(80)
    @given(document=wrongly_typed({"": sound}))
    def attack(document):
        file.write_text(json.dumps(document.get("", document)))
        read_or_refuse(lambda: everything(tmp_path))

    attack()


@pytest.mark.parametrize("name", ["poses_bounds.npy", "poses_bounds_multipleview.npy"])
def test_poses_of_photos_and_of_a_rig(scene, tmp_path, name):
    colmap.photos(scene, tmp_path / "a" / "images", NAMES)
    files.image_folders(scene, tmp_path / "b")
    whole = colmap.poses_bounds(scene, tmp_path / name).read_bytes()
    wild = [np.full((3, 17), v) for v in (np.nan, np.inf, 0, 1e308, -1)]

    def attempt(data):
        for folder in ("a", "b"):
            (tmp_path / folder / name).write_bytes(data)
            read_or_refuse(lambda folder=folder: read_source(tmp_path / folder))

    @bounded(30)
    @given(data=damaged(whole))
    def attack(data):
        attempt(data)

    attack()
    for rows in wild:
        np.save(tmp_path / name, rows)
        attempt((tmp_path / name).read_bytes())


@pytest.mark.parametrize("quoted", [True, False])
def test_names_of_easyvolcap_may_be_anything(scene, tmp_path, quoted):
    folder = easyvolcap(scene, tmp_path, ["00", "01", "02"], quoted)
    text = (folder / "intri.yml").read_text()
    words = st.sampled_from(
        ["../..", '"', "'", "[", "~", ".nan", "1e999", "-0", "0x10", "!!float", "a b", "9" * 400]
    )

    @bounded(40)
    @given(word=words | st.text(max_size=8), count=st.integers(1, 3))
    def attack(word, count):
        changed = text.replace('"01"' if quoted else "01", word, count)
        (folder / "intri.yml").write_text(changed, encoding="utf-8", errors="surrogateescape")
        read_or_refuse(lambda: read_source(folder))

    attack()
