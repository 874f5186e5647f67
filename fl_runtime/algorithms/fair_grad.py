"""FairGrad in training and its rivals: one trunk for all tasks, each arm with its own direction.

The step, and where it is taken, is in `shared_trunk`; an arm only names its method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairopt import InvalidInput
from fl_runtime.algorithms.base import ServerState
from fl_runtime.algorithms.fed_fair_mmfl import check_priority
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


@dataclass(frozen=True, kw_only=True)
class LinearScalarisation(SharedTrunk):
    """Shared trunk along the plain mean of the tasks."""

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """The mean."""
        return {"method": "mean"}


@dataclass(frozen=True, kw_only=True)
class MGDA(SharedTrunk):
    """Shared trunk along the shortest convex combination of the tasks' updates."""

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """The min-norm point."""
        return {"method": "min-norm"}


@dataclass(frozen=True, kw_only=True)
class PCGradTraining(SharedTrunk):
    """Shared trunk along the mean of updates freed from pairwise conflicts, in random order."""

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """PCGrad; its orders are drawn per decision."""
        return {"method": "pcgrad"}


@dataclass(frozen=True, kw_only=True)
class CAGrad(SharedTrunk):
    """Shared trunk along the conflict-averse direction around the mean.

    Attributes:
        c: Radius of the ball around the mean, relative to its length, in [0, 1).

    Source: CAGrad (arXiv 2110.14048); the rescaling of released code is what `length` decides here.
    """

    c: float = 0.4

    def __post_init__(self) -> None:
        if not 0.0 <= self.c < 1.0:
            raise InvalidInput("c", self.c, "a number in [0, 1)")

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """The conflict-averse direction."""
        return {"method": "conflict-averse", "c": self.c}


@dataclass(frozen=True, kw_only=True)
class UPGradTraining(SharedTrunk):
    """Shared trunk along the mean of all updates' projections that conflict with nobody."""

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """UPGrad."""
        return {"method": "upgrad"}
