r"""Which clients are active in a round: unequal chances, met exactly.

A law gives weights :math:`x_k \ge 0`; of the clients that can be asked, n are drawn such that
client k is among them with chance

.. math:: \pi_k = \min(1, c \, x_k), \qquad \sum_k \pi_k = n,

which is what importance weights divide by. Clients of weight zero are never asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fl_runtime.extensions import Kind

Chances = NDArray[np.float64]


class ClientSampling(Protocol):
    """How often a client is active, in relation to others."""

    def weights(self, examples: NDArray[np.int64]) -> NDArray[np.float64]:
        """(num_clients,) numbers >= 0 from (num_clients, num_tasks) examples of agreed tasks."""
        ...


@dataclass(frozen=True)
class UniformSampling:
    """All clients that can be asked are equally likely."""

    def weights(self, examples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Ones."""
        return np.ones(len(examples))


@dataclass(frozen=True)
class ByExamples:
    """In proportion to a power of a client's number of examples, over the tasks it agreed to.

    Attributes:
        power: 1 for the proportion, 0 for equal chances of all clients that have a task.
    """

    power: float = 1.0

    def weights(self, examples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Totals to that power; zero for who has no task."""
        total = examples.sum(axis=1).astype(np.float64)
        return np.where(total > 0.0, np.maximum(total, 1.0) ** self.power, 0.0)


CLIENT_SAMPLINGS: Mapping[str, Callable[..., ClientSampling]] = {
    "uniform": UniformSampling,
    "by-examples": ByExamples,
}
"""Names in a configuration."""

CLIENT_SAMPLING = Kind(
    "client sampling", "clients.sampling", CLIENT_SAMPLINGS, protocol=ClientSampling
)
"""How active clients can be chosen."""


def inclusion_chances(weights: NDArray[np.float64], count: int) -> Chances:
    """Chances in proportion to the weights, at most one, that add up to the number drawn.

    Args:
        weights: (n,) finite, >= 0.
        count: How many are drawn; all of positive weight if there are fewer.

    Example:
        >>> inclusion_chances(np.array([1.0, 1.0, 2.0, 8.0, 0.0]), 2)
        array([0.25, 0.25, 0.5 , 1.  , 0.  ])
    """
    chances = np.zeros(weights.size)
    able = weights > 0.0
    count = min(count, int(able.sum()))
    certain = np.zeros(weights.size, dtype=np.bool_)
    while True:
        rest = able & ~certain
        left = count - int(certain.sum())
        chances[rest] = left * weights[rest] / max(weights[rest].sum(), np.finfo(float).tiny)
        chances[certain] = 1.0
        over = rest & (chances >= 1.0)
        if not over.any():
            return chances
        certain |= over


def draw_with(chances: Chances, rng: Generator) -> NDArray[np.int64]:
    """A set of fixed size in which everybody is with its chance, in order.

    Method: `systematic` sampling of a random order, by one draw.

    Args:
        chances: (n,) in [0, 1], of a whole sum.
        rng: Draws the order and the offset.

    Source: Madow 1949, systematic sampling with unequal probabilities.

    Example:
        >>> draw_with(np.array([1.0, 0.0, 0.5, 0.5]), np.random.default_rng(0)).size
        2
    """
    order = rng.permutation(np.flatnonzero((chances > 0.0) & (chances < 1.0)))
    drawn = order[systematic(chances[order], rng.random()) > 0]
    return np.sort(np.concatenate([np.flatnonzero(chances >= 1.0), drawn]))


def systematic(pieces: NDArray[np.float64], offset: float) -> NDArray[np.int64]:
    """How many points of distance one, moved by an offset, lie in each piece of a line.

    With an offset that is uniform in [0, 1] it is on average the length of the piece, and always
    that rounded down or up.

    Args:
        pieces: (n,) lengths >= 0, of a whole sum.
        offset: In [0, 1].

    Example:
        >>> systematic(np.array([0.5, 0.25, 1.25]), 0.6)
        array([1, 0, 1])
    """
    ends = np.concatenate([[0.0], np.cumsum(pieces)])
    hits = np.floor(ends + offset)
    hits[-1] = hits[0] + round(float(ends[-1]))
    return np.diff(hits).astype(np.int64)
