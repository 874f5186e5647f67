"""FairGrad in training: one trunk for all tasks, along the direction that is fair to all.

The step, and where it is taken, is in `shared_trunk`; other directions are in `trunk_directions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairopt import InvalidInput
from fl_runtime.algorithms.base import ServerState, check_priority
from fl_runtime.algorithms.shared_trunk import SharedTrunk
from fl_runtime.training.federation import Federation


@dataclass(frozen=True, kw_only=True)
class FairGradTraining(SharedTrunk):
    """Shared trunk along the alpha-fair direction of FairGrad.

    Attributes:
        alpha: Utility power in [0, inf]; 1 is `nash`, inf is max-min.
        priority: One positive weight per task, or empty for equal weights.

    Source: FairGrad (arXiv 2402.15638), A w = w^(-1/alpha) with A the Gram matrix of the tasks.
    """

    alpha: float = 2.0
    priority: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.alpha >= 0.0:
            raise InvalidInput("alpha", self.alpha, "a number in [0, inf]")

    def init(self, federation: Federation, seed: int) -> ServerState:
        """Initial models, if the priorities fit the tasks."""
        check_priority(self.priority, len(federation.tasks))
        return super().init(federation, seed)

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """FairGrad, with priorities by task."""
        table = {"method": "fair-grad", "alpha": self.alpha}
        if not self.priority:
            return table
        return {**table, "priority": dict(zip(tasks, self.priority, strict=True))}


@dataclass(frozen=True, kw_only=True)
class Nash(SharedTrunk):
    """Shared trunk along the Nash bargaining direction: FairGrad with alpha 1."""

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """FairGrad with alpha 1, exactly solved."""
        return {"method": "fair-grad", "alpha": 1.0}
