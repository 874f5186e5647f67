"""Splitting one task's training examples over clients, unevenly in class.

All partitions here but `natural` give every client the same number of examples (give or take one),
or numbers by a law (`sizes`), and never fewer than `min_examples`; what varies besides is which
classes a client holds. A partition is a pure function of labels, number of clients, its own
parameters and a generator.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from fl_runtime.data.size_laws import drawn_sizes, size_law
from fl_runtime.data.splits import natural_shards
from fl_runtime.extensions import Kind
from fl_runtime.validation_errors import check_positive
from fl_runtime.whole_numbers import whole_down

Labels = NDArray[np.int64]
Shards = tuple[NDArray[np.int64], ...]


class Partition(Protocol):
    """Anything that can deal examples out to clients."""

    def split(self, labels: Labels, num_clients: int, rng: Generator) -> Shards:
        """Disjoint index arrays, one per client, that cover all examples."""
        ...


@dataclass(frozen=True)
class _Dealt:
    """What partitions that deal have in common.

    Attributes:
        sizes: Law of the clients' numbers of examples, a table with `law` and its parameters
            (`data.size_laws`); equal numbers if empty.
        min_examples: The least that a client gets.
    """

    sizes: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    min_examples: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        if self.min_examples < 1:
            raise InvalidInput("min_examples", self.min_examples, "at least 1")
        if self.sizes:
            size_law("sizes", self.sizes)

    def _sizes(self, num_examples: int, num_clients: int, rng: Generator) -> NDArray[np.int64]:
        """Examples of every client."""
        if not self.sizes:
            return shard_sizes(num_examples, num_clients, self.min_examples)
        law = size_law("sizes", self.sizes)
        return drawn_sizes(law, num_examples, num_clients, rng, least=self.min_examples)


@dataclass(frozen=True)
class IID(_Dealt):
    """A random deal: every client's class mixture is the population's."""

    def split(self, labels: Labels, num_clients: int, rng: Generator) -> Shards:
        """Shuffle and cut into parts."""
        ends = np.cumsum(self._sizes(labels.size, num_clients, rng)).tolist()
        order = rng.permutation(labels.size)
        return tuple(order[begin:end] for begin, end in itertools.pairwise([0, *ends]))


@dataclass(frozen=True)
class Dirichlet(_Dealt):
    r"""Label skew: client k draws its class mixture :math:`q_k \sim Dir(c \, \pi)`.

    Symbols: :math:`\pi` class frequencies of the task, :math:`c` = `concentration` times the number
    of classes, so that `concentration` is the parameter per class of a balanced task. Small values
    give clients that hold one or two classes; large ones approach the random deal.

    Method: clients take turns, one example each; the class is drawn from :math:`q_k` restricted to
    the classes that still have examples. When all of a client's likely classes are used up, it
    takes from what is left in proportion to what is left.

    Source: mixture per client, sizes set apart from it, Hsu, Qi and Brown 2019 (arXiv 1909.06335).

    Example:
        >>> labels = np.repeat([0, 1], 10)
        >>> shards = Dirichlet(0.3).split(labels, 4, np.random.default_rng(0))
        >>> [shard.size for shard in shards]
        [5, 5, 5, 5]
    """

    concentration: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("concentration", self.concentration)

    def split(self, labels: Labels, num_clients: int, rng: Generator) -> Shards:
        """Turn by turn, one example of a drawn class for each client."""
        sizes = self._sizes(labels.size, num_clients, rng)
        pools = _pools(labels, rng)
        left = np.array([len(pool) for pool in pools])
        prior = left / left.sum() * left.size
        mixtures = _gamma_mixtures(self.concentration * prior, num_clients, rng)
        shards: list[list[int]] = [[] for _ in range(num_clients)]
        for turn in range(int(sizes.max())):
            for client in rng.permutation(np.flatnonzero(sizes > turn)):
                drawn = _draw_class(mixtures[client], left, rng)
                left[drawn] -= 1
                shards[client].append(pools[drawn].pop())
        return tuple(np.sort(np.array(shard, dtype=np.int64)) for shard in shards)


@dataclass(frozen=True)
class MissingClasses(_Dealt):
    """Each client lacks classes: it holds `class_ratio` of them, rounded down, at least one.

    Method: a client takes the classes with most examples left (ties at random) and then deals
    itself examples from them in turn; a class that runs out is replaced by the fullest one left.

    Source: the non-iid split of the FedFairMMFL experiments (arXiv 2404.13841), reconstructed.

    Example:
        >>> labels = np.repeat(np.arange(4), 10)
        >>> shards = MissingClasses(0.5).split(labels, 4, np.random.default_rng(0))
        >>> max(len(set(labels[shard])) for shard in shards)
        2
    """

    class_ratio: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.class_ratio <= 1.0:
            raise InvalidInput("class_ratio", self.class_ratio, "in (0, 1]")

    def split(self, labels: Labels, num_clients: int, rng: Generator) -> Shards:
        """Client by client, the fullest classes first."""
        sizes = self._sizes(labels.size, num_clients, rng)
        pools = _pools(labels, rng)
        held = max(1, whole_down(self.class_ratio * len(pools)))
        return tuple(
            np.sort(np.array(_deal(pools, held, int(size), rng), dtype=np.int64)) for size in sizes
        )


@dataclass(frozen=True)
class Natural:
    """Every client holds the examples that it made, as the data say; sizes differ as they do.

    Attributes:
        min_examples: Clients with fewer training examples take no part.
    """

    min_examples: int = 1

    def split(self, labels: Labels, num_clients: int, rng: Generator) -> Shards:
        """As many of the clients as are wanted, chosen by the generator.

        Args:
            labels: (n,) who made each example, instead of its class.
            num_clients: How many of them take part.
            rng: Chooses.
        """
        return natural_shards(labels, num_clients, self.min_examples, rng)


PARTITIONS: Mapping[str, str] = {
    "iid": "a random deal",
    "dirichlet": "class mixture per client from a Dirichlet law (concentration)",
    "missing-classes": "each client lacks classes (class-ratio)",
    "natural": "clients as the data know them, of their own sizes (min-examples)",
}
"""Names in a configuration, each with a line about it."""

PARTITION = Kind(
    "partition",
    "clients.partition",
    {"iid": IID, "dirichlet": Dirichlet, "missing-classes": MissingClasses, "natural": Natural},
    Partition,
)
"""How examples can be dealt to clients."""


def shard_sizes(num_examples: int, num_clients: int, least: int = 1) -> NDArray[np.int64]:
    """Equal sizes that add up, the first ones larger by one where they must be.

    Raises:
        InvalidInput: There are fewer examples than clients, so some shard would be empty (or have
            fewer than the least).

    Example:
        >>> shard_sizes(7, 3)
        array([3, 2, 2])
    """
    if num_examples < num_clients:
        raise InvalidInput(
            "num-clients", num_clients, f"at most {num_examples}, or some client shard is empty"
        )
    if num_examples // num_clients < least:
        requirement = f"at most {num_examples // least}, for {least} or more examples each"
        raise InvalidInput("num-clients", num_clients, requirement)
    sizes = np.full(num_clients, num_examples // num_clients, dtype=np.int64)
    sizes[: num_examples % num_clients] += 1
    return sizes


def _pools(labels: Labels, rng: Generator) -> list[list[int]]:
    """Shuffled indices of each class."""
    return [rng.permutation(np.flatnonzero(labels == c)).tolist() for c in range(labels.max() + 1)]


def _gamma_mixtures(shape: NDArray[np.float64], count: int, rng: Generator) -> NDArray[np.float64]:
    """Dirichlet rows; a row that underflows to zero everywhere becomes one class."""
    rows = rng.standard_gamma(shape, size=(count, shape.size))
    rows[rows.sum(axis=1) == 0.0, int(shape.argmax())] = 1.0
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


def _draw_class(mixture: NDArray[np.float64], left: NDArray[np.int64], rng: Generator) -> int:
    """A class that still has examples, by the mixture if it has any mass there."""
    weights = mixture * (left > 0)
    if weights.sum() == 0.0:
        weights = left.astype(np.float64)
    cumulative = np.cumsum(weights)
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))


def _deal(pools: list[list[int]], held: int, size: int, rng: Generator) -> list[int]:
    """Examples for one client from its `held` fullest classes, in turn."""
    taken: list[int] = []
    mine = _fullest(pools, held, rng)
    while len(taken) < size:
        mine = [c for c in mine if pools[c]] or _fullest(pools, 1, rng)
        for c in mine[: size - len(taken)]:
            taken.append(pools[c].pop())
    return taken


def _fullest(pools: list[list[int]], count: int, rng: Generator) -> list[int]:
    """The classes with most examples left, ties at random."""
    order = rng.permutation(len(pools))
    ranked = sorted(order.tolist(), key=lambda c: -len(pools[c]))
    return [c for c in ranked[:count] if pools[c]]
