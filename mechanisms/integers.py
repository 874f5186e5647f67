"""Counts that come with an auction: how many tasks a client can do, how many places a task has."""

from __future__ import annotations

from typing import Any

import numpy as np

from fairopt.errors import InvalidInput


def checked_capacity(capacity: Any, shape: tuple[int, ...]) -> list[int]:
    """(N,) most tasks of each client, from one number for all or one per client.

    Args:
        capacity: m, or (N,) of them.
        shape: (N, S) of the bids.
    """
    clients, tasks = shape
    requirement = f"an integer in 1..{tasks}, the number of tasks, or {clients}, one per client"
    if np.ndim(capacity) == 0:
        return whole_numbers("capacity", capacity, (), tasks, requirement) * clients
    return whole_numbers("capacity", capacity, (clients,), tasks, requirement)


def whole_numbers(
    argument: str, values: Any, shape: tuple[int, ...], most: int, requirement: str
) -> list[int]:
    """Integers in 1..most of one shape; floats and booleans are refused."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.shape != shape:
        raise InvalidInput(argument, values, requirement)
    if array.size and not (array.min() >= 1 and array.max() <= most):
        raise InvalidInput(argument, values, requirement)
    return [int(value) for value in array.flat]
