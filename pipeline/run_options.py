"""Options that every command which makes a scene takes: where to, from which stage, with what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fourreal.errors import UserError

STAGES = ("grid", "tracks", "scene", "outputs")


@dataclass
class RunOptions:
    """Options that every run takes."""

    out: str = ""
    """Folder of the run; by default outputs/NAME."""
    force: str = ""
    """Redo from this stage on: grid, tracks, scene or outputs."""
    seed: int = 0
    """Seed of everything random."""
    preset: Literal["auto", "cpu", "quick", "gpu", "debug"] = "auto"
    """Settings of the fit; auto: gpu where CUDA is, else cpu. quick: half the steps of cpu, less
    sharp. debug takes seconds and only shows that everything works."""
    motion: Literal["auto", "nodes", "mlp", "mlp-points"] = "auto"
    """What moves the Gaussians: nodes with offsets of their own, a small network on the nodes, or
    the paper's network on every Gaussian (slow without a GPU); auto: what the preset says."""
    method: Literal["default", "paper"] = "default"
    """paper: the reconstruction of the paper and its supplement as written, nothing of ours."""
    view: bool = False
    """Watch the scene in the viser viewer while it is fitted, and afterwards until Ctrl-C."""
    port: int = 8080
    """Port of that viewer, on 127.0.0.1."""

    def check(self) -> None:
        """Refuse values that no stage can work with. Raises UserError."""
        if self.force and self.force not in STAGES:
            raise UserError(f"--force {self.force}: no such stage; choose from {', '.join(STAGES)}")
        self.fit_preset()
        if self.method == "paper" and self.motion not in ("auto", "mlp-points"):
            raise UserError(
                "--method paper moves every Gaussian by a network; leave out --motion "
                f"{self.motion}"
            )

    def fit_preset(self) -> str:
        """The name of the fit's settings on this machine. Raises UserError: gpu without CUDA."""
        import torch

        if self.preset == "auto":
            return "gpu" if torch.cuda.is_available() else "cpu"
        if self.preset == "gpu" and not torch.cuda.is_available():
            raise UserError("--preset gpu: no CUDA device here; use --preset cpu")
        return self.preset
