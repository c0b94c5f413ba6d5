"""VideoGrid and Tracks -> Scene4D: canonical Gaussians, their motion, and how they are rendered."""

import fourreal  # noqa: F401  sets how torch's threads wait, before torch is loaded

# Modules that the floors above may import; what is not here is this floor's own business.
PUBLIC = (
    "config",
    "fit.checkpoint",
    "gaussians",
    "motion.curve",
    "motion.turning",
    "ply",
    "raster.rasterize",
    "reconstruct",
    "render",
    "scene",
    "sheen",
)
