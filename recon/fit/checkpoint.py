"""The state of a fit on disk: a killed fit goes on where it was and ends with the same bytes.

``fit/phase.safetensors`` is the scene after the last finished phase (``fit/timeN.safetensors`` that
of one time, where times are fitted one by one; ``fit/followed.safetensors`` and ``nodes`` what the
joint fit of a clip starts from), ``fit/step.safetensors`` the parameters, Adam's
moments and the order of cells within the running one. Unlike a saved scene they are exact. All
carry the key of the stage; those of another key are ignored.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from fourreal.atomic import atomic_file
from fourreal.health import first_bad, require_finite
from fourreal.read_text import parse_json
from recon.fit.adam import Adam
from recon.scene import Scene4D

_SEPARATOR = "/"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Named(Protocol):
    """Parameters that have names (``recon.fit.parameters``)."""

    def named(self) -> dict[str, nn.Parameter]: ...


class Fit(Protocol):
    """What a checkpoint keeps of a fit, and puts back."""

    @property
    def parameters(self) -> Named: ...

    @property
    def optimiser(self) -> Adam: ...

    def memory(self) -> dict[str, Tensor]: ...

    def remember(self, memory: dict[str, Tensor]) -> None: ...


class Checkpoint:
    """Keeps the state of one fit in a folder.

    Args:
        folder: made when there is something to keep; removed by ``done``.
        key: what the fit is made from; a state with another key is not used.
        every: seconds between two states within a phase.
    """

    def __init__(self, folder: str | Path, key: str, every: float = 30.0) -> None:
        self.folder, self.key, self.every = Path(folder), key, every
        self._last = time.monotonic()
        self._good = ""

    def finished(self, phase: str, scene: Scene4D) -> None:
        """Keep the scene after a phase."""
        self._keep_scene("phase", phase, scene)
        self._good = f"the last good state is the scene after the {phase} phase, {self.folder}"

    def finished_part(self, name: str, scene: Scene4D) -> None:
        """Keep one of several scenes that a fit is made of."""
        self._keep_scene(name, name, scene)

    def part(self, name: str, device: str | torch.device) -> Scene4D | None:
        """The scene that ``finished_part`` kept under this name."""
        found = self._scene(name, device)
        return None if found is None else found[1]

    def keep_nodes(self, scene: Scene4D, chosen: NDArray[np.int64]) -> None:
        """Keep a scene whose motion was followed, and which of its points are nodes."""
        self._keep_scene("followed", "followed", scene)
        self._write("nodes", {"chosen": torch.from_numpy(chosen)}, {})

    def kept_nodes(self, device: str | torch.device) -> tuple[Scene4D, NDArray[np.int64]] | None:
        """What ``keep_nodes`` kept."""
        scene, nodes = self.part("followed", device), self._read("nodes", "cpu")
        return None if scene is None or nodes is None else (scene, nodes[0]["chosen"].numpy())

    def _keep_scene(self, file: str, phase: str, scene: Scene4D) -> None:
        named = {f.name: getattr(scene, f.name) for f in fields(scene)}
        tensors = {n: v for n, v in named.items() if isinstance(v, Tensor)}
        require_finite(f"{phase} fit", tensors, self.last_good)
        plain = {n: v for n, v in named.items() if n not in tensors and v is not None}
        self._write(file, tensors, {"phase": phase, "plain": plain})

    def scene(self, device: str | torch.device) -> tuple[str, Scene4D] | None:
        """The last finished phase and its scene; None: there is none."""
        return self._scene("phase", device)

    def _scene(self, file: str, device: str | torch.device) -> tuple[str, Scene4D] | None:
        found = self._read(file, device)
        if found is None:
            return None
        tensors, facts = found
        named: dict[str, Any] = {**tensors, **facts["plain"]}
        named["size"] = tuple(named["size"])
        return facts["phase"], Scene4D(**named)

    def has(self, name: str) -> bool:
        """Whether a state within the run ``name`` is there."""
        found = self._read("step", "cpu")
        return found is not None and found[1]["run"] == name

    def resume(self, fit: Fit, name: str, rng: np.random.Generator) -> tuple[int, list[int]]:
        """Put ``fit`` and ``rng`` in the state kept of run ``name``; the next step and the cells
        that are left before the next shuffle. (0, []) when nothing is kept."""
        parameters = fit.parameters.named()
        found = self._read("step", parameters["means"].device)
        if found is None or found[1]["run"] != name:
            return 0, []
        tensors, facts = found
        with torch.no_grad():
            for label, parameter in parameters.items():
                parameter.copy_(tensors[label])
                if f"{label}{_SEPARATOR}step" in tensors:
                    fit.optimiser.state[parameter] = {
                        m: tensors[f"{label}{_SEPARATOR}{m}"] for m in MOMENTS
                    }
        fit.remember({n: v for n, v in tensors.items() if n in facts["memory"]})
        rng.bit_generator.state = facts["rng"]
        return int(facts["step"]), [int(c) for c in facts["queue"]]

    def maybe_keep(
        self, fit: Fit, name: str, step: int, queue: list[int], rng: np.random.Generator
    ) -> None:
        """Keep the state before ``step`` of run ``name``, if the last one is old enough."""
        if time.monotonic() - self._last < self.every:
            return
        self._last = time.monotonic()
        tensors: dict[str, Tensor] = {}
        for label, parameter in fit.parameters.named().items():
            tensors[label] = parameter.detach()
            for moment, value in fit.optimiser.state.get(parameter, {}).items():
                tensors[f"{label}{_SEPARATOR}{moment}"] = value
        if first_bad(tensors) is None:
            memory = fit.memory()
            facts = {"run": name, "step": step, "queue": queue, "memory": list(memory)}
            self._write("step", tensors | memory, facts | {"rng": rng.bit_generator.state})
            self._good = f"the last good state is that of step {step}, {self.folder}"

    @property
    def last_good(self) -> str:
        """What a message says of the last state that was kept."""
        return self._good or "no state of the fit was kept yet"

    def done(self) -> None:
        """Remove the folder: the fit is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        meta = {"state": json.dumps({"key": self.key, **facts})}
        whole = {n: v.detach().cpu().clone().contiguous() for n, v in tensors.items()}
        with atomic_file(self.folder / f"{name}.safetensors") as temporary:
            temporary.write_bytes(save(whole, metadata=meta))

    def _read(
        self, name: str, device: str | torch.device
    ) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and facts; None when there are none, of another key, or damaged."""
        file = self.folder / f"{name}.safetensors"
        if not file.is_file():
            return None
        try:
            with safe_open(str(file), framework="pt") as handle:
                facts = parse_json((handle.metadata() or {})["state"])
                if facts["key"] != self.key:
                    return None
                return {n: handle.get_tensor(n).to(device) for n in handle.keys()}, facts
        except (SafetensorError, OSError, ValueError, KeyError):
            return None


def check_parameters(parameters: Mapping[str, Tensor], where: str, left: str = "") -> None:
    """Stop when a parameter is not finite. Raises NotFinite, which names it."""
    require_finite(where, dict(parameters), left)


def check_loss(
    parameters: Mapping[str, Tensor],
    loss: Tensor,
    cell: tuple[int, int],
    where: str,
    left: str = "",
) -> None:
    """Stop when the loss of a cell is not finite. Raises NotFinite, which names what made it so."""
    if not bool(torch.isfinite(loss)):
        check_parameters(parameters, where, left)
        require_finite(where, {f"loss of view {cell[0]}, time {cell[1]}": loss}, left)
