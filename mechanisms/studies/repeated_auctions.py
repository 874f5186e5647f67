"""The same clients, round after round: auctions repeated while costs drift.

A policy names the rule and the budget of the next round. If it does not look at past bids, a
truthful rule stays truthful over all rounds together; if it learns from them, a client may bid
today for the prices of tomorrow.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairopt.errors import InvalidInput
from fairopt.utility import jain_index
from mechanisms.auctions.exact.ranking import kth, ranked
from mechanisms.audits.audit import Method, audit
from mechanisms.audits.report import AuditReport
from mechanisms.audits.run_rule import run_mechanism
from mechanisms.audits.violation import client_utility
from mechanisms.bids import checked_bids
from mechanisms.outcome import Mechanism, Outcome
from mechanisms.reading.amounts import amount


@dataclass(frozen=True, eq=False)
class Round:
    """One auction of a sequence.

    Args:
        bids: (N, S) as reported.
        mechanism: The rule that ran.
        budget: Money available.
        outcome: What it decided.
    """

    bids: NDArray[Any]
    mechanism: Mechanism
    budget: Any
    outcome: Outcome


Policy = Callable[[Sequence[Round]], "tuple[Mechanism, Any]"]
"""From the past rounds to the (mechanism, budget) of the next one."""


@dataclass(frozen=True, eq=False)
class RepeatedOutcome:
    """Result of T auctions among the same N clients for the same S tasks.

    Args:
        rounds: T of them.
    """

    rounds: tuple[Round, ...]

    @property
    def spend(self) -> list[Any]:
        """Money paid in each round."""
        return [each.outcome.spend for each in self.rounds]

    @property
    def winners(self) -> NDArray[np.int64]:
        """(N, S) in how many rounds client i worked on task s."""
        return np.asarray(np.sum([each.outcome.winners for each in self.rounds], axis=0))

    @property
    def take_up(self) -> NDArray[np.int64]:
        """(S,) recruits of every task, over all rounds."""
        return np.asarray(self.winners.sum(axis=0))

    @property
    def client_take_up(self) -> NDArray[np.int64]:
        """(N,) tasks done by every client, over all rounds."""
        return np.asarray(self.winners.sum(axis=1))

    @property
    def min_take_up(self) -> int:
        """Recruits of the task that got fewest, over all rounds."""
        return int(self.take_up.min())

    @property
    def task_fairness(self) -> float:
        """Jain's index of the recruits per task."""
        return jain_index(self.take_up)

    @property
    def client_fairness(self) -> float:
        """Jain's index of the tasks done per client."""
        return jain_index(self.client_take_up)

    def utility(self, client: int, costs: ArrayLike) -> Any:
        """Exact utility of one client over all rounds, given the (T, N, S) true costs."""
        table = np.asarray(costs)
        return sum(
            client_utility(each.outcome, client, cost[client])
            for each, cost in zip(self.rounds, table, strict=True)
        )


def repeated_auction(
    policy: Policy, costs: ArrayLike, *, bids: ArrayLike | None = None
) -> RepeatedOutcome:
    """Run one auction per round.

    Args:
        policy: Names the rule and the budget of each round from what came before; see
            `every_round`, `learned_reserve`, `learned_budget`.
        costs: (T, N, S) true costs, floats or exact; see `mechanisms.studies.cost_drift`.
        bids: (T, N, S) what is reported; the costs by default.

    Raises:
        InvalidInput: The tables are not (T, N, S), or a round refuses its input.

    Example:
        >>> from mechanisms import max_min_fair
        >>> costs = [[[1.0, 2.0], [2.0, 1.0], [3.0, 3.0]], [[1.0, 2.0], [2.0, 5.0], [3.0, 3.0]]]
        >>> done = repeated_auction(every_round(max_min_fair, 12.0), costs)
        >>> done.take_up, done.client_take_up, done.spend
        (array([4, 4]), array([4, 3, 1]), [12.0, 11.0])
    """
    reported = _rounds(costs if bids is None else bids)
    if bids is not None and reported.shape != _rounds(costs).shape:
        raise InvalidInput("bids", reported.shape, f"a table of shape {np.shape(costs)}")
    past: list[Round] = []
    for table in reported:
        mechanism, budget = policy(tuple(past))
        outcome = run_mechanism(mechanism, table, budget)
        past.append(Round(table, mechanism, budget, outcome))
    return RepeatedOutcome(tuple(past))


def every_round(rule: Mechanism, budget: Any) -> Policy:
    """The same rule in every round, whatever was bid before.

    Args:
        rule: Any mechanism.
        budget: Of every round, or a sequence with one budget for each round.
    """
    return lambda past: (rule, budget if np.ndim(budget) == 0 else budget[len(past)])


def learned_reserve(
    rule: Callable[..., Outcome], budget: Any, *, scouts: Sequence[int] = ()
) -> Policy:
    """A reserve price per task, learned from the last round: the median bid.

    Args:
        rule: A rule that takes a reserve; the first round has none.
        budget: Of every round.
        scouts: Clients that only inform: the median is theirs, and they are never recruited. With
            nobody named, the median of all bids is taken, and then a client can move the prices
            that it meets in the next round by its own bid today. With scouts nobody can.
    """

    def policy(past: Sequence[Round]) -> tuple[Mechanism, Any]:
        reserve = None
        if past:
            columns = _bids_of(past[-1], scouts).T
            reserve = np.array([_median(column) for column in columns], dtype=columns.dtype)
        return _without_scouts(functools.partial(rule, reserve=reserve), scouts), budget

    return policy


