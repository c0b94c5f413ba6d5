"""Differentiable rasterization: one call, three backends (CPU kernels, gsplat, dense torch)."""
