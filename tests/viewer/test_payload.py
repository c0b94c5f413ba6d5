"""The player's payload keeps the scene within the error it states, and refuses damage."""

import gzip
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from fourreal.cameras import Camera
from fourreal.errors import UserError
from recon.gaussians import Gaussians
from recon.raster.rasterize import rasterize
from recon.render import render_scene
from tests.viewer.toy_scene import psnr, toy_scene, uncommon_scene
from viewer.page.html import read_player, write_player
from viewer.page.payload import _point_order, decode, encode, read_fr4d, write_fr4d
from viewer.player_scene import PlayerScene


def header_of(payload: bytes) -> dict:
    raw = gzip.decompress(payload)
    (length,) = struct.unpack_from("<I", raw, 8)
    return json.loads(raw[12 : 12 + length])


def with_header(payload: bytes, **changes) -> bytes:
    raw = gzip.decompress(payload)
    (length,) = struct.unpack_from("<I", raw, 8)
    header = json.loads(raw[12 : 12 + length]) | changes
    text = json.dumps(header).encode()
    return gzip.compress(raw[:8] + struct.pack("<I", len(text)) + text + raw[12 + length :])


def picture(player: PlayerScene, t: float, v: int = 0) -> np.ndarray:
    moment = player.at(t, player.w2c[v])
    means, radii, opacities, colors = (torch.as_tensor(np.array(a)) for a in moment)
    shape = [None if a is None else torch.as_tensor(a) for a in (player.stretch, player.axes_at(t))]
    gaussians = Gaussians(means, radii, opacities, colors, *shape)
    camera = Camera(player.w2c[v], player.K[v], player.size)
    rgb = rasterize(gaussians, camera, torch.as_tensor(player.background)).rgb
    return rgb.numpy()


@pytest.mark.parametrize("times", [4, 30])
def test_round_trip_stays_within_the_stated_error(times):
    player = PlayerScene.from_scene(toy_scene(times=times))
    payload = encode(player)
    back = decode(payload)
    order, moving = _point_order(player)
    error = header_of(payload)["max_error"]
    assert 0 < moving < len(order) and back.prompt == player.prompt and back.size == player.size
    for name, limit in (("means", "position"), ("log_scales", "log_scale"), ("colors", "rgba")):
        gap = np.abs(getattr(back, name) - getattr(player, name)[order]).max()
        assert gap <= error[limit] * 1.01 + 1e-6, name
    for name, limit in (("offsets", "offset"), ("shade", "gain"), ("visibility", "gain")):
        gap = np.abs(getattr(back, name) - getattr(player, name)[:, order]).max()
        assert gap <= error[limit] * 1.01 + 1e-6, name
    np.testing.assert_array_equal(back.w2c, player.w2c)
    assert header_of(payload).get("parts") == (None if times == 4 else [0, 8, 16, 24, 30])
    assert error["position"] < 0.08 * np.exp(player.log_scales).min()


def test_decoded_scene_draws_the_same_picture():
    player = PlayerScene.from_scene(toy_scene())
    back = decode(encode(player))
    for t in (0.0, 0.4, 1.0):
        assert psnr(picture(back, t), picture(player, t)) > 45


@pytest.mark.parametrize("kind", ["shaped", "literal"])
def test_what_version_1_cannot_say_is_kept_in_version_2(kind):
    scene = uncommon_scene(kind)
    payload = encode(PlayerScene.from_scene(scene))
    assert gzip.decompress(payload)[4] == 2
    assert gzip.decompress(encode(PlayerScene.from_scene(toy_scene())))[4] == 1
    got = picture(decode(payload), 0.7, v=0)
    want = render_scene(scene, 0.7, scene.w2c[0], scene.K[0], compensation=0.0).rgb.numpy()
    plain = toy_scene() if kind == "shaped" else uncommon_scene(kind)
    plain.offset_frame = "rotated"
    other = render_scene(plain, 0.7, scene.w2c[0], scene.K[0], compensation=0.0).rgb.numpy()
    assert psnr(got, want) > 40 > 30 > psnr(got, other)


def test_colours_that_depend_on_the_view_are_kept():
    scene = uncommon_scene("sheen")
    back = decode(encode(PlayerScene.from_scene(scene)))
    want = render_scene(scene, 0.7, scene.w2c[0], scene.K[0], compensation=0.0).rgb.numpy()
    assert psnr(picture(back, 0.7), want) > 38
    from_elsewhere = back.at(0.7, scene.w2c[2].numpy())[3] - back.at(0.7)[3]
    assert np.abs(from_elsewhere).max() > 0.05


