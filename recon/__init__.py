"""VideoGrid and Tracks -> Scene4D: canonical Gaussians, their motion, and how they are rendered."""

import fourreal  # noqa: F401  sets how torch's threads wait, before torch is loaded
