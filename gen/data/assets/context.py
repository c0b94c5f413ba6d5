"""A standalone OpenGL context without a window: through EGL, on a GPU or in software (Mesa)."""

from __future__ import annotations

import sys
from typing import Any

from fourreal.errors import UserError

INSTALL = "install it with: apt-get install libegl1 libgl1 libgl1-mesa-dri"


def open_context(device: int | None = None) -> Any:
    """A moderngl context with OpenGL 3.3 core; release it when done.

    Args:
        device: number of the EGL device (the driver's order: GPUs first); default: the first.

    Raises:
        UserError: moderngl or an EGL driver is missing; the message names what to install.
    """
    try:
        import moderngl
    except ImportError:
        raise UserError(
            "rendering assets needs moderngl; install it with: pip install 'fourreal[render]'"
        ) from None
    settings: dict[str, Any] = {"standalone": True, "backend": "egl", "require": 330}
    if sys.platform == "linux":  # by name: looking them up needs a compiler or ldconfig
        settings |= {"libgl": "libGL.so.1", "libegl": "libEGL.so.1"}
    if device is not None:
        settings["device_index"] = device
    try:
        return moderngl.create_context(**settings)
    except Exception as error:  # the binding raises bare Exceptions with the driver's words
        reason = " ".join(str(error).split())[:100]
        advice = INSTALL if device is None else "leave --device out, or choose another"
        raise UserError(f"no OpenGL 3.3 through EGL ({reason}); {advice}") from None
