"""The command `view`: a run in the viser viewer."""

from __future__ import annotations

from dataclasses import dataclass

from tyro.conf import Positional

from fourreal.console import warn
from pipeline.scene_file import grid_beside, load_scene, scene_path


@dataclass
class View:
    """Open a run in the viser viewer (a local web server)."""

    run: Positional[str]
    """Folder of the run, or a file: scene.safetensors, .fr4d, .4dgs, a player's .html."""
    host: str = "127.0.0.1"
    """Address to listen on; anything but 127.0.0.1 is reachable from other machines."""
    port: int = 8080
    """Port to listen on."""


def view(options: View) -> None:
    """Serve a run in the viser viewer until interrupted."""
    from viewer.viser.app import serve

    path = scene_path(options.run)
    scene = load_scene(path)
    grid = grid_beside(path)
    if options.host not in ("127.0.0.1", "localhost", "::1"):
        warn(f"listening on {options.host}: the viewer can be reached from other machines")
    serve(scene, grid, host=options.host, port=options.port)
