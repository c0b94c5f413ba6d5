"""What a way of looking at a scene is given and what it gives back; running other programs."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from gen.grid import VideoGrid
from recon.render import render_scene
from recon.scene import Scene4D

Picture = NDArray[np.floating]


class NoRoute(Exception):
    """This machine lacks what the route needs; the message says what."""


@dataclass
class Shot:
    """What to look at: a scene at time ``t`` in 0..1 from w2c [4,4] with K [3,3], size (height,
    width); ``grid`` the input frames if there are any; ``work`` a folder for files; programs, ""
    where there are none; ``patience`` in seconds for pages and processes."""

    scene: Scene4D
    grid: VideoGrid | None
    t: float
    w2c: NDArray[np.float64]
    K: NDArray[np.float64]
    size: tuple[int, int]
    work: Path
    splat_transform: str = ""
    nerfstudio: str | None = None
    patience: float = 300.0

    def reference(self) -> Picture:
        """Our rasterizer's picture [H,W,3], view compensation off."""
        drawn = render_scene(self.scene, self.t, self.w2c, self.K, self.size, 0.0)
        return drawn.rgb.clamp(0, 1).cpu().numpy()


@dataclass
class View:
    """RGB [H,W,3] in 0..1 as a route shows it; ``want``: what it should be if its camera or size
    is its own; ``megabytes`` of the file that is shared."""

    rgb: Picture
    want: Picture | None = None
    megabytes: float | None = None


def run_program(command: list[str], shot: Shot) -> None:
    """Run a program with ffmpeg on PATH; RuntimeError with its last words if it fails."""
    tools = shot.work / "bin"
    if not tools.exists():
        tools.mkdir()
        (tools / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=shot.patience, cwd=shot.work,
        env={**os.environ, "PATH": path},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {(done.stdout + done.stderr)[-500:]}")


def words(command: str) -> list[str]:
    """The words of a command line; files among them stay valid from other folders."""
    return [os.path.abspath(w) if os.path.exists(w) else w for w in shlex.split(command)]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
