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
