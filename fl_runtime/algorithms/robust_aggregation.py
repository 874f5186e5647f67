r"""Aggregation of updates of which some are anything at all: median, trimmed mean, Krum.

A rule takes the differences :math:`\Delta_1, \dots, \Delta_n` of one task and gives what stands for
their mean. Weights play no part: whoever lies about an update lies about its examples as well, so
these rules take every update once, whatever `aggregation` says, as in their sources. The order of
updates plays no part either (ties go to the client with the lowest number).

Updates that are not finite never come here: the loop rejects them before (`running.step`), and they
count as missing, not as faulty.

Every rule says how many updates it needs (`fewest`). A task that has fewer in a round, because
jobs were lost, keeps its model: a mean of too few would have no guarantee.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fairopt.errors import InvalidInput
from fl_runtime.algorithms.aggregation import weighted_sum
from fl_runtime.extensions import Kind
from fl_runtime.training.stacks import gathered
from fl_runtime.training.task import Params
from fl_runtime.whole_numbers import whole_down


class RobustRule(Protocol):
    """What stands for the mean of updates."""

    @property
    def fewest(self) -> int:
        """Updates of a task that it needs."""
        ...

    def combine(self, deltas: Sequence[Params]) -> Params:
        """One difference for all, entry by entry; at least `fewest` are given."""
        ...


@dataclass(frozen=True)
class Median:
    r"""The median of every coordinate; of an even number the mean of the middle two.

    Guarantee: with less than half of the updates faulty, every coordinate lies between the least
    and the greatest of the honest ones. It commutes with shifts and factors of all updates.

    Source: Yin et al. 2018 (arXiv 1803.01498), definition 1.

    Example:
        >>> Median().combine([{"w": torch.tensor([x])} for x in (0.0, 1.0, 1e9)])
        {'w': tensor([1.])}
    """

    @property
    def fewest(self) -> int:
        """One."""
        return 1

    def combine(self, deltas: Sequence[Params]) -> Params:
        """Of every coordinate."""
        return {key: _middle(rows, (len(rows) - 1) // 2) for key, rows in _stacked(deltas).items()}


@dataclass(frozen=True, kw_only=True)
class TrimmedMean:
    r"""The mean of every coordinate without its k greatest and k least values.

    .. math:: k = \max(1, \lfloor \beta n \rfloor)

    Attributes:
        fraction: :math:`\beta`, in (0, 1/2).

    Guarantee: with at most k faulty updates of n, every coordinate lies between the least and the
    greatest of the honest ones. It commutes with shifts and factors of all updates.

    Source: Yin et al. 2018 (arXiv 1803.01498), definition 2; at least one is left out, for few
    updates.

    Example:
        >>> TrimmedMean(fraction=0.25).combine([{"w": torch.tensor([x])} for x in (0.0, 1.0, 3, 9)])
        {'w': tensor([2.])}
    """

    fraction: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 < self.fraction < 0.5:
            raise InvalidInput("fraction", self.fraction, "in (0, 1/2)")

    @property
    def fewest(self) -> int:
        """Three: one is left between the others."""
        return 3

    def trimmed(self, count: int) -> int:
        """How many of so many updates are left out at either end."""
        return max(1, whole_down(self.fraction * count))

    def combine(self, deltas: Sequence[Params]) -> Params:
        """Of every coordinate."""
        out = self.trimmed(len(deltas))
        return {key: _middle(rows, out) for key, rows in _stacked(deltas).items()}


@dataclass(frozen=True, kw_only=True)
class Krum:
    r"""The update that is nearest to its neighbours.

    .. math:: s_i = \sum_{j \in N_i} \|\Delta_i - \Delta_j\|^2

    with :math:`N_i` the :math:`n - f - 2` updates that are closest to i; the one with the least
    score is taken.

    Attributes:
        num_byzantine: f, faulty updates that it is made for.

    Guarantee: with at most f faulty updates of n and D the largest distance between honest ones,
    what it takes is within :math:`D \sqrt{(n - f - 2) / (n - 2 f - 1)}` of an honest update: if it
    is not honest itself, at least n - 2 f - 1 of its neighbours are, and its score is at most that
    of an honest one, which is at most :math:`(n - f - 2) D^2`. It commutes with shifts and factors
    of all updates.

    Source: Blanchard et al. 2017 (arXiv 1703.02757), section 4, for n > 2 f + 2.

    Example:
        >>> near = [{"w": torch.tensor([x])} for x in (1.0, 2.0, 3.0, 5.0)]
        >>> Krum(num_byzantine=1).combine([{"w": torch.tensor([-99.0])}, *near])
        {'w': tensor([2.])}
    """

    num_byzantine: int = 1

    def __post_init__(self) -> None:
        _check_faulty(self.num_byzantine)

    @property
    def fewest(self) -> int:
        """2 f + 3."""
        return 2 * self.num_byzantine + 3

    def combine(self, deltas: Sequence[Params]) -> Params:
        """The best one, of several with one score the first."""
        best = krum_order(deltas, self.num_byzantine)[0]
        return {key: value.clone() for key, value in deltas[best].items()}


@dataclass(frozen=True, kw_only=True)
class MultiKrum:
    """The mean of the updates with the least scores of Krum.

    Attributes:
        num_byzantine: f, faulty updates that it is made for.
        selected: How many are averaged; None for n - f - 2.

    Guarantee: each of them is as near an honest update as Krum's, since n - f scores or more, those
    of the honest, are at most :math:`(n - f - 2) D^2`, and fewer are averaged. So their mean is as
    near the convex hull of the honest ones. It commutes with shifts and factors of all updates.

    Source: Blanchard et al. 2017 (arXiv 1703.02757), section 7; El Mhamdi et al. 2018 (arXiv
    1802.07927) for n - f - 2.
    """

    num_byzantine: int = 1
    selected: int | None = None

    def __post_init__(self) -> None:
        _check_faulty(self.num_byzantine)
        if self.selected is not None and self.selected < 1:
            raise InvalidInput("selected", self.selected, "an integer >= 1")

    @property
    def fewest(self) -> int:
        """2 f + 3, and f + 2 more than are averaged."""
        return max(self.num_byzantine + 1, self.selected or 0) + self.num_byzantine + 2

    def combine(self, deltas: Sequence[Params]) -> Params:
        """Of the best ones, all alike."""
        count = self.selected or len(deltas) - self.num_byzantine - 2
        best = sorted(krum_order(deltas, self.num_byzantine)[:count])
        return weighted_sum([deltas[index] for index in best], [1.0 / count] * count)


ROBUST_RULES: Mapping[str, Callable[..., RobustRule]] = {
    "median": Median,
    "trimmed-mean": TrimmedMean,
    "krum": Krum,
    "multi-krum": MultiKrum,
}
"""Names in a configuration."""

ROBUST_RULE = Kind("robust aggregation", "server.aggregation", ROBUST_RULES, RobustRule)
"""What can stand for the mean of a task's updates."""


