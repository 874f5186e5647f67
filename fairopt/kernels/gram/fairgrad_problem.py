"""The FairGrad problem as its kernels share it."""

from __future__ import annotations

from typing import NamedTuple

from fairopt.arrays import Array


class Problem(NamedTuple):
    """A w = (p / w)^(1/alpha) in units of unit gradients: C v = t with v = d w, t = A w / d.

    Attributes:
        C: (n, n) correlation matrix of the gradients.
        alpha: Power of the utility, in (0, inf].
        p: (n,) priorities.
        d: (n,) lengths of the gradients, > 0.
        log_p: (n,) log p, filled for 0 < alpha < inf.
        log_d: (n,) log d, likewise.
    """

    C: Array
    alpha: float
    p: Array
    d: Array
    log_p: Array
    log_d: Array
