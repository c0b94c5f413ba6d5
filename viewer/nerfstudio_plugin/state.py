"""A Scene4D as the tensors of a nerfstudio checkpoint, and back.

Tensors only, so that ``torch.load(weights_only=True)`` reads the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from fourreal.errors import UserError
from recon.scene import HALF, OFFSET_FRAMES, Scene4D

PREFIX = "scene."
_HALF = set(HALF) - {"node_turns"}  # as in scene.safetensors


def scene_state(scene: Scene4D) -> dict[str, Tensor]:
    """Every field of ``scene`` as a tensor on the CPU, named ``scene.FIELD``."""
    state: dict[str, Tensor] = {}
    for field in fields(scene):
        value = getattr(scene, field.name)
        if isinstance(value, Tensor):
            value = value.detach().cpu()
            state[PREFIX + field.name] = value.half() if field.name in _HALF else value
    state[PREFIX + "size"] = torch.tensor(scene.size)
    state[PREFIX + "canonical_time"] = torch.tensor(scene.canonical_time)
    state[PREFIX + "canonical_view"] = torch.tensor(scene.canonical_view)
    state[PREFIX + "offset_frame"] = torch.tensor(OFFSET_FRAMES.index(scene.offset_frame))
    return state


def scene_from_state(state: Mapping[str, Tensor]) -> Scene4D:
    """The scene that ``scene_state`` stored; other tensors are ignored.

    Raises:
        UserError: something is missing or does not fit together.
    """
    values = {n[len(PREFIX) :]: v for n, v in state.items() if n.startswith(PREFIX)}
    try:
        height, width = (int(s) for s in values.pop("size"))
        rest: dict[str, Any] = {n: int(values.pop(n)) for n in ("canonical_time", "canonical_view")}
        rest["offset_frame"] = OFFSET_FRAMES[int(values.pop("offset_frame"))]
        rest |= {n: v.float() if v.dtype == torch.float16 else v for n, v in values.items()}
        return Scene4D(**rest, size=(height, width))
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise UserError(
            f"the checkpoint holds no usable scene ({error}); export it again"
        ) from error
