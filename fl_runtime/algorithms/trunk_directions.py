"""Rivals of FairGrad: other directions for a trunk that tasks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairopt import InvalidInput
from fl_runtime.algorithms.shared_trunk import SharedTrunk


@dataclass(frozen=True, kw_only=True)
class LinearScalarisation(SharedTrunk):
    """Shared trunk along the plain mean of the tasks."""

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """The mean."""
        return {"method": "mean"}


@dataclass(frozen=True, kw_only=True)
class MGDA(SharedTrunk):
    """Shared trunk along the min-norm point of the convex hull of the tasks' updates."""

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """Weights of the min-norm point."""
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
        super().__post_init__()
        if not 0.0 <= self.c < 1.0:
            raise InvalidInput("c", self.c, "a number in [0, 1)")

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """The conflict-averse direction."""
        return {"method": "conflict-averse", "c": self.c}


@dataclass(frozen=True, kw_only=True)
class UPGradTraining(SharedTrunk):
    """Shared trunk along the mean of the non-conflicting projections of all updates."""

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """UPGrad."""
        return {"method": "upgrad"}
