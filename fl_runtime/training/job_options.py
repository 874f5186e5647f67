"""Options of one job, beyond the training settings of its task.

A job carries its options as a plain mapping (`Job.config`), so that it can be written to a
checkpoint or sent over a network like the rest of it. Executors turn the mapping into `JobOptions`
once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from fairopt.errors import InvalidInput
from fl_runtime.training.examples import Examples
from fl_runtime.training.task import Params


@dataclass(frozen=True)
class JobOptions:
    """The keys that `Job.config` may have; the defaults are plain training.

    Attributes:
        proximal: FedProx's mu, the pull towards the payload, or the `anchor` if there is one.
        anchor: Entries to be pulled to; those that it does not name are not pulled.
        measure_start: Report `start_loss`, the payload's mean loss on the examples.
        measure_end: Report `end_loss`, the trained model's mean loss on the same examples.
        echo: Figures that come back unchanged with the update, for rules that weigh an update by
            what the server knew when it sent the job.
        examples: (m,) int64 positions in the client's shard to train on, repeats allowed; the whole
            shard if absent.
        weights: (m,) or (shard,) finite weights >= 0 of those examples: a step descends on
            sum_i w_i loss_i / batch, so weights of mean one keep the step size.
        joint: Train together with the jobs of this client in the batch that have the same table: of
            `method` (a name of `directions.METHODS`) with its parameters.
        shared: Names of the entries that joint jobs have in common.
    """

    proximal: float = 0.0
    anchor: Params = field(default_factory=dict)
    measure_start: bool = False
    measure_end: bool = False
    echo: Mapping[str, float] = field(default_factory=dict)
    examples: Tensor | None = None
    weights: Tensor | None = None
    joint: Mapping[str, Any] = field(default_factory=dict)
    shared: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> JobOptions:
        """The record behind a job's configuration.

        Raises:
            InvalidInput: A key that no client understands.

        Example:
            >>> JobOptions.of({"proximal": 0.1}).proximal
            0.1
        """
        if not config:
            return NO_OPTIONS
        known = {item.name for item in fields(cls)}
        unknown = sorted(config.keys() - known)
        if unknown:
            raise InvalidInput("job config", unknown[0], f"one of {', '.join(sorted(known))}")
        return cls(**config)

    def selected(self, shard: Examples) -> Examples:
        """The examples this job trains on, with their weights.

        Raises:
            InvalidInput: Positions outside the shard, none at all, or weights that do not fit.
        """
        if self.examples is None and self.weights is None:
            return shard
        chosen = shard if self.examples is None else _picked(shard, self.examples)
        if self.weights is None:
            return chosen
        return replace(chosen, weights=_fitting(self.weights, chosen))


NO_OPTIONS = JobOptions()
"""Of a job whose mapping is empty."""


def _picked(shard: Examples, index: Tensor) -> Examples:
    """The examples at those positions."""
    if index.ndim != 1 or index.numel() == 0 or index.is_floating_point():
        requirement = "a vector of at least one position"
        raise InvalidInput("job config examples", tuple(index.shape), requirement)
    if int(index.min()) < 0 or int(index.max()) >= len(shard):
        requirement = f"positions in 0 .. {len(shard) - 1}"
        raise InvalidInput("job config examples", index.tolist(), requirement)
    here = index.to(shard.targets.device)
    return replace(shard.at(here), weights=None)


def _fitting(weights: Tensor, chosen: Examples) -> Tensor:
    """The weights on the device of the examples."""
    fits = tuple(weights.shape) == (len(chosen),)
    if not fits or not bool(weights.isfinite().all()) or bool((weights < 0).any()):
        requirement = f"{len(chosen)} finite numbers >= 0, one per example"
        raise InvalidInput("job config weights", tuple(weights.shape), requirement)
    return weights.to(chosen.targets.device, torch.float32)
