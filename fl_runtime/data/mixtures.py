r"""The mixture of strata that every client of a task holds, so that one test set serves for each.

A client has no held-out set of its own: its shard is small, and all of it is trained on. But
partitions deal examples by their stratum alone (the label, unless the data set says otherwise), so
within a stratum a client's examples are like anybody's. Hence

.. math:: a_k = \sum_c q_{k,c} \, \bar h_c

is an unbiased estimate of a model's accuracy on fresh data of client k, from the whole test set.

Symbols: :math:`q_{k,c}` share of stratum c in the shard of client k, :math:`\bar h_c` share of the
test examples of stratum c that the model gets right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Mixture:
    """Strata of one task.

    Attributes:
        test: (num_test,) stratum of every test example.
        shares: (num_clients, num_strata) shares of every client's shard; rows have sum one.
    """

    test: NDArray[np.int64]
    shares: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        strata: NDArray[np.int64],
        test: NDArray[np.int64],
        shards: Sequence[NDArray[np.int64]],
    ) -> Mixture:
        """From the strata of a data set, the positions of its test set and of every shard."""
        count, clients = int(strata.max()) + 1, len(shards)
        client = np.repeat(np.arange(clients), [shard.size for shard in shards])
        cells = client * count + strata[np.concatenate(shards)]
        sizes = np.bincount(cells, minlength=clients * count).reshape(clients, count)
        return cls(strata[test], sizes / sizes.sum(axis=1, keepdims=True))

    def of_clients(self, statistics: NDArray[np.float64]) -> NDArray[np.float64]:
        """(num_clients, m) statistics that an example of each client has, in the mean.

        Args:
            statistics: (num_test, m) of every test example.

        Example:
            >>> mixture = Mixture(np.array([0, 0, 1]), np.array([[1.0, 0.0], [0.5, 0.5]]))
            >>> mixture.of_clients(np.array([[2.0], [4.0], [1.0]])).tolist()
            [[3.0], [2.0]]
        """
        means = _means(self.test, statistics, self.shares.shape[1])
        absent = np.flatnonzero(np.isnan(means).any(axis=1))
        means[absent] = 0.0
        found = np.asarray(self.shares @ means)
        found[(self.shares[:, absent] > 0.0).any(axis=1)] = np.nan
        return found

    def local(self, hits: NDArray[np.bool_] | NDArray[np.float64]) -> NDArray[np.float64]:
        """(num_clients,) accuracy with every client's mixture.

        Args:
            hits: (num_test,) whether the model gets the test example right.

        Example:
            >>> mixture = Mixture(np.array([0, 0, 1]), np.array([[1.0, 0.0], [0.5, 0.5]]))
            >>> mixture.local(np.array([True, False, True]))
            array([0.5 , 0.75])
        """
        count = self.shares.shape[1]
        right = np.bincount(self.test, weights=hits, minlength=count)
        return np.asarray(self.shares @ (right / np.bincount(self.test, minlength=count)))


@dataclass(frozen=True, eq=False)
class OwnExamples:
    """The test examples that every client has made itself, where the data know clients.

    Then nothing needs to be assumed about strata: a client is judged by its own examples, and has
    no figure if there are none among the test examples.

    Attributes:
        client: (num_test,) which client made each test example; -1 for none that takes part.
        count: Number of clients.
    """

    client: NDArray[np.int64]
    count: int

    @classmethod
    def of(
        cls,
        made_by: NDArray[np.int64],
        test: NDArray[np.int64],
        shards: Sequence[NDArray[np.int64]],
    ) -> OwnExamples:
        """From who made each example, and the positions of the test set and of every shard."""
        place = {int(made_by[shard[0]]): k for k, shard in enumerate(shards)}
        return cls(np.array([place.get(int(who), -1) for who in made_by[test]]), len(shards))

    def of_clients(self, statistics: NDArray[np.float64]) -> NDArray[np.float64]:
        """(num_clients, m) mean statistics of each client's own examples; NaN without any.

        Example:
            >>> own = OwnExamples(np.array([0, -1, 0]), 2)
            >>> own.of_clients(np.array([[2.0], [9.0], [4.0]])).tolist()
            [[3.0], [nan]]
        """
        mine = self.client >= 0
        return _means(self.client[mine], statistics[mine], self.count)

    def local(self, hits: NDArray[np.bool_] | NDArray[np.float64]) -> NDArray[np.float64]:
        """(num_clients,) accuracy on each client's own examples; NaN without any."""
        return self.of_clients(np.asarray(hits, dtype=np.float64)[:, None])[:, 0]


def _means(
    group: NDArray[np.int64], values: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """(count, m) mean of every group's rows; NaN for a group without any."""
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, group, values)
    sizes = np.bincount(group, minlength=count)[:, None]
    return np.divide(sums, sizes, out=np.full_like(sums, np.nan), where=sizes > 0)
