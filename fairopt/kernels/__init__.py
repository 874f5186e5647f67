"""Compiled kernels: float64 arrays in, arrays out, no checks of words or types.

They use the papers' letters: A Gram matrix, d gradient norms, C correlation matrix, v = d w,
t = A w / d, P the support, L a Cholesky factor. Each module with a public kernel is imported on
the first call of the function that needs it.
"""
