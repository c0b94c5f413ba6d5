"""Our .ply sequence through a real client: PlayCanvas' splat-transform (Node), values compared.

Found as ``$SPLAT_TRANSFORM`` or on PATH: ``npm install @playcanvas/splat-transform@2.7.1``.
"""

import csv
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from recon.ply import PROPERTIES, SH_C0, read_ply
from tests.viewer.toy_scene import toy_scene
from viewer.export.ply import write_sequence, write_sequence_zip


@pytest.fixture(scope="module")
def splat_transform() -> str:
    program = os.environ.get("SPLAT_TRANSFORM") or shutil.which("splat-transform")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs splat-transform: npm install @playcanvas/splat-transform@2.7.1")
        pytest.skip("no splat-transform (npm install @playcanvas/splat-transform@2.7.1)")
    return program


@pytest.fixture(scope="module")
def sequence(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sequence") / "ply"
    write_sequence(toy_scene(300), folder, frames=5)
    return folder


def convert(program: str, source: Path, target: Path) -> None:
    done = subprocess.run(
        [program, str(source), str(target)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and target.stat().st_size > 0, done.stdout + done.stderr


def columns(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="") as handle:
        names, *rows = csv.reader(handle)
    table = np.array(rows, np.float64)
    return {name: table[:, k] for k, name in enumerate(names)}


@pytest.mark.parametrize(("k", "t"), [(1, 0.0), (2, 0.25), (5, 1.0)])
def test_the_client_reads_the_values_of_the_scene(splat_transform, sequence, tmp_path, k, t):
    convert(splat_transform, sequence / f"frame{k:04d}.ply", tmp_path / "out.csv")
    got = columns(tmp_path / "out.csv")
    assert set(got) == set(PROPERTIES)  # a column left out would mean a property not understood
    want = toy_scene(300).at(t)
    xyz = np.stack([got[c] for c in "xyz"], -1)
    np.testing.assert_allclose(xyz, want.means, atol=1e-5)
    rgb = np.stack([got[f"f_dc_{c}"] for c in range(3)], -1) * SH_C0 + 0.5
    np.testing.assert_allclose(rgb, want.colors, atol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-got["opacity"])), want.opacities, atol=1e-5)
    for axis in range(3):
        np.testing.assert_allclose(np.exp(got[f"scale_{axis}"]), want.scales, rtol=1e-4)
    np.testing.assert_allclose(got["rot_0"], 1, atol=1e-6)


def test_the_client_writes_a_ply_that_we_read_back(splat_transform, sequence, tmp_path):
    source = sequence / "frame0003.ply"
    convert(splat_transform, source, tmp_path / "again.ply")
    ours, theirs = read_ply(source), read_ply(tmp_path / "again.ply")
    for name in ours:
        np.testing.assert_allclose(theirs[name], ours[name], atol=1e-5)


def test_the_client_makes_the_compact_formats(splat_transform, sequence, tmp_path):
    source = sequence / "frame0001.ply"
    for name in ("frame.compressed.ply", "frame.spz"):
        convert(splat_transform, source, tmp_path / name)
        assert (tmp_path / name).stat().st_size < 0.6 * source.stat().st_size


def test_zip_holds_the_same_files_as_the_folder(sequence, tmp_path):
    names = write_sequence_zip(toy_scene(300), tmp_path / "a.zip", frames=5)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == names == sorted(p.name for p in sequence.iterdir())
        for name in names:
            assert archive.read(name) == (sequence / name).read_bytes()
    write_sequence_zip(toy_scene(300), tmp_path / "b.zip", frames=5)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "b.zip"]
