"""Ragged shards of several clients as rectangles, with a mask for what is not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from fl_runtime.task import Examples


class Padded:
    """Examples of several clients as rectangles, and the batches to walk through."""

    def __init__(self, shards: Sequence[Examples]) -> None:
        pad = nn.utils.rnn.pad_sequence
        self.counts = [len(shard) for shard in shards]
        self.features = pad([shard.features for shard in shards], batch_first=True)
        self.labels = pad([shard.labels for shard in shards], batch_first=True)
        self._weights = (
            pad([_weights_of(shard) for shard in shards], batch_first=True)
            if any(shard.weights is not None for shard in shards)
            else None
        )

    def steps(
        self, plans: Sequence[Sequence[Tensor]]
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Per step: features (clients, batch, ...), labels, weights, and batch sizes (clients,).

        Args:
            plans: The index batches of every client.
        """
        device = self.labels.device
        index, mask = (part.to(device) for part in _rectangles(plans))
        client = torch.arange(len(plans), device=device)[:, None]
        for rows, present in zip(index, mask, strict=True):
            weights = present if self._weights is None else present * self._weights[client, rows]
            yield self.features[client, rows], self.labels[client, rows], weights, present.sum(1)


def _rectangles(plans: Sequence[Sequence[Tensor]]) -> tuple[Tensor, Tensor]:
    """Indices and mask, (steps, clients, batch), of plans of different lengths."""
    steps, width = max(map(len, plans)), max(len(batch) for plan in plans for batch in plan)
    index = torch.zeros(steps, len(plans), width, dtype=torch.int64)
    mask = torch.zeros(steps, len(plans), width)
    for client, plan in enumerate(plans):
        for step, batch in enumerate(plan):
            index[step, client, : len(batch)] = batch
            mask[step, client, : len(batch)] = 1.0
    return index, mask


def _weights_of(shard: Examples) -> Tensor:
    """Weights, ones where there are none."""
    ones = torch.ones(len(shard), device=shard.labels.device)
    return ones if shard.weights is None else shard.weights
