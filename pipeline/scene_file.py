"""The scene that a command is given: a run folder, or any file that holds one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from fourreal.console import warn
from fourreal.errors import UserError
from gen.grid import VideoGrid

if TYPE_CHECKING:
    from recon.scene import Scene4D
    from viewer.player_scene import PlayerScene

SCENE_FILE = "scene.safetensors"


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


def load_scene(path: Path) -> Scene4D:
    """The scene of a file of any kind, with nodes and cameras. Raises UserError if it has none."""
    scene = open_scene(path)
    from recon.scene import Scene4D

    if isinstance(scene, Scene4D):
        return scene
    from viewer.read.any_scene import as_scene

    return as_scene(scene)


def open_scene(path: Path) -> Scene4D | PlayerScene:
    """The scene of a file as it is: ours from ``.safetensors``, what a viewer needs of others."""
    if path.suffix == ".safetensors":
        from recon.scene import Scene4D

        return Scene4D.load(path)
    from viewer.read.any_scene import read_player_scene

    return read_player_scene(path)


def grid_beside(scene: Path) -> VideoGrid | None:
    """The grid of the run that a scene file lies in; None, with a warning, if it is not there."""
    if scene.suffix != ".safetensors":
        return None  # a file to share stands alone
    if (scene.parent / "grid" / "grid.json").exists():
        return VideoGrid.load(scene.parent / "grid")
    warn(f"no grid folder beside {scene}: its frames are not shown")
    return None


def title_and_rate(run: Path, stored: int) -> tuple[str, float]:
    """Prompt (else the folder's name) of a run, and how many of the ``stored`` times of its scene
    pass in a second: the frames of its grid, of a whole clip fewer; 8 without a grid."""
    try:
        grid = json.loads((run / "grid" / "grid.json").read_text())
        rate, frames = float(grid.get("fps", 8.0)), len(grid.get("times") or ())
        if stored > 1 and frames > 1:
            rate *= (stored - 1) / (frames - 1)
        return str(grid.get("prompt") or run.resolve().name), rate
    except (OSError, ValueError, AttributeError, TypeError):
        return run.resolve().name, 8.0
