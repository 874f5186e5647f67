"""What travels between server and clients: jobs out, updates back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fl_runtime.training.stacks import Row
from fl_runtime.training.task import Params


@dataclass(frozen=True)
class Job:
    """What one client is to train: a model, a seed, and options.

    Attributes:
        task: Name of the task to train.
        client: Index of the client.
        version: Version of the model it starts from (the server round in synchronous systems).
        sent_at: Virtual time of dispatch.
        payload: Parameters to start from.
        seed: Seed of all randomness of this job.
        client_state: What the client keeps between its jobs (personal parts, optimiser state).
        config: Options beyond the task's training settings, plain values and tensors; the keys are
            the attributes of `job_options.JobOptions`.
    """

    task: str
    client: int
    version: int
    sent_at: float
    payload: Params
    seed: int
    client_state: Mapping[str, Tensor] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Update:
    """What a client sends back.

    Attributes:
        task: Name of the task.
        client: Index of the client.
        version: Version the client started from.
        delta: Trained parameters minus the payload.
        num_examples: Examples trained on, the weight of this update in a mean.
        client_state: What the client keeps.
        metrics: Figures of the training: `train_loss`, `learning_rate`, the job's `echo`, and
            `start_loss` and `end_loss` if its options say so.
        payload: Parameters that the client started from; the loop puts them here, not an executor.
        num_steps: Steps of the local optimiser.
    """

    task: str
    client: int
    version: int
    delta: Params
    num_examples: int
    client_state: Mapping[str, Tensor] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    payload: Params = field(default_factory=dict)
    num_steps: int = 0

    @property
    def is_finite(self) -> bool:
        """Whether every entry of the difference is a finite number."""
        return are_finite([self])[0]


def are_finite(updates: Sequence[Update]) -> list[bool]:
    """Whether every entry of each difference is a finite number; a device is asked once for all.

    Example:
        >>> good, bad = (Update("a", 0, 0, {"w": torch.tensor([x])}, 1) for x in (1.0, torch.nan))
        >>> are_finite([good, bad])
        [True, False]
    """
    alone = [update for update in updates if not isinstance(update.delta, Row)]
    flags = [_finite(update.delta) for update in alone]
    answers = iter(torch.stack(flags).tolist() if flags else [])
    return [
        update.delta.is_finite if isinstance(update.delta, Row) else next(answers)
        for update in updates
    ]


def _finite(delta: Params) -> Tensor:
    """Whether all numbers are finite, on their device."""
    flags = [torch.isfinite(value).all() for value in delta.values()]
    return torch.stack(flags).all() if flags else torch.tensor(True)
