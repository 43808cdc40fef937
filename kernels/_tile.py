"""@triton.jit helpers that two or more kernels use."""
