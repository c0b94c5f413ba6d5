"""Evaluation: measures what the packages make; not installed. `scripts/evaluate.py` starts it."""

import fourreal  # noqa: F401  sets how torch's threads wait, before torch is loaded
