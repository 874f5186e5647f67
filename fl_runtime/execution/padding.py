"""Ragged shards of several clients as rectangles, with a mask for what is not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl_runtime.data.inputs import each, together
from fl_runtime.random_streams import shuffled_orders
from fl_runtime.training.examples import Examples
from fl_runtime.training.task import LocalTraining


@dataclass(frozen=True)
class Padded:
    """Examples of several clients as rectangles.

    Attributes:
        features: (clients, longest, ...), zeros where a client has no more examples; or such by
            name.
        targets: (clients, longest, ...), likewise.
        weights: (clients, longest), or None where all examples weigh one.
        counts: (clients,) examples of each.
        rows: (m,) the clients to train, as rows of the rectangles.
    """

    features: Any
    targets: Tensor
    weights: Tensor | None
    counts: Tensor
    rows: Tensor

    @classmethod
    def of(cls, shards: Sequence[Examples]) -> Padded:
        """All of these shards, each a row."""
        pad = partial(nn.utils.rnn.pad_sequence, batch_first=True)
        device = shards[0].targets.device
        weighted = any(shard.weights is not None for shard in shards)
        return cls(
            together(pad, [shard.features for shard in shards]),
            pad([shard.targets for shard in shards]),
            pad([_weights_of(s) for s in shards]) if weighted else None,
            torch.tensor([len(shard) for shard in shards], device=device),
            torch.arange(len(shards), device=device),
        )

    def only(self, clients: Sequence[int]) -> Padded:
        """The same rectangles, of which those clients are trained."""
        rows = torch.tensor(clients, device=self.rows.device)
        return Padded(self.features, self.targets, self.weights, self.counts, rows)

    def sizes(self) -> list[int]:
        """Examples of each client that is trained."""
        sizes: list[int] = self.counts[self.rows].tolist()
        return sizes

    def steps(self, plan: Plan) -> Iterator[tuple[Any, Tensor, Tensor, Tensor]]:
        """Per step: features (m, batch, ...), targets, weights, and which examples there are."""
        device, client = self.targets.device, self.rows[:, None]
        whole = torch.from_numpy(plan.index).to(device)
        masks = torch.from_numpy(plan.mask).to(device)
        for index, mask in zip(whole, masks, strict=True):
            weights = mask if self.weights is None else mask * self.weights[client, index]
            features = each(itemgetter((client, index)), self.features)
            yield features, self.targets[client, index], weights, mask


@dataclass(frozen=True)
class Plan:
    """Which examples every client uses in every step.

    Attributes:
        index: (steps, clients, batch) int64 positions in each client's shard.
        mask: (steps, clients, batch) float32, 1 for examples and 0 for padding.
    """

    index: NDArray[np.int64]
    mask: NDArray[np.float32]

    @classmethod
    def shuffled(cls, counts: Sequence[int], settings: LocalTraining, seeds: Sequence[int]) -> Plan:
        """Every pass in a fresh order: `local_training.index_batches` for all clients at once."""
        orders = np.zeros((len(counts), settings.local_epochs, max(counts)), dtype=np.int64)
        sizes, all_seeds = np.asarray(counts), np.asarray(seeds, dtype=np.uint64)
        for count in np.unique(sizes):
            mine = np.flatnonzero(sizes == count)
            found = shuffled_orders(all_seeds[mine].tolist(), settings.local_epochs, int(count))
            orders[mine, :, :count] = found
        return cls.of(orders, counts, settings.batch_size)

    @classmethod
    def in_order(cls, counts: Sequence[int], batch_size: int) -> Plan:
        """One pass in the order of the shard."""
        orders = np.broadcast_to(np.arange(max(counts)), (len(counts), 1, max(counts)))
        return cls.of(orders, counts, batch_size)

    @classmethod
    def of(cls, orders: NDArray[np.int64], counts: Sequence[int], batch_size: int) -> Plan:
        """Batches of given orders, (clients, passes, longest), filled up to each client's count."""
        passes, longest = orders.shape[1:]
        width, size = min(batch_size, longest), np.asarray(counts)
        batches = -(-size // width)
        step = np.arange(int(batches.max()) * passes)[:, None]
        turn, batch = step // batches, step % batches
        place = batch[:, :, None] * width + np.arange(width)
        present = (turn[:, :, None] < passes) & (place < size[:, None])
        client = np.arange(len(size))[:, None]
        index = orders[
            client, np.minimum(turn, passes - 1)[:, :, None], np.where(present, place, 0)
        ]
        return cls(np.where(present, index, 0), present.astype(np.float32))

    @property
    def full_steps(self) -> int:
        """Steps, counted from the first, in which every client has examples."""
        return int((self.mask[:, :, 0] > 0).all(axis=1).sum())


def _weights_of(shard: Examples) -> Tensor:
    """Weights, ones where there are none."""
    ones = torch.ones(len(shard), device=shard.targets.device)
    return ones if shard.weights is None else shard.weights
