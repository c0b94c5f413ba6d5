"""The viser viewer of a scene that is still being fitted (``--view`` on the pipeline commands)."""

from __future__ import annotations

from pathlib import Path

from fourreal.console import say
from gen.grid import VideoGrid
from recon.scene import Scene4D
from viewer.viser.app import ViserApp, wait_for_interrupt


class LiveView:
    """Starts a viewer on 127.0.0.1 with the first scene and replaces it with every later one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.app: ViserApp | None = None

    def show(self, scene: Scene4D, grid: VideoGrid | None) -> None:
        """Show a state of the fit; ``grid`` gives the pictures in the cameras."""
        if self.app is None:
            self.app = ViserApp(scene, grid, port=self._port)
            say(f"  watch it at {self.app.url}")
        else:
            self.app.set_scene(scene)

    def hold(self, run: Path) -> None:
        """Show the finished scene of a run folder until Ctrl-C."""
        scene = Scene4D.load(run / "scene.safetensors")
        self.show(scene, VideoGrid.load(run / "grid") if self.app is None else None)
        assert self.app is not None
        say(f"viewer: {self.app.url} (Ctrl-C ends it)")
        wait_for_interrupt(self.app)
