"""One moment as binary glTF with the ratified extension KHR_gaussian_splatting (kernel ellipse).

glTF's own axes: y up. Scales are linear, opacities in 0..1, colours the zeroth coefficient of
spherical harmonics in sRGB; programs without the extension see coloured points. The container is
trimesh's work. Specification: extensions/2.0/Khronos/KHR_gaussian_splatting of KhronosGroup/glTF.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from trimesh.exchange.gltf import export_glb

from viewer.export.moments import SH_C0, Moment

EXTENSION = "KHR_gaussian_splatting"
_FLOAT, _VERTICES = 5126, 34962  # glTF's numbers for what an accessor and a view hold
_KINDS = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}


def write_glb(moment: Moment, path: Path) -> None:
    """Write ``moment`` (OpenCV axes) to ``path``."""
    path.write_bytes(glb_bytes(moment))


def glb_bytes(moment: Moment) -> bytes:
    """The file as bytes."""
    m = moment.upright()
    rgba = np.concatenate([m.colors, m.opacities[:, None]], 1)
    cloud = trimesh.PointCloud(m.means, np.rint(np.clip(rgba, 0, 1) * 255).astype(np.uint8))
    norm = np.linalg.norm(m.rotations.astype(np.float64), axis=1, keepdims=True)
    turns = np.roll(m.rotations / np.maximum(norm, 1e-12), -1, axis=1)  # x, y, z, w
    ours = {
        "ROTATION": turns,
        "SCALE": np.exp(m.log_axes),
        "OPACITY": np.clip(m.opacities, 0, 1)[:, None],
        "SH_DEGREE_0_COEF_0": (m.colors - 0.5) / SH_C0,
    }

    def add_attributes(buffers: OrderedDict[str, bytes], tree: dict[str, Any]) -> None:
        (primitive,) = tree["meshes"][0]["primitives"]
        for name, values in ours.items():
            primitive["attributes"][f"{EXTENSION}:{name}"] = len(tree["accessors"])
            _append(values, name, buffers, tree)
        primitive.pop("material")
        primitive["extensions"] = {
            EXTENSION: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
        }

    def declare(tree: dict[str, Any]) -> None:
        tree.pop("materials", None)  # trimesh's black one, for points without colours
        tree["extensionsUsed"] = [EXTENSION]
        for view in tree["bufferViews"]:
            view["target"] = _VERTICES
        tree["asset"]["generator"] = "fourreal"

    scene = trimesh.Scene()
    scene.add_geometry(cloud, geom_name="gaussians")
    return export_glb(scene, buffer_postprocessor=add_attributes, tree_postprocessor=declare)


def _append(
    values: NDArray, name: str, buffers: OrderedDict[str, bytes], tree: dict[str, Any]
) -> None:
    """Add an accessor over a buffer of its own."""
    data = np.ascontiguousarray(values, "<f4")
    key = f"{EXTENSION}:{name}"
    tree["accessors"][key] = {
        "bufferView": len(buffers),
        "componentType": _FLOAT,
        "count": len(data),
        "type": _KINDS[data.shape[1]],
    }
    buffers[key] = data.tobytes()
