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


@dataclass(frozen=True, kw_only=True)
class GradVacTraining(SharedTrunk):
    """Shared trunk along updates turned towards the angles that their pairs usually have.

    Attributes:
        beta: How fast the angles aimed at follow those that are seen, in [0, 1]; 0 is PCGrad.

    Where clients reconcile their tasks they report the angles, and the server takes their mean.

    Source: Wang et al. (arXiv 2010.05874), algorithm 1.
    """

    beta: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.beta <= 1.0:
            raise InvalidInput("beta", self.beta, "a number in [0, 1]")

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """GradVac; its orders are drawn per decision."""
        return {"method": "gradvac", "beta": self.beta}


@dataclass(frozen=True, kw_only=True)
class AlignedMTLTraining(SharedTrunk):
    """Shared trunk along the mean of updates made orthogonal and equally long: Aligned-MTL.

    Source: Senushkin et al. (arXiv 2305.19000), algorithm 1.
    """

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """Aligned-MTL."""
        return {"method": "aligned-mtl"}


@dataclass(frozen=True, kw_only=True)
class IMTLGTraining(SharedTrunk):
    """Shared trunk along the direction with equal projections on all updates: IMTL-G.

    It may climb in every task (`fairopt.rivals.imtl_g`).

    Source: Liu et al., Towards impartial multi-task learning (ICLR 2021), its gradient balance.
    """

    def table(self, tasks: Sequence[str]) -> Mapping[str, Any]:
        """IMTL-G."""
        return {"method": "imtl-g"}