def learned_budget(
    rule: Mechanism, first: Any, recruits: int, *, scouts: Sequence[int] = ()
) -> Policy:
    """A budget learned from the last round: what so many recruits per task would have cost then.

    The price of k recruits of a task is k times the (k+1)-th bid, where there is one.

    Args:
        rule: Any mechanism.
        first: Budget of the first round, and of a round after one with too few bids.
        recruits: k.
        scouts: Clients that only inform, as in `learned_reserve`.
    """

    def policy(past: Sequence[Round]) -> tuple[Mechanism, Any]:
        budget = first
        if past:
            columns = _bids_of(past[-1], scouts).T
            needed = recruits * sum(kth(ranked(column), recruits + 1) for column in columns)
            budget = needed if 0 < needed < math.inf else first
        return _without_scouts(rule, scouts), budget

    return policy


def audit_rounds(
    done: RepeatedOutcome, *, method: Method = "auto", jobs: int | None = None
) -> tuple[AuditReport, ...]:
    """An audit of every round by itself, its bids taken as true costs and the past as given.

    Args:
        done: The rounds.
        method: As in `mechanisms.audit`.
        jobs: As in `mechanisms.audit`.
    """
    return tuple(
        audit(each.mechanism, each.bids, each.budget, method=method, jobs=jobs)
        for each in done.rounds
    )


@dataclass(frozen=True, eq=False)
class RepeatedViolation:
    """A witness that bidding other than the costs pays over all rounds together.

    Args:
        sentence: What happened, for a person.
        gain: Over all rounds.
        costs: (T, N, S) true costs, which the others bid.
        client: Who.
        plan: (T, S) what it bids.
    """

    sentence: str
    gain: Any
    costs: NDArray[Any]
    client: int
    plan: NDArray[Any]

    def replay(self, policy: Policy) -> Any:
        """Run a policy on the witness; returns the gain that it allows."""
        truthful = repeated_auction(policy, self.costs).utility(self.client, self.costs)
        return _utility(policy, self.costs, self.client, self.plan) - truthful


def find_profitable_plan(
    policy: Policy, costs: ArrayLike, *, client: int, plans: Iterable[ArrayLike]
) -> RepeatedViolation | None:
    """The best of some bids for all rounds of one client, if it beats the truth in all of them.

    The others bid their costs, whatever they saw. Against others that answer what they saw, a
    misreport can pay even in an auction that never learns: by teaching them.

    Args:
        policy: Rule and budget of every round.
        costs: (T, N, S) true costs.
        client: Who may misreport.
        plans: (T, S) tables to try. All tables of a grid make the answer exact on that grid.

    Raises:
        InvalidInput: Bad costs, or no such client.

    Example:
        The cheapest client bids as much as its rival in the first round. It wins at the same pay,
        and lifts the reserve of the second round from 0 to 1.

        >>> from mechanisms import max_min_fair
        >>> costs = [[[0.0], [1.0]]] * 2
        >>> found = find_profitable_plan(
        ...     learned_reserve(max_min_fair, 1.0), costs, client=0, plans=[[[1.0], [0.0]]])
        >>> found.gain
        Fraction(1, 1)
    """
    table = _rounds(costs)
    if not 0 <= client < table.shape[1]:
        raise InvalidInput("client", client, f"an index below {table.shape[1]}")
    truthful = repeated_auction(policy, table).utility(client, table)
    best, found = 0, None
    for plan in plans:
        bids = np.array(np.asarray(plan), dtype=table.dtype)
        gain = _utility(policy, table, client, bids) - truthful
        if gain > best:
            best, found = gain, bids
    if found is None:
        return None
    rounds = "; ".join(", ".join(map(amount, row)) for row in found)
    sentence = f"client {client} gains {amount(best)} over all rounds by bidding {rounds}"
    return RepeatedViolation(sentence, best, table, client, found)


def _utility(policy: Policy, costs: NDArray[Any], client: int, plan: NDArray[Any]) -> Any:
    """Utility of a plan."""
    bids = costs.copy()
    bids[:, client] = plan
    return repeated_auction(policy, costs, bids=bids).utility(client, costs)


def _rounds(tables: ArrayLike) -> NDArray[Any]:
    """Checked (T, N, S) tables."""
    array = np.asarray(tables)
    if array.ndim != 3 or 0 in array.shape:
        raise InvalidInput("costs", array.shape, "tables (rounds, clients, tasks), none empty")
    return np.array([checked_bids(table) for table in array])


def _bids_of(last: Round, scouts: Sequence[int]) -> NDArray[Any]:
    """Bids of those who are listened to."""
    return last.bids[list(scouts)] if len(scouts) else last.bids


def _median(bids: NDArray[Any]) -> Any:
    """Lower median of those who bid; `inf`, no reserve, where nobody does."""
    ranking = ranked(bids)
    return kth(ranking, (len(ranking) + 1) // 2) if ranking else math.inf


def _without_scouts(rule: Mechanism, scouts: Sequence[int]) -> Mechanism:
    """The rule among those who are not scouts; unchanged where there are none."""
    if not len(scouts):
        return rule

    def among_others(bids: Any, budget: Any) -> Outcome:
        table = bids.copy()
        table[list(scouts)] = math.inf
        return rule(table, budget)

    return among_others
