"""matplotlib, drawing into files only, where it is installed."""

from __future__ import annotations

from typing import Any

from fourreal.errors import UserError


def pyplot() -> Any:
    """matplotlib.pyplot without a display.  UserError when matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise UserError("charts need matplotlib; run: pip install -e '.[eval]'") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot

    return matplotlib.pyplot
