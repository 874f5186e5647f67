"""Rules that assign clients to tasks, in integers of 120 bits: as exact as fractions, and compiled.

`words` turns floats and fractions into such integers, `markets` runs the kernels on them, and
`payments` gives prices back in the auction's own kind of numbers.
"""
