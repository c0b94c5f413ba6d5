"""Code and weights that a user has on disk: imported from there, never copied, never downloaded.

Research repositories use top-level names such as ``utils`` that others use too, and some change
global state when they are imported; here they are loaded without leaving either behind. Importing
a checkout runs its code: give only folders you trust. Weights are read as plain tensors.
"""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from fourreal.errors import UserError


@contextmanager
def importable(folder: Path | None, packages: tuple[str, ...]) -> Iterator[None]:
    """Inside, `packages` (top-level names) are found in `folder`; afterwards all is as before.

    Modules of the same names that were loaded already are set aside and come back; the state of
    torch's random generator is kept. folder None: the packages are taken as installed.
    """
    if folder is None:
        yield
        return

    def ours() -> list[str]:
        return [name for name in sys.modules if name.partition(".")[0] in packages]

    aside = {name: sys.modules.pop(name) for name in ours()}
    state = torch.random.get_rng_state()
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(entry)
        for name in ours():
            del sys.modules[name]
        sys.modules.update(aside)
        torch.random.set_rng_state(state)


def load_module(folder: Path | None, packages: tuple[str, ...], module: str) -> Any:
    """Import `module` from the checkout `folder`.

    Raises:
        UserError: it, or something that it needs, is not there.
    """
    try:
        with importable(folder, packages):
            return importlib.import_module(module)
    except Exception as error:  # other people's code and its dependencies may fail in any way
        where = f"{folder}: " if folder is not None else ""
        raise UserError(
            f"{where}'{module}' cannot be imported ({_first_line(error)}); install what its "
            "README asks for"
        ) from error


def load_weights(path: Path) -> dict[str, Any]:
    """A checkpoint as a dictionary of tensors and plain values; pickled objects are refused.

    Raises:
        UserError: unreadable, or holding anything but tensors and plain values.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path} holds pickled objects, which are refused; save it again as tensors only"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"{path} is not a readable checkpoint ({_first_line(error)})") from error
    if not isinstance(loaded, dict):
        raise UserError(f"{path} holds a {type(loaded).__name__}, not a dictionary of tensors")
    return loaded


def fill_model(model: torch.nn.Module, state: dict[str, Any], path: Path) -> None:
    """Put a state dictionary into a model; a missing or misshapen tensor is an error.

    Raises:
        UserError: the weights are of another model.
    """
    try:
        missing = model.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        raise UserError(f"{path} does not fit the model ({_first_line(error)})") from error
    if missing:
        raise UserError(
            f"{path} lacks {len(missing)} tensors of the model (first '{missing[0]}'); give the "
            "checkpoint that belongs to it"
        )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:160]
