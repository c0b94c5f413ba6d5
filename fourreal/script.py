"""How a script starts: its configuration from the command line, its user errors as one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import tyro

from fourreal.console import print_any_name
from fourreal.errors import UserError

Config = TypeVar("Config")


def run_script(main: Callable[[Config], Any], config: type[Config], description: str | None) -> int:
    """Call `main` with the configuration of the command line; returns the exit code.

    A UserError is one line on stderr and exit code 2, also when the configuration raises it.
    """
    print_any_name()
    try:
        main(tyro.cli(config, description=description))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0
