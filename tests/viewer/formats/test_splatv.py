"""Spacetime Gaussians: what the file says, and gsplat.js in a real browser at several times."""

import json
import struct

import numpy as np
import pytest

from run_pipeline import main
from scripts.tools.js_players import shown_by
from tests.viewer.formats.npm import packages
from tests.viewer.formats.pictures import ours, square_camera
from tests.viewer.toy_scene import psnr, toy_scene, uncommon_scene
from viewer.export.splatv import splatv_bytes, write_splatv
from viewer.player_scene import PlayerScene


def table_of(data: bytes) -> tuple[dict, np.ndarray]:
    """The chunk's description and its rows of 16 words."""
    magic, length = struct.unpack_from("<II", data)
    assert magic == 0x674B
    (chunk,) = json.loads(data[8 : 8 + length])
    body = data[8 + length :]
    assert len(body) == chunk["size"] == 16 * chunk["texwidth"] * chunk["texheight"]
    return chunk, np.frombuffer(body, "<u4").reshape(-1, 16)


def test_what_stands_still_is_one_gaussian_that_never_fades():
    scene = toy_scene(600, times=4)
    scene.shade = scene.visibility = None
    player = PlayerScene.from_scene(scene)
    moving = int((np.abs(player.offsets).max((0, 2)) > 0.01).sum())
    chunk, table = table_of(splatv_bytes(player, 3))
    used = table[table[:, 7] != 0]
    centre, width = used[:, 15:].copy().view("<f2").astype(float).T
    assert (width > 1000).sum() == len(player.means) - moving
    assert sorted(set(centre[width < 1000].round(2))) == [0, 0.33, 0.67, 1]
    assert len(used) == len(player.means) + 3 * moving
    assert chunk["cameras"][0]["fx"] == pytest.approx(float(player.K[0, 0, 0]))


@pytest.mark.slow
@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_gsplat_js_draws_our_picture(tmp_path, t):
    packages("gsplat", browser=True)
    scene = uncommon_scene("shaped", 1800, size=(144, 256))
    scene.log_stretch *= 0.5
    write_splatv(scene, tmp_path / "a.splatv")
    w2c, K = square_camera(scene)
    background = scene.background.numpy()
    shown = shown_by("gsplat", tmp_path / "a.splatv", w2c, K, scene.size, t, background) / 255
    right, wrong = (psnr(shown, ours(scene, x, w2c, K)) for x in (t, (t + 0.5) % 1))
    assert right > 27 and right > wrong + 3


def test_the_command_writes_it(tmp_path):
    toy_scene(60, size=(24, 32)).save(tmp_path / "scene.safetensors")
    assert main(["export", str(tmp_path), "--format", "splatv"]) == 0
    assert len(table_of((tmp_path / "scene.splatv").read_bytes())[1]) >= 60
