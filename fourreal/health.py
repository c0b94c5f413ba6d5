"""Numerical health: a value that is not finite stops the work, with the name of what holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fourreal.errors import UserError


class NotFinite(UserError, ValueError):
    """NaN or infinity where a number belongs; says in which tensor, when, and what is left."""


def first_bad(tensors: Mapping[str, Any]) -> str | None:
    """The name of the first tensor or array that holds NaN or infinity; None: all are finite."""
    for name, value in tensors.items():
        if value is None:
            continue
        # arrays have no such method; torch is not imported, so that `--help` stays quick
        finite = value.isfinite() if hasattr(value, "isfinite") else np.isfinite(value)
        if not bool(finite.all()):
            return name
    return None


def require_finite(where: str, tensors: Mapping[str, Any], left: str = "") -> None:
    """Stop when a tensor holds NaN or infinity.

    Args:
        where: the work at hand, for example "denoising, step 3 of 8".
        tensors: tensors or arrays by the name that the user is told; None is left out.
        left: what can still be used, for example the last good checkpoint.

    Raises:
        NotFinite: naming the first such tensor.
    """
    if name := first_bad(tensors):
        raise NotFinite(
            f"{where}: '{name}' holds a value that is not finite (NaN or infinity); "
            f"{left or 'nothing of this stage was written'}; try another --seed or --size"
        )
