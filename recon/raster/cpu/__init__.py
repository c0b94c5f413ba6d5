"""The CPU rasterizer: numba kernels behind one torch.autograd.Function."""
