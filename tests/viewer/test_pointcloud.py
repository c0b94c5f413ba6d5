"""Plain point clouds through Open3D: values, the same points in every file, outliers removed."""

import builtins

import numpy as np
import pytest
import torch
import trimesh

from fourreal.errors import UserError
from tests.viewer.toy_scene import toy_scene
from viewer.export.pointcloud import write_pointclouds


@pytest.fixture
def open3d():
    return pytest.importorskip("open3d", reason="pip install -e '.[open3d]'", exc_type=ImportError)


def with_outliers(count: int = 5):
    """A toy scene whose first points are far above everything else."""
    scene = toy_scene(600)
    scene.means[:count] = torch.tensor([0.0, -9.0, 3.0]) + torch.arange(count)[:, None] * 0.7
    return scene


def test_points_and_colours_are_those_of_the_scene(open3d, tmp_path):
    scene = toy_scene(600)
    names = write_pointclouds(scene, tmp_path / "points", frames=3, min_opacity=0.0)
    assert names == [f"points{k:04d}.ply" for k in (1, 2, 3)]
    for name, t in zip(names, (0.0, 0.5, 1.0), strict=True):
        want = scene.at(t)
        cloud = open3d.io.read_point_cloud(str(tmp_path / "points" / name))
        np.testing.assert_allclose(np.asarray(cloud.points), want.means, atol=1e-5)
        np.testing.assert_allclose(np.asarray(cloud.colors), want.colors, atol=1 / 255)
        again = trimesh.load(tmp_path / "points" / name)
        np.testing.assert_allclose(again.vertices, want.means, atol=1e-5)


def test_statistical_outliers_go_from_every_file(open3d, tmp_path):
    scene = with_outliers()
    write_pointclouds(scene, tmp_path / "all", min_opacity=0.0)
    write_pointclouds(scene, tmp_path / "few", outliers=2.0, min_opacity=0.0)
    counts = set()
    for path in sorted((tmp_path / "few").iterdir()):
        points = np.asarray(open3d.io.read_point_cloud(str(path)).points)
        assert points[:, 1].min() > -3
        counts.add(len(points))
    assert len(counts) == 1 and 0.8 * len(scene) < counts.pop() <= len(scene) - 5


def test_faint_points_are_left_out_and_nothing_left_is_refused(open3d, tmp_path):
    scene = toy_scene(600)
    scene.opacity_logits[:50] = -8.0
    write_pointclouds(scene, tmp_path / "points", frames=1)
    (path,) = (tmp_path / "points").iterdir()
    assert len(open3d.io.read_point_cloud(str(path)).points) == len(scene) - 50
    with pytest.raises(UserError, match="no point is left"):
        write_pointclouds(scene, tmp_path / "points", min_opacity=1.0)


def test_without_open3d_there_is_one_line(monkeypatch, tmp_path):
    original = builtins.__import__

    def no_open3d(name, *args, **kwargs):
        if name == "open3d":
            raise ImportError("No module named 'open3d'")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_open3d)
    with pytest.raises(UserError, match=r"\[open3d\]"):
        write_pointclouds(toy_scene(100), tmp_path / "points")
    assert not list(tmp_path.iterdir())
