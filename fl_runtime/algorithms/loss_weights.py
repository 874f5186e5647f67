r"""Rivals of FairGrad that weigh the tasks by their losses, on a trunk that tasks share.

The trunk moves along :math:`\sum_k w_k \Delta_k`, where the weights come from the losses alone (the
rules are in `fairopt.torch.loss_methods`); with `length = "mean"` only their ratios matter. Heads
follow their own loss, as with every other direction, while the papers weigh them too.

**Where.** On clients a step's losses are those of its batches. What is learnt, one number per task,
is sent with a job, moved at every step, and averaged by the server like a parameter
(`method_memory`). The server's losses are the tasks' mean training losses of a round, and one round
is one step of what it learns. An epoch of the dynamic weight average is a round in both cases:
clients are sent the losses of the last two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fairopt import InvalidInput
from fl_runtime.algorithms.shared_trunk import SharedTrunk
from fl_runtime.algorithms.trunk_directions import LinearScalarisation
from fl_runtime.validation_errors import check_positive


@dataclass(frozen=True, kw_only=True)
class ScaleInvariant(LinearScalarisation):
    """Shared trunk along the mean of the tasks under the logarithm of their losses.

    Source: the scale-invariant baseline of Nash-MTL (arXiv 2202.01017) and FAMO (2306.03792).
    """

    loss_alpha: float = 1.0


@dataclass(frozen=True, kw_only=True)
class RandomLossWeighting(SharedTrunk):
    """Shared trunk along random weights: the softmax of normal numbers, drawn per decision.

    Source: Lin et al. (arXiv 2111.10603).
    """

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """RLW."""
        return {"method": "rlw"}


@dataclass(frozen=True, kw_only=True)
class DynamicWeightAverage(SharedTrunk):
    """Shared trunk with more weight for tasks whose training loss fell least between two rounds.

    Attributes:
        temperature: Of the softmax of the ratios of losses, > 0; large ones weigh all alike.

    Source: Liu, Johns and Davison (arXiv 1803.10704), equation (7).
    """

    temperature: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("temperature", self.temperature)

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """DWA."""
        return {"method": "dwa", "temperature": self.temperature}


@dataclass(frozen=True, kw_only=True)
class _Learning(SharedTrunk):
    """What those share that learn a number per task.

    Attributes:
        rate: Step length of Adam for these numbers.
    """

    rate: float = 0.025

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("rate", self.rate)


@dataclass(frozen=True, kw_only=True)
class UncertaintyWeighting(_Learning):
    """Shared trunk with weights exp(-s) / 2 for learnt log variances s, at rest 1 / (2 loss).

    Source: Kendall, Gal and Cipolla (arXiv 1705.07115), equation (7).
    """

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """Uncertainty weighting."""
        return {"method": "uw", "rate": self.rate}


@dataclass(frozen=True, kw_only=True)
class IMTLLTraining(_Learning):
    """Shared trunk with weights exp(s) for learnt scales s, at rest 1 / loss: IMTL-L.

    Source: Liu et al., Towards impartial multi-task learning (ICLR 2021), its loss balance.
    """

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """IMTL-L."""
        return {"method": "imtl-l", "rate": self.rate}


@dataclass(frozen=True, kw_only=True)
class FAMOTraining(_Learning):
    """Shared trunk with learnt weights under which all log losses fall alike: FAMO, on clients.

    Attributes:
        where: `client` alone: the losses of the same examples are compared before and after a step,
            which costs a further forward pass.
        decay: Pull of the learnt logits to zero, >= 0.

    Source: Liu et al. (arXiv 2306.03792), algorithm 1.
    """

    where: Literal["server", "client"] = "client"
    decay: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.where != "client":
            requirement = '"client": famo compares losses before and after a step on a batch'
            raise InvalidInput("where", self.where, requirement)
        if not 0.0 <= self.decay < float("inf"):
            raise InvalidInput("decay", self.decay, "finite and >= 0")

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """FAMO."""
        return {"method": "famo", "rate": self.rate, "decay": self.decay}
