"""Who takes part in a step, on this rank and on all."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from fairopt.arrays import Array
from fairopt.errors import InvalidInput
from fairopt.solution import Solution, Status
from fairopt.torch.loss_methods import AtLosses, LossMethod, is_loss_method
from fairopt.torch.methods import Method, for_tasks
from fairopt.torch.step.accumulate import copied
from fairopt.torch.step.autograd_graph import Graph
from fairopt.torch.step.decide import Decision
from fairopt.torch.step.differentiate import Way
from fairopt.torch.step.gradient_rows import Rows
from fairopt.torch.step.losses import Tasks, no_way
from fairopt.torch.step.ranks import Ranks


@dataclass(frozen=True)
class Plan:
    """The tasks and parameters of one step.

    Attributes:
        tasks: All K of them.
        chosen: Those that are present on some rank.
        way: From their losses to the shared parameters that one of them reaches on some rank.
        heads: Other parameters, the same on all ranks, that one of them reaches on some rank.
        ranks: To add up over.
    """

    tasks: Tasks
    chosen: list[int]
    way: Way
    heads: list[Tensor]
    ranks: Ranks

    @classmethod
    def of(
        cls,
        tasks: Tasks,
        losses: Sequence[Tensor],
        parameters: Sequence[Tensor],
        ranks: Ranks,
        features: Sequence[Tensor],
    ) -> Plan:
        """Agree with the other ranks.

        Raises:
            InvalidInput: if no loss that counts reaches a shared parameter, on any rank.
        """
        like = next((x for x, here in zip(losses, tasks.present, strict=True) if here), losses[0])
        somewhere = ranks.anywhere(tasks.present, like)
        chosen = [k for k, there in enumerate(somewhere) if there]
        counted = [losses[k] if tasks.present[k] else _nothing(like) for k in chosen]
        graph = Graph.of(counted)
        flags = ranks.anywhere([graph.reaches(p) for p in parameters], like)
        reached = [p for p, there in zip(parameters, flags, strict=True) if there]
        if chosen and not reached:
            raise no_way(parameters)
        way = Way.of(graph, counted, reached, parameters, features)
        if ranks.alone:
            return cls(tasks, chosen, way, way.heads, ranks)
        shared = {id(p) for p in parameters}
        heads = [leaf for leaf in Graph.of(losses).leaves if id(leaf) not in shared]
        ranks.check_alike([p.numel() for p in heads], like)
        own = {id(p) for p in way.heads}
        flags = ranks.anywhere([id(p) in own for p in heads], like)
        return cls(
            tasks, chosen, way, [p for p, there in zip(heads, flags, strict=True) if there], ranks
        )

    @property
    def K(self) -> int:
        """Tasks, absent ones included."""
        return len(self.tasks.values)

    def method(self, method: Method | LossMethod, scale: float) -> Method:
        """As one that solves a Gram matrix of the tasks that count; `scale` is that of the losses.

        A method that weighs losses sees those of all ranks together.
        """
        if is_loss_method(method):
            here = np.array([k in self.chosen for k in range(self.K)])
            return _OfAll(AtLosses(method, self._values(scale), list(here)), self.chosen, self.K)
        return for_tasks(method, self.chosen, self.K)

    def _values(self, scale: float) -> list[float]:
        """The losses of all tasks, over all ranks."""
        values = [x.detach() for x in self.tasks.values]
        parts = [
            x if there else torch.zeros_like(x)
            for x, there in zip(values, self.tasks.present, strict=True)
        ]
        return [self.ranks.total(x).item() / scale for x in parts]

    def empty_rows(self) -> Rows:
        """Room for the gradients; sparse ones are added up over ranks as dense ones."""
        sparse = self.way.sparse if self.ranks.alone else []
        waiting = {id(p) for p in sparse}
        dense = [p for p in self.way.parameters if id(p) not in waiting]
        return Rows.empty(len(self.chosen), dense, sparse, not self.ranks.alone)

    def head_gradients(self, decision: Decision, unit: bool) -> list[tuple[Tensor, Tensor]]:
        """What the other parameters get, over all ranks."""
        weights = decision.solution.weights.tolist()
        known = {
            id(p): (p, g)
            for p, g in decision.heads.total(None if unit or not decision.finite else weights)
        }
        if self.ranks.alone:
            return list(known.values())
        found = []
        for p in self.heads:
            g = copied(known[id(p)][1].to_dense()) if id(p) in known else torch.zeros_like(p)
            found.append((p, self.ranks.total(g)))
        return found

    def whole(self, solution: Solution) -> Solution:
        """The solution of all tasks: absent ones have weight zero."""
        at = np.array(self.chosen)
        worst = int(at[int(solution.worst)]) if int(solution.worst) >= 0 else -1
        return replace(
            solution,
            weights=self._spread(solution.weights),
            certificate=self._known(solution.certificate),
            dual=self._known(solution.dual),
            low=self._known(solution.low),
            worst=worst,
            tasks=self.tasks.names,
        )

    def _known(self, values: Array | None) -> Array | None:
        """The same where there is something."""
        return None if values is None else self._spread(values)

    def _spread(self, values: Array) -> Array:
        """One number per task, zero for the absent ones."""
        if len(self.chosen) == self.K:
            return values
        whole = np.zeros(self.K)
        whole[self.chosen] = values
        return whole


_log = logging.getLogger("fairopt.torch")


@cache
def _say(argument: str, requirement: str) -> None:
    """The cache remembers what was said."""
    _log.warning("no weights: %s must be %s; this is said once", argument, requirement)


@dataclass(frozen=True)
class _OfAll:
    """A method that remembers something of every task, for a step in which some are absent."""

    method: Method
    chosen: list[int]
    K: int

    def solve(self, gram: ArrayLike, *, gram_error: float | None = None) -> Solution:
        """The weights of the chosen tasks."""
        whole = np.zeros((self.K, self.K))
        whole[np.ix_(self.chosen, self.chosen)] = gram
        try:
            solution = self.method.solve(whole, gram_error=gram_error)
        except InvalidInput as refusal:
            if not refusal.argument.startswith("losses["):
                raise
            solution = self._undefined(refusal)
        worst = int(solution.worst)
        return replace(
            solution,
            weights=solution.weights[self.chosen],
            worst=self.chosen.index(worst) if worst in self.chosen else -1,
        )

    def _undefined(self, refusal: InvalidInput) -> Solution:
        """No weights for losses that the rule is not defined for: a status, as in any step."""
        _say(refusal.argument, refusal.requirement)
        return Solution(np.zeros(self.K), Status.OUT_OF_RANGE, math.inf, 0)


def _nothing(like: Tensor) -> Tensor:
    """The loss of a task that is absent here."""
    return torch.zeros((), dtype=like.dtype, device=like.device)