def test_turns_are_kept_in_version_5_also_of_clips_in_parts():
    scene = uncommon_scene("turning")
    still = replace(scene, node_turns=None)
    payload = encode(PlayerScene.from_scene(scene))
    assert gzip.decompress(payload)[4] == 5
    want = render_scene(scene, 0.7, scene.w2c[0], scene.K[0]).rgb.numpy()
    other = render_scene(still, 0.7, scene.w2c[0], scene.K[0]).rgb.numpy()
    got = picture(decode(payload), 0.7, v=0)
    assert psnr(got, want) > 40 > 38 > psnr(got, other)
    clip = PlayerScene.from_scene(scene)
    clip.times = np.linspace(0, 1, 40, dtype=np.float32)
    for name in ("offsets", "turns", "shade", "visibility"):
        setattr(clip, name, np.repeat(getattr(clip, name), 10, 0))
    back = decode(encode(clip))
    assert back.turns is not None and back.turns.shape[0] == 40
    assert psnr(picture(back, 0.7, v=0), picture(clip, 0.7, v=0)) > 40


def test_still_points_cost_no_offsets_and_encoding_is_deterministic():
    player = PlayerScene.from_scene(toy_scene())
    assert encode(player) == encode(player)
    still = PlayerScene.from_scene(toy_scene())
    still.offsets[:] = 0
    still.shade = still.visibility = None
    header = header_of(encode(still))
    assert header["moving"] == 0 and header["changing"] == 0
    assert {s["name"] for s in header["sections"]} == {"position", "log_scale", "rgba"}
    assert np.abs(decode(encode(still)).offsets).max() == 0


def test_one_point_and_one_time():
    scene = toy_scene(times=1).keep(torch.arange(1))
    back = decode(encode(PlayerScene.from_scene(scene)))
    np.testing.assert_allclose(back.means, scene.means.numpy(), atol=1e-3)


def test_invisible_points_are_left_out_and_an_invisible_scene_is_refused():
    scene = toy_scene()
    scene.opacity_logits[:100] = -12.0
    assert len(decode(encode(PlayerScene.from_scene(scene))).means) == len(scene) - 100
    scene.opacity_logits[:] = -12.0
    with pytest.raises(UserError, match="no visible point"):
        encode(PlayerScene.from_scene(scene))


def damaged(payload: bytes) -> dict[str, bytes]:
    raw = gzip.decompress(payload)
    return {
        "empty": b"",
        "not gzip": b"hello",
        "cut gzip": payload[: len(payload) // 2],
        "other magic": gzip.compress(b"PLY " + raw[4:]),
        "cut sections": gzip.compress(raw[:-10]),
        "too long": gzip.compress(raw + b"xx"),
        "no json": gzip.compress(raw[:12] + b"\xff" + raw[13:]),
        "no times": with_header(payload, times=None),
        "falling times": with_header(payload, times=[1.0, 0.5, 0.2, 0.0]),
        "wrong count": with_header(payload, points=7),
        "no cameras": with_header(payload, cameras=[]),
        "short camera": with_header(payload, cameras=[{"K": [1.0], "w2c": [2.0]}]),
        "sections no list": with_header(payload, sections=4),
        "header no object": gzip.compress(raw[:8] + struct.pack("<I", 2) + b"[]"),
        "no axes": with_header(payload, offset_axes=[1.0, 2.0]),
        "lying section": with_header(payload, sections=[{"name": "position"}]),
    }


PAYLOAD = encode(PlayerScene.from_scene(toy_scene(400)))


@pytest.mark.parametrize("kind", damaged(PAYLOAD))
def test_damage_is_refused_in_one_line(kind):
    with pytest.raises(UserError) as caught:
        decode(damaged(PAYLOAD)[kind], "scene.fr4d")
    message = str(caught.value)
    assert message.startswith("scene.fr4d: ") and "\n" not in message


def test_newer_version_says_update():
    raw = bytearray(gzip.decompress(PAYLOAD))
    raw[4] = 9
    with pytest.raises(UserError, match="payload version 9.*update"):
        decode(gzip.compress(bytes(raw)))


def test_files(tmp_path):
    scene = toy_scene(400)
    assert write_fr4d(scene, tmp_path / "a.fr4d") == (tmp_path / "a.fr4d").stat().st_size
    size = write_player(scene, tmp_path / "index.html", title='a <b> & "c"', fps=12)
    assert size == (tmp_path / "index.html").stat().st_size
    page = (tmp_path / "index.html").read_text()
    assert "<title>a &lt;b&gt; &amp; &quot;c&quot;</title>" in page
    assert "http://" not in page and "https://" not in page
    fields = ("means", "offsets", "colors", "shade")
    bare, inside = read_fr4d(tmp_path / "a.fr4d"), read_player(tmp_path / "index.html")
    for name in fields:
        np.testing.assert_array_equal(getattr(bare, name), getattr(inside, name))
    assert inside.fps == 12 and inside.prompt == 'a <b> & "c"'
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.fr4d", "index.html"]


def test_files_that_are_no_scene(tmp_path):
    (tmp_path / "page.html").write_text("<html></html>")
    (tmp_path / "bad.html").write_text('<script id="payload" type="x">####</script>')
    for call, name in (
        (read_player, "page.html"),
        (read_player, "bad.html"),
        (read_player, "absent.html"),
        (read_fr4d, "absent.fr4d"),
        (read_fr4d, "page.html"),
    ):
        with pytest.raises(UserError) as caught:
            call(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