def krum_order(deltas: Sequence[Params], faulty: int) -> list[int]:
    """Positions of the updates by their scores, the least first, of equal ones in their order.

    Example:
        >>> krum_order([{"w": torch.tensor([x])} for x in (9.0, 1.0, 2.0, 2.5, 3.0)], 1)
        [3, 2, 4, 1, 0]
    """
    squares = _squared_distances(deltas)
    squares.fill_diagonal_(torch.inf)
    nearest = squares.sort(dim=1).values[:, : len(deltas) - faulty - 2]
    return torch.argsort(nearest.sum(dim=1), stable=True).tolist()


def _squared_distances(deltas: Sequence[Params]) -> Tensor:
    """(n, n) in float64, from differences: no digits cancel, and small integers are exact."""
    count = len(deltas)
    found = torch.zeros(count, count, dtype=torch.float64)
    for rows in _stacked(deltas).values():
        flat = rows.flatten(1).double()
        for index in range(count):
            found[index] += (flat - flat[index]).square().sum(dim=1).cpu()
    return found


def _middle(rows: Tensor, out: int) -> Tensor:
    """The mean over the first axis without so many values at either end of each coordinate.

    It is taken in float64, so that rounding cannot leave the range of what is averaged.
    """
    kept = rows.sort(dim=0).values[out : len(rows) - out]
    return kept.double().mean(dim=0).to(rows.dtype)


def _stacked(deltas: Sequence[Params]) -> dict[str, Tensor]:
    """Entries of all updates, one behind the other."""
    with torch.no_grad():
        stack = gathered(deltas)
        if stack is not None:
            return stack
        return {key: torch.stack([delta[key] for delta in deltas]) for key in deltas[0]}


def _check_faulty(count: int) -> None:
    """A number of faulty updates."""
    if count < 0:
        raise InvalidInput("num_byzantine", count, "an integer >= 0")
