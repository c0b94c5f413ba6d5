"""Names in the order in which people count: cam2 before cam10."""

from __future__ import annotations

import re


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """A key for ``sorted``: runs of digits compare as numbers, the rest without regard to case.

    Names that differ only in case or in leading zeros keep one order, that of their characters.
    """
    parts = re.split(r"([0-9]+)", name)
    # a number of more than 4300 digits would be too long for int
    keys = ((1, int(p[-4000:]), "") if k % 2 else (0, 0, p.casefold()) for k, p in enumerate(parts))
    return tuple(keys), name
