"""The settings of FedRAM, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fairopt import InvalidInput
from fl_runtime.algorithms.aggregation import Aggregation
from fl_runtime.algorithms.fed_prox import FedProx
from fl_runtime.algorithms.fed_ram_state import Small
from fl_runtime.algorithms.reweighting import Absent

AUTO = "auto"
"""A rate that is found from the numbers of tasks, clients and rounds, and the largest loss."""


@dataclass(frozen=True, kw_only=True)
class FedRAMSettings(FedProx):
    """Length of the stages, steps of the weights, and what the variants of FedRAM differ in.

    Attributes:
        reference_rounds: Length of stage 1; 0: no reference, whose loss then counts as zero.
        proxy_rounds: Length of stage 2; 0: the weights stay as they begin, in proportion to a
            client's examples and equal for clients. All later rounds are the agent's.
        agent: Whether there is an agent; without, stage 2 goes on to the end, and the proxies are
            the models that are reported.
        proxy_hidden: Widths of the small models' hidden layers.
        proxy_model: Family of the small models, or a factory, as a task's model is named: another
            one than the tasks' own if wished. Empty for an `mlp` of those widths, or a `linear`
            model without any.
        proxy_delay: How long a job on a small model takes, as a multiple of one on the task's own.
        task_rate: Step of the task weights, >= 0; 0 leaves them alone; `auto` for the one that
            `fairopt.suggest_rate` gives. A client's step on the proxy of a task is scaled by its
            weight times its number of tasks, so equal weights train as usual; under `adamw`, which
            ignores scale, only the mask of `clip_gradient` acts.
        client_rate: Step of the client weights; positive as in the source's formula, negative as in
            its Theorem 2, 0 leaves them alone; `auto` likewise.
        smoothing: Share of the old task weights in the new ones.
        differential: What a client's loss after training is compared with: the `global` proxy's
            (the listing), or the `reference`'s (Theorem 2).
        absent: `frozen` client weights of those who do not answer (the source's word; that the
            others then keep their total is our reading), or `renormalise`.
        clip_gradient: A task no worse than its reference adds nothing to the proxy's step;
            otherwise (DoReMi) clipping concerns the weights alone.
        share_trunk: Whether all tasks have one trunk.
        aggregation: Of the agent's updates, times the client weights: `plain` (the source) or
            `data-weighted`.
        mu: Pull of FedProx on the agent's jobs.
    """

    mu: float = 0.0
    aggregation: Aggregation = "plain"
    reference_rounds: int = 2
    proxy_rounds: int = 10
    agent: bool = True
    proxy_hidden: tuple[int, ...] = (4,)
    proxy_model: str | dict[str, Any] = ""
    proxy_delay: float = 1.0
    task_rate: float | Literal["auto"] = 0.1
    client_rate: float | Literal["auto"] = 0.1
    smoothing: float = 0.01
    differential: Literal["global", "reference"] = "global"
    absent: Absent = "frozen"
    clip_gradient: bool = True
    share_trunk: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checks: tuple[tuple[str, Any, bool, str], ...] = (
            ("reference_rounds", self.reference_rounds, self.reference_rounds >= 0, ">= 0"),
            ("proxy_rounds", self.proxy_rounds, self.proxy_rounds >= 0, ">= 0"),
            ("proxy_hidden", self.proxy_hidden, all(w > 0 for w in self.proxy_hidden), "positive"),
            ("proxy_delay", self.proxy_delay, 0.0 < self.proxy_delay < np.inf, "finite and > 0"),
            ("task_rate", self.task_rate, _is_rate(self.task_rate, 0.0), 'finite, >= 0, or "auto"'),
            ("client_rate", self.client_rate, _is_rate(self.client_rate), 'finite, or "auto"'),
            ("smoothing", self.smoothing, 0.0 <= self.smoothing <= 1.0, "in [0, 1]"),
            ("aggregation", self.aggregation, self.aggregation != "importance", "another one"),
            ("tasks_per_client", self.tasks_per_client, self.tasks_per_client == "all", '"all"'),
        )
        for name, value, fine, requirement in checks:
            if not fine:
                raise InvalidInput(name, value, requirement)

    @property
    def small(self) -> Small:
        """What the small model of every task is."""
        return Small(self.proxy_model, self.proxy_hidden, self.proxy_delay)


def _is_rate(rate: float | str, least: float = -np.inf) -> bool:
    """Whether it is a finite number from `least` on, or left to be found."""
    return rate == AUTO if isinstance(rate, str) else least <= rate and bool(np.isfinite(rate))
