"""Gaussians as binary little-endian PLY: x y z, f_dc_0..2, opacity, scale_0..2, rot_0..3.

The layout of the 3D Gaussian Splatting reference: colour as the zeroth spherical-harmonic
coefficient, opacity as a logit, scale as a natural logarithm, rotation (1, 0, 0, 0) and three
equal scales for isotropic Gaussians. Positions keep OpenCV axes (y down). Layout `minimal` has
exactly these 14 float32 properties, in this order; `full` has the reference's 62, for readers that
count them: nx ny nz after the positions and f_rest_0..44 after f_dc_2, all zero.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourreal.atomic import atomic_file
from fourreal.errors import UserError

SH_C0 = 0.28209479177387814  # 1 / (2 sqrt(pi))
PROPERTIES = (
    *("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
LAYOUTS = {
    "minimal": PROPERTIES,
    "full": (
        *(*PROPERTIES[:3], "nx", "ny", "nz", *PROPERTIES[3:6]),
        *(f"f_rest_{k}" for k in range(45)),
        *PROPERTIES[6:],
    ),
}

Array = NDArray[np.float32]


def write_ply(
    path: str | Path,
    means: Array,
    log_scales: Array,
    opacity_logits: Array,
    colors: Array,
    rotations: Array | None = None,
    layout: str = "minimal",
) -> None:
    """Write N Gaussians, atomically.

    Args:
        means: [N, 3] positions. log_scales: [N] log of the standard deviation, or [N, 3] along
            the axes that the quaternions rotations [N, 4] (w, x, y, z) turn.
        opacity_logits: [N]. colors: [N, 3] RGB, clamped to 0..1 as when rendering.
        layout: name in ``LAYOUTS``.
    """
    n = len(means)
    logs = np.asarray(log_scales)
    logs = logs[:, None] if logs.ndim == 1 else logs
    turns = np.array([[1.0, 0, 0, 0]]) if rotations is None else np.asarray(rotations)
    shapes = (np.shape(means), logs.shape, np.shape(opacity_logits), np.shape(colors), turns.shape)
    isotropic = ((n, 3), (n, 1), (n,), (n, 3), (1, 4))
    if shapes not in (isotropic, ((n, 3), (n, 3), (n,), (n, 3), (n, 4))):
        raise ValueError(f"write_ply: expected [N,3] [N] [N] [N,3], got {shapes}")
    table = np.zeros((n, len(PROPERTIES)), "<f4")
    table[:, 0:3] = means
    table[:, 3:6] = (np.clip(colors, 0, 1) - 0.5) / SH_C0
    table[:, 6] = opacity_logits
    table[:, 7:10] = logs
    table[:, 10:14] = turns
    names = LAYOUTS[layout]
    out = np.zeros((n, len(names)), "<f4")
    out[:, [names.index(name) for name in PROPERTIES]] = table
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {n}"]
    header += [f"property float {name}" for name in names] + ["end_header", ""]
    with atomic_file(path) as temporary, temporary.open("wb") as handle:
        handle.write("\n".join(header).encode("ascii"))
        handle.write(out.tobytes())


def read_ply(path: str | Path) -> dict[str, Array]:
    """Read means [N,3], log_scales [N], opacity_logits [N], colors [N,3] of a PLY of Gaussians.

    Either layout is read, its properties in any order. Anisotropic Gaussians also have log_axes
    [N,3] and rotations [N,4]; their log_scales are those of the first axis.

    Raises:
        UserError: not a PLY of this layout.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"no such file: {file}")
    data = file.read_bytes()
    end = data.find(b"end_header\n")
    lines = data[: max(end, 0)].decode("ascii", "replace").split("\n")
    properties = [line.split()[1:] for line in lines if line.startswith("property ")]
    names = [" ".join(words[1:]) for words in properties]
    elements = [line.split() for line in lines if line.startswith("element vertex ")]
    counts = [int(words[2]) for words in elements if len(words) == 3 and words[2].isdigit()]
    if end < 0 or lines[:2] != ["ply", "format binary_little_endian 1.0"] or len(counts) != 1:
        raise UserError(f"{file} is not a binary little-endian PLY with one vertex element")
    floats = all(words[0] == "float" for words in properties if words)
    known = [sorted(layout) for layout in LAYOUTS.values()]
    if sorted(names) not in known or not floats:
        raise UserError(f"{file} has other properties than a Gaussian PLY: {' '.join(names)}")
    body = data[end + len(b"end_header\n") :]
    if len(body) != counts[0] * 4 * len(names):
        raise UserError(f"{file} is cut off: {len(body)} bytes for {counts[0]} Gaussians")
    table = np.frombuffer(body, "<f4").reshape(counts[0], len(names))
    table = table[:, [names.index(name) for name in PROPERTIES]]
    out = {
        "means": table[:, 0:3].copy(),
        "log_scales": table[:, 7].copy(),
        "opacity_logits": table[:, 6].copy(),
        "colors": table[:, 3:6] * np.float32(SH_C0) + np.float32(0.5),
    }
    if bool((table[:, 7:10] != table[:, 7:8]).any()):
        out |= {"log_axes": table[:, 7:10].copy(), "rotations": table[:, 10:14].copy()}
    return out
