"""Numbers that a method learns beside the model, one per task, by Adam."""

from __future__ import annotations

import numpy as np

from fairopt.arrays import Array, BoolArray
from fairopt.torch.method_state import MethodState

MEAN, SQUARE, TINY = 0.9, 0.999, 1e-8  # decay rates and epsilon of the paper of Adam
MOST = 1e100  # gradients are cut here, so that their squares are finite; steps depend on signs then


def adam_step(
    state: MethodState, name: str, gradient: Array, rate: float, present: BoolArray
) -> Array:
    """Move the numbers of that name against a gradient; those of absent tasks stay.

    As a parameter group of its own with that learning rate in `torch.optim.Adam`: every number has
    its own averages, so it does not matter which optimiser trains the model.

    Args:
        state: Holds the numbers, their averages and how often each was moved.
        name: Of the numbers, which are there already.
        gradient: (K,); entries of absent tasks are ignored.
        rate: Learning rate.
        present: (K,).

    Returns:
        The numbers, (K,).

    Source: Kingma and Ba (arXiv 1412.6980), algorithm 1.
    """
    shape = gradient.shape
    slope = np.clip(np.where(present, gradient, 0.0), -MOST, MOST)
    steps = state.get(name + ".steps", shape)
    mean = state.get(name + ".mean", shape)
    square = state.get(name + ".square", shape)
    steps[present] += 1.0
    mean[present] += (1.0 - MEAN) * (slope - mean)[present]
    square[present] += (1.0 - SQUARE) * (slope**2 - square)[present]
    count = np.maximum(steps, 1.0)
    size = np.sqrt(square / (1.0 - SQUARE**count)) + TINY
    numbers = state.get(name, shape)
    numbers[present] -= (rate * mean / (1.0 - MEAN**count) / size)[present]
    return numbers
