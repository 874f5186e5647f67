"""One solver as two kernels: one for what is common, which compiles fast, and one for everything.

Both take the same arguments and give the same digits wherever the first one gives an answer.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from fairopt.arrays import Array
from fairopt.kernels.faults import UNSETTLED

FEW = 64


class Loader(Protocol):
    """A function under `functools.cache` that imports and returns a kernel."""

    def __call__(self) -> Any:
        """The kernel."""

    def cache_info(self) -> Any:
        """Its `currsize` says whether the kernel has been loaded."""


def solve(
    quick: Loader, full: Loader, status: int, cores: tuple[int, ...], given: tuple[Any, ...]
) -> tuple[Any, ...]:
    """The outputs of the full kernel, which is loaded only if a problem needs it.

    A process that has it uses it for everything: the digits are the same and nothing is done twice.

    Args:
        quick: Loads the kernel that may leave problems UNSETTLED.
        full: Loads the kernel that does not.
        status: Which of the outputs tells, by one number per problem or one per row of it.
        cores: The number of dimensions of each argument for one problem.
        given: The arguments, batches in front.
    """
    if full.cache_info().currsize:
        return _outputs(full, given)
    answer = _outputs(quick, given)
    codes = answer[status]
    if type(codes) is np.int64:  # a single problem: the fast path
        return answer if codes != UNSETTLED else _outputs(full, given)
    few = codes.size <= FEW  # then a list is faster
    if not (UNSETTLED in codes.ravel().tolist() if few else (codes == UNSETTLED).any()):
        return answer
    left = codes == UNSETTLED
    if cores[1] == 2:  # the rows of a problem share what is known of it
        left = left.any(axis=-1)
    if left.ndim == 0:
        return _outputs(full, given)
    some = tuple(_picked(x, left, core) for x, core in zip(given, cores, strict=True))
    for whole, part in zip(answer, _outputs(full, some), strict=True):
        whole[left] = part
    return answer


def _outputs(kernel: Loader, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Call a kernel."""
    outputs: tuple[Any, ...] = kernel()(*given)
    return outputs


def _picked(value: Any, where: Any, core: int) -> Any:
    """The marked problems of an argument, which may be one for all."""
    array: Array = np.asarray(value)
    if array.ndim == core:
        return value
    return np.broadcast_to(array, where.shape + array.shape[array.ndim - core :])[where]
