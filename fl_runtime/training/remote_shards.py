"""Shards whose examples are elsewhere: with the nodes of a federation, or with other processes.

`Task.shards` is a sequence of examples, one set per client, in one of three forms. `Shards` (views
of one tensor, or any tuple) and `LazyShards` are local: a client can be trained here. Of
`RemoteShards` only the numbers are known, which is all that a server needs: how many clients there
are, and how many examples each of them has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn, overload

from fairopt.errors import InvalidInput
from fl_runtime.training.examples import Examples
from fl_runtime.training.task import Task


class RemoteShards(Sequence[Examples]):
    """The number of examples of every client, and nothing else.

    Attributes:
        sizes: Examples of every client.

    Example:
        >>> shards = RemoteShards([3, 5])
        >>> len(shards), shards.sizes
        (2, (3, 5))
        >>> shards[1]
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: examples = 'client 1', but it must be those of a client...
    """

    elsewhere = True

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(int(size) for size in sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, client: int) -> NoReturn: ...
    @overload
    def __getitem__(self, client: slice) -> NoReturn: ...
    def __getitem__(self, client: int | slice) -> NoReturn:
        """Nobody here has them.

        Raises:
            InvalidInput: Always.
            IndexError: There is no such client.
        """
        which = client if isinstance(client, slice) else range(len(self))[client]
        requirement = "those of a client that is in this process: here only their number is known"
        raise InvalidInput("examples", f"client {which}", requirement)


def without_examples(task: Task, sizes: Sequence[int] | None = None) -> Task:
    """The task as a server knows it: the held-out sets, and how much every client has.

    What shards are made of (`Task.mixture`) is not known either.

    Args:
        task: The task.
        sizes: Examples of every client, as its node told; those of the task's own shards if None.

    Raises:
        InvalidInput: A client has none.
    """
    counts = task.sizes if sizes is None else sizes
    return replace(task, shards=RemoteShards(counts), mixture=None)
