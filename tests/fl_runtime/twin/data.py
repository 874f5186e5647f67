"""Tasks from their data: three stratified parts, the training part dealt to clients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import sklearn.datasets

from fl_runtime.random_streams import stream
from tests.fl_runtime.twin import toy

Array = np.ndarray[Any, Any]


@dataclass
class Set:
    """Examples."""

    x: Array
    y: Array

    def at(self, rows: Array) -> Set:
        """Those examples."""
        return Set(self.x[rows], self.y[rows])


@dataclass
class Problem:
    """One task: its settings, its data, and the model that everybody starts from."""

    name: str
    settings: Any
    shards: list[Set]
    validation: Set
    test: Set
    initial: dict[str, Array]

    def size(self, client: int) -> int:
        """Examples of a client."""
        return len(self.shards[client].y)


@dataclass
class Raw:
    """A data set as it is loaded; `strata` are what it is cut by."""

    x: Array
    y: Array
    strata: Array
    family: str
    standardise: bool


def whole(number: float, up: bool = False) -> int:
    """A product of a decimal and a count, rounded as the decimals that were written."""
    exact = Fraction(number).limit_denominator(10**6)
    return math.ceil(exact) if up else math.floor(exact)


def load(name: str) -> Raw:
    """Iris, wine, or a function of `toy`."""
    if name in ("iris", "wine"):
        found = getattr(sklearn.datasets, f"load_{name}")()
        x, y = found.data.astype(np.float32), found.target
        return Raw(x, y, y, "", True)
    made = getattr(toy, name.rpartition(":")[2])()
    if isinstance(made, tuple):
        return Raw(made[0], made[1], made[1], "", False)
    return Raw(made.features, made.labels, made.strata, made.family, made.standardise)


def problem(section: Any, clients: Any, seed: int, initial: dict[str, Array]) -> Problem:
    """The task of one section."""
    raw = load(section.data)
    cut = raw.family or section.name
    parts: list[list[Array]] = [[], [], []]
    rng = stream(seed, "split", cut)
    for label in range(raw.strata.max() + 1):
        members = rng.permutation(np.flatnonzero(raw.strata == label))
        v = round(section.validation_fraction * members.size)
        t = round(section.test_fraction * members.size)
        for part, rows in zip(
            parts, (members[v + t :], members[:v], members[v : v + t]), strict=True
        ):
            part.append(rows)
    train, validation, test = (np.sort(np.concatenate(part)) for part in parts)
    x = raw.x.astype(np.float64)
    if raw.standardise:
        spread = x[train].std(axis=0)
        x = (x - x[train].mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)
        x = x.astype(np.float32).astype(np.float64)  # data are stored in single precision
    everything = Set(x, raw.y)
    shards = deal(raw.strata[train], clients, stream(seed, "partition", cut))
    return Problem(
        section.name,
        section,
        [everything.at(train[shard]) for shard in shards],
        everything.at(validation),
        everything.at(test),
        initial,
    )


def deal(labels: Array, clients: Any, rng: np.random.Generator) -> list[Array]:
    """Positions of every client's examples, in equal numbers."""
    n, N = labels.size, clients.num_clients
    sizes = [n // N + (k < n % N) for k in range(N)]
    if clients.partition == "iid":
        order = rng.permutation(n)
        return [order[sum(sizes[:k]) : sum(sizes[: k + 1])] for k in range(N)]
    pools = [list(rng.permutation(np.flatnonzero(labels == c))) for c in range(labels.max() + 1)]
    if clients.partition == "dirichlet":
        hands = _dirichlet(pools, sizes, clients.concentration, rng)
    else:
        held = max(1, whole(clients.class_ratio * len(pools)))
        hands = [_few_classes(pools, held, size, rng) for size in sizes]
    return [np.sort(np.array(hand)) for hand in hands]


def _dirichlet(
    pools: list[list[int]], sizes: Sequence[int], concentration: float, rng: np.random.Generator
) -> list[list[int]]:
    """In turns, one example each, of a class drawn from the client's mixture of what is left."""
    counts = np.array([len(pool) for pool in pools])
    gamma = rng.standard_gamma(
        concentration * len(pools) * counts / counts.sum(), size=(len(sizes), len(pools))
    )
    hands: list[list[int]] = [[] for _ in sizes]
    for turn in range(max(sizes)):
        for client in rng.permutation([k for k, size in enumerate(sizes) if size > turn]):
            left = np.array([len(pool) for pool in pools])
            mass = np.where(left > 0, gamma[client] / gamma[client].sum(), 0.0)
            if mass.sum() == 0.0:
                mass = left.astype(float)
            edges = np.cumsum(mass)
            drawn = int((edges <= rng.random() * edges[-1]).sum())
            hands[client].append(pools[drawn].pop())
    return hands


def _few_classes(
    pools: list[list[int]], held: int, size: int, rng: np.random.Generator
) -> list[int]:
    """From the fullest classes in turn; one that runs out makes room for the fullest left."""

    def fullest(count: int) -> list[int]:
        order = list(rng.permutation(len(pools)))
        ranked = sorted(order, key=lambda c: -len(pools[c]))
        return [int(c) for c in ranked[:count] if pools[c]]

    hand: list[int] = []
    mine = fullest(held)
    while len(hand) < size:
        mine = [c for c in mine if pools[c]]
        if not mine:
            mine = fullest(1)
        for c in mine:
            if len(hand) < size:
                hand.append(pools[c].pop())
    return hand
