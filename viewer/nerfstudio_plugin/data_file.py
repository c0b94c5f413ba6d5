"""``data.json`` of an exported scene: its format and how it is read and checked.

size [height, width]; cameras: per view K [3][3] pixels and camera_to_world [3][4] (OpenGL axes,
nerfstudio's world); frames: per known cell file, view, time; from_scene: rotation, translation,
scale with  nerfstudio = scale (rotation x + translation).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FORMAT, VERSION = "fourreal-nerfstudio-data", 1
FILE = "data.json"
_FIELDS = ("size", "cameras", "frames", "from_scene")


def read_data(folder: str | Path) -> dict[str, Any]:
    """The checked contents of ``data.json`` in ``folder``. Raises RuntimeError, in one line."""
    path = Path(folder) / FILE
    again = "write it with: run_pipeline.py export DIR --format nerfstudio"
    if not path.is_file():
        raise RuntimeError(f"no exported scene at {folder}; {again}")
    try:
        data = json.loads(path.read_text())
        if (data["format"], data["version"]) != (FORMAT, VERSION):
            raise ValueError(f"version {data['version']} of {data['format']}")
        if missing := [name for name in _FIELDS if not data.get(name)]:
            raise ValueError(f"no {missing[0]}")
    except (ValueError, KeyError, TypeError) as error:
        raise RuntimeError(f"{path} is damaged or of another version ({error}); {again}") from error
    return data
