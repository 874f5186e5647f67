"""Splits and clients that data bring along, instead of drawn ones."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from fl_runtime.data.dataset import PARTS, Data, Dataset

Index = NDArray[np.int64]


def official_split(
    dataset: Dataset | Data, validation_fraction: float, rng: Generator, *, argument: str
) -> tuple[Index, Index, Index]:
    """Train, validation and test positions, as the data are marked.

    Where no example is marked as validation, the given share of each class of the training
    examples is.

    Args:
        dataset: With marks (`Dataset.split`).
        validation_fraction: Share of the training examples, if it has to be cut from them.
        rng: Draws which.
        argument: Key of the configuration, for the error message.

    Raises:
        InvalidInput: There are no marks, or a class is absent from a part.
    """
    if dataset.split is None:
        raise InvalidInput(argument, "official", "used with data that have such a split")
    train, validation, test = (np.flatnonzero(dataset.split == part) for part in PARTS)
    kinds = dataset.cut_by
    if validation.size == 0:
        drawn = [
            rng.permutation(members)[: round(validation_fraction * members.size)]
            for members in (train[kinds[train] == kind] for kind in range(int(kinds.max()) + 1))
        ]
        validation = np.sort(np.concatenate(drawn))
        train = np.setdiff1d(train, validation)
    for name, part in zip(PARTS, (train, validation, test), strict=True):
        absent = np.setdiff1d(np.unique(kinds), kinds[part])
        if absent.size:
            requirement = f"used with a {name} part that has every class (class {absent[0]} has no"
            raise InvalidInput(argument, "official", f"{requirement} example there)")
    return train, validation, test


def split_per_client(
    clients: Index | None, fractions: tuple[float, float], rng: Generator, *, argument: str
) -> tuple[Index, Index, Index]:
    """Train, validation and test positions: of every client's examples the same shares, rounded.

    Args:
        clients: (n,) who made each example.
        fractions: Shares of the validation and the test part.
        rng: Draws which.
        argument: Key of the configuration, for the error message.

    Raises:
        InvalidInput: Nobody knows the clients, or they are too small for a held-out example.

    Example:
        >>> made_by = np.repeat([4, 9], [10, 5])
        >>> rng = np.random.default_rng(0)
        >>> parts = split_per_client(made_by, (0.2, 0.2), rng, argument="split")
        >>> [np.bincount(made_by[part])[[4, 9]].tolist() for part in parts]
        [[6, 3], [2, 1], [2, 1]]
    """
    if clients is None:
        requirement = "used with data that say who made each example"
        raise InvalidInput(argument, "per-client", requirement)
    held: tuple[list[Index], ...] = ([], [], [])
    for members in _by_client(clients):
        mixed = rng.permutation(members)
        ends = np.cumsum([round(fraction * mixed.size) for fraction in fractions])
        for part, mine in zip(held, np.split(mixed, ends), strict=True):
            part.append(mine)
    validation, test, train = (np.sort(np.concatenate(part)) for part in held)
    if min(validation.size, test.size, train.size) == 0:
        requirement = "used with clients of enough examples for three parts"
        raise InvalidInput(argument, "per-client", requirement)
    return train, validation, test


def _by_client(clients: Index) -> list[Index]:
    """Positions of each client's examples, clients in the order of their numbers."""
    order = np.argsort(clients, kind="stable")
    _, starts = np.unique(clients[order], return_index=True)
    return np.split(order, starts[1:])


def natural_shards(
    clients: Index, num_clients: int, min_examples: int, rng: Generator
) -> tuple[Index, ...]:
    """The examples of clients that the data know, one shard for each.

    Args:
        clients: (n,) who made each example.
        num_clients: How many of them take part; the seed chooses.
        min_examples: Who has made fewer takes no part.
        rng: Chooses.

    Returns:
        Positions per client, clients in the order of their numbers.

    Raises:
        InvalidInput: There are not so many clients.

    Example:
        >>> made_by = np.array([7, 7, 3, 9, 3])
        >>> natural_shards(made_by, 2, 2, np.random.default_rng(0))
        (array([2, 4]), array([0, 1]))
    """
    order = np.argsort(clients, kind="stable")
    _, starts, sizes = np.unique(clients[order], return_index=True, return_counts=True)
    able = np.flatnonzero(sizes >= min_examples)
    if able.size < num_clients:
        requirement = f"at most {able.size}, the clients with {min_examples} or more examples"
        raise InvalidInput("num-clients", num_clients, requirement)
    chosen = np.sort(rng.choice(able, num_clients, replace=False))
    return tuple(order[starts[k] : starts[k] + sizes[k]] for k in chosen.tolist())
