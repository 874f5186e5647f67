"""Kernels of the K x K problems: a Gram matrix in, task weights out."""
