"""Published gradient-combining rules beside those of `fairopt`, from the Gram matrix alone.

They are what new methods are compared with. Unlike the solvers of `fairopt` most of them are
procedures or linear systems that break down where gradients are dependent; the status says so.

    >>> aligned_mtl([[1.0, 0.0], [0.0, 4.0]]).weights
    array([0.5 , 0.25])
"""

from fairopt.rivals.aligned_mtl import aligned_mtl
from fairopt.rivals.equal_projection import config, imtl_g
from fairopt.rivals.gradient_vaccine import gradient_vaccine

__all__ = ["aligned_mtl", "imtl_g", "config", "gradient_vaccine"]
