"""Shards that are loaded when they are used, and forgotten when others need the memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, overload

from fl_runtime.data.inputs import parts_of
from fl_runtime.training.examples import Examples

SHARD_CACHE = 256 * 2**20
"""Bytes of shards that are kept unless a run says otherwise."""


class LazyShards(Sequence[Examples]):
    """One set of examples per client, of which the last used ones are in memory.

    Attributes:
        sizes: Examples of every client, which are known without loading any.

    Example:
        >>> import torch
        >>> loaded = []
        >>> def load(client):
        ...     loaded.append(client)
        ...     return Examples(torch.zeros(2, 3), torch.zeros(2))
        >>> shards = LazyShards(load, [2, 2, 2], limit=64)
        >>> [len(shards[k]) for k in (0, 1, 1, 0, 2, 0)], loaded
        ([2, 2, 2, 2, 2, 2], [0, 1, 2])
    """

    def __init__(
        self, load: Callable[[int], Examples], sizes: Sequence[int], *, limit: int = SHARD_CACHE
    ) -> None:
        """Nothing is loaded yet.

        Args:
            load: Gives the examples of a client, the same at every call.
            sizes: Examples of every client.
            limit: Bytes that are kept; what is in use stays for its user in any case.
        """
        self.sizes = tuple(int(size) for size in sizes)
        self._load, self._limit, self._bytes = load, limit, 0
        self._kept: OrderedDict[int, Examples] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing_loaded, (self._load, self.sizes, self._limit)

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, client: int) -> Examples: ...
    @overload
    def __getitem__(self, client: slice) -> list[Examples]: ...
    def __getitem__(self, client: int | slice) -> Examples | list[Examples]:
        """The examples of a client."""
        if isinstance(client, slice):
            return [self[k] for k in range(*client.indices(len(self)))]
        place = range(len(self))[client]
        if place in self._kept:
            self._kept.move_to_end(place)
            return self._kept[place]
        found = self._load(place)
        self._keep(place, found)
        return found

    def _keep(self, place: int, found: Examples) -> None:
        """Keep it instead of what was not used for longest."""
        size = bytes_of(found)
        while self._kept and self._bytes + size > self._limit:
            _, gone = self._kept.popitem(last=False)
            self._bytes -= bytes_of(gone)
        if size <= self._limit:
            self._kept[place] = found
            self._bytes += size


def _nothing_loaded(
    load: Callable[[int], Examples], sizes: Sequence[int], limit: int
) -> LazyShards:
    """The same shards in another process, of which none is in memory yet."""
    return LazyShards(load, sizes, limit=limit)


def bytes_of(examples: Examples) -> int:
    """Bytes of examples and targets."""
    tensors = (*parts_of(examples.features).values(), examples.targets)
    return sum(part.numel() * part.element_size() for part in tensors)
