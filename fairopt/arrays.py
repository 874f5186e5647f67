"""Names of the array types that every file uses, and the precision of float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Ints = NDArray[np.int64]

EPS = 2.0**-52  # spacing of float64 at 1
GRAM_ERROR = 16.0 * EPS  # of entries of a float64 Gram matrix whose sums are added in short runs
