import numpy as np
import pytest

from fourreal.errors import UserError
from recon.ply import LAYOUTS, PROPERTIES, read_ply, write_ply


def gaussians(n=7):
    rng = np.random.default_rng(0)
    return {
        "means": rng.normal(size=(n, 3)).astype("f4"),
        "log_scales": rng.normal(size=n).astype("f4"),
        "opacity_logits": rng.normal(size=n).astype("f4"),
        "colors": rng.uniform(size=(n, 3)).astype("f4"),
    }


def test_round_trip(tmp_path):
    scene = gaussians()
    write_ply(tmp_path / "a.ply", **scene)
    for name, value in read_ply(tmp_path / "a.ply").items():
        np.testing.assert_allclose(value, scene[name], atol=1e-6)


def test_layout(tmp_path):
    write_ply(tmp_path / "a.ply", **gaussians(2))
    data = (tmp_path / "a.ply").read_bytes()
    header, body = data.split(b"end_header\n", 1)
    names = [line.split()[-1].decode() for line in header.split(b"\n") if b"property" in line]
    assert tuple(names) == PROPERTIES and len(body) == 2 * 14 * 4
    row = np.frombuffer(body, "<f4")[:14]
    assert row[7] == row[8] == row[9] and row[10:].tolist() == [1, 0, 0, 0]


def test_full_layout_is_the_62_floats_of_the_reference(tmp_path):
    write_ply(tmp_path / "a.ply", **gaussians(3))
    write_ply(tmp_path / "b.ply", **gaussians(3), layout="full")
    header, body = (tmp_path / "b.ply").read_bytes().split(b"end_header\n", 1)
    names = [line.split()[-1].decode() for line in header.split(b"\n") if b"property" in line]
    rest = [f"f_rest_{k}" for k in range(45)]
    assert names[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert names[9:54] == rest and names[54:] == list(PROPERTIES[6:])
    assert tuple(names) == LAYOUTS["full"] and len(body) == 3 * 62 * 4
    table = np.frombuffer(body, "<f4").reshape(3, 62)
    assert not table[:, 3:6].any() and not table[:, 9:54].any()
    small, large = read_ply(tmp_path / "a.ply"), read_ply(tmp_path / "b.ply")
    assert small.keys() == large.keys()
    for name in small:
        np.testing.assert_array_equal(small[name], large[name])


def test_colours_are_clamped_as_when_rendering(tmp_path):
    scene = gaussians()
    scene["colors"][0] = (2.0, -1.0, 0.5)
    write_ply(tmp_path / "a.ply", **scene)
    np.testing.assert_allclose(read_ply(tmp_path / "a.ply")["colors"][0], (1, 0, 0.5), atol=1e-6)


def test_properties_may_stand_in_any_order(tmp_path):
    write_ply(tmp_path / "a.ply", **gaussians(3))
    header, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n", 1)
    lines = header.split(b"\n")[:-1]
    order = np.random.default_rng(0).permutation(len(PROPERTIES))
    table = np.frombuffer(body, "<f4").reshape(3, -1)[:, order]
    other = lines[:3] + [lines[3 + k] for k in order] + [b"end_header\n"]
    (tmp_path / "b.ply").write_bytes(b"\n".join(other) + np.ascontiguousarray(table).tobytes())
    first, second = read_ply(tmp_path / "a.ply"), read_ply(tmp_path / "b.ply")
    for name in first:
        np.testing.assert_array_equal(second[name], first[name])
    (tmp_path / "c.ply").write_bytes(
        header.replace(b"property float x", b"property ") + b"end_header\n" + body
    )
    with pytest.raises(UserError):
        read_ply(tmp_path / "c.ply")


@pytest.mark.parametrize("data", [b"", b"ply\nformat ascii 1.0\nend_header\n"])
def test_other_files_are_user_errors(tmp_path, data):
    (tmp_path / "b.ply").write_bytes(data)
    with pytest.raises(UserError):
        read_ply(tmp_path / "b.ply")
    write_ply(tmp_path / "c.ply", **gaussians())
    (tmp_path / "c.ply").write_bytes((tmp_path / "c.ply").read_bytes()[:-4])
    with pytest.raises(UserError, match="cut off"):
        read_ply(tmp_path / "c.ply")
