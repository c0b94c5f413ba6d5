"""The scene of a finished run, and what lies beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from fourreal.console import warn
from fourreal.errors import UserError
from gen.grid import VideoGrid

if TYPE_CHECKING:
    from recon.scene import Scene4D

SCENE_FILE = "scene.safetensors"


def load_scene(path: Path) -> Scene4D:
    """The scene of a file."""
    from recon.scene import Scene4D

    return Scene4D.load(path)


def scene_path(run: str | Path) -> Path:
    """The scene file of a run folder, or the file itself.

    Raises:
        UserError: no scene there.
    """
    path = Path(run)
    if path.is_dir():
        path = path / SCENE_FILE
    if not path.is_file():
        raise UserError(
            f"no scene at {run}; give a run folder with {SCENE_FILE} (see outputs/) or such a file"
        )
    return path


def grid_beside(scene: Path) -> VideoGrid | None:
    """The grid of the run that a scene file lies in; None, with a warning, if it is not there."""
    if (scene.parent / "grid" / "grid.json").exists():
        return VideoGrid.load(scene.parent / "grid")
    warn(f"no grid folder beside {scene}: its frames are not shown")
    return None


def title_and_rate(run: Path) -> tuple[str, float]:
    """Prompt (else the folder's name) and frames per second along time of a run; 8 without grid."""
    try:
        grid = json.loads((run / "grid" / "grid.json").read_text())
        return str(grid.get("prompt") or run.resolve().name), float(grid.get("fps", 8.0))
    except (OSError, ValueError, AttributeError, TypeError):
        return run.resolve().name, 8.0
