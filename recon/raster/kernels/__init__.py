"""What numba kernels of several rooms share: threads, SIMD lanes, small geometry."""
