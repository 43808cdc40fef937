"""A Triton backend for CPUs: the same kernels, compiled to C and run on threads."""
