"""Development tools: benchmarks, pictures, browser driver; not installed: `python -m
scripts.tools.X`."""

import fourreal  # noqa: F401  sets how torch's threads wait, before torch is loaded
