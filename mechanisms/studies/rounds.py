"""What adds up over repeated auctions while costs drift, and where misreports pay across rounds."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mechanisms.auctions.budget_fair import budget_fair
from mechanisms.auctions.greedy_max_min import greedy_max_min
from mechanisms.auctions.leave_one_out_level import leave_one_out_level
from mechanisms.auctions.level_max_min import level_max_min
from mechanisms.auctions.max_min_fair import max_min_fair
from mechanisms.audits.own_rule import blamed
from mechanisms.audits.time_limit import SECONDS, limited
from mechanisms.bids import checked_count
from mechanisms.outcome import Mechanism
from mechanisms.parallel import Work, for_each
from mechanisms.studies.cost_distributions import Uniform
from mechanisms.studies.cost_drift import CostProcess, GeometricWalk, MeanReverting
from mechanisms.studies.repeated_auctions import (
    Policy,
    RepeatedOutcome,
    audit_rounds,
    every_round,
    find_profitable_plan,
    learned_budget,
    learned_reserve,
    repeated_auction,
)
from mechanisms.studies.statistics import Measure, measure, paired

SHARE = 0.25
"""Budget of a round, as a share of the sum of all costs in the first one."""
FACTORS = (0.5, 0.8, 1.25, 2.0, 4.0)
"""By which a plan scales the bids of every round but the last; one more plan bids the pay of the
truthful round where the client won there, and the last factor times its cost elsewhere."""
GAIN = 1e-9
"""Relative to the budget of a round: smaller gains are rounded payments."""

RULES: Mapping[str, Mechanism] = MappingProxyType(
    {
        "max-min-fair": max_min_fair,
        "leave-one-out-level": leave_one_out_level,
        "budget-fair": budget_fair,
        "level-max-min*": level_max_min,
    }
)
DRIFTS: Mapping[str, CostProcess] = MappingProxyType(
    {
        "none": GeometricWalk(Uniform(0.1, 1.0), 0.0),
        "walk": GeometricWalk(Uniform(0.1, 1.0), 0.2),
        "mean-reverting": MeanReverting(Uniform(0.1, 1.0), 0.2, 0.2),
    }
)


@dataclass(frozen=True)
class Rounds:
    """One rule under one drift.

    Args:
        rule: Name; a star marks what is not truthful.
        drift: Name.
        ratio: Minimum over tasks of the recruits of all rounds / sum over rounds of k*.
        lead: Its difference to the ratio of `max_min_fair`, path by path.
        task_fairness: Jain's index of the tasks' recruits of all rounds.
        client_fairness: Jain's index of the tasks that each client did in all rounds.
        spent: Spend / budget, over all rounds.
        truthful_rounds: Rounds whose audit found no profitable misreport.
        audited_rounds: Rounds audited, each for every joint misreport of every client, but for:
        sampled_rounds: Rounds of a rule of the user of which an audit could only sample misreports,
            and found none that pays.
    """

    rule: str
    drift: str
    ratio: Measure
    lead: Measure
    task_fairness: Measure
    client_fairness: Measure
    spent: Measure
    truthful_rounds: int
    audited_rounds: int
    sampled_rounds: int = 0


@dataclass(frozen=True)
class Learning:
    """`max_min_fair` under one policy, costs walking.

    Args:
        policy: What the next round learns, and from whom.
        gaining: Clients for whom a tried plan gains: a lower bound.
        clients: Clients tried, over all draws.
        share: Of the clients that gain, path by path.
        gain: Their best gain, relative to truthful utility over all rounds where that is > 0.
        ratio: As in `Rounds`, with k* of the fixed budget and truthful bids.
        lead: Its difference to the ratio where nothing is learned, path by path.
    """

    policy: str
    gaining: int
    clients: int
    share: Measure
    gain: Measure
    ratio: Measure
    lead: Measure


def study_rounds(
    *,
    num_rounds: int = 10,
    num_clients: int = 20,
    num_tasks: int = 3,
    draws: int = 5,
    own: Mapping[str, Mechanism] = MappingProxyType({}),
    seed: int = 0,
    jobs: int | None = None,
    progress: bool = False,
    backend: str | None = None,
    journal: str | Path | None = None,
) -> tuple[tuple[Rounds, ...], tuple[Learning, ...]]:
    """Repeat auctions under drifting costs; audit every round; search plans across rounds.

    Args:
        num_rounds: T.
        num_clients: N.
        num_tasks: S.
        draws: Paths of costs for each drift.
        own: Rules of your own by name, which are repeated and audited beside the others.
        seed: Of the paths.
        jobs: Processes, as in `mechanisms.audit`.
        progress: Show a bar on the error stream.
        backend: Whose processes, as in `mechanisms.audit`.
        journal: File that keeps what is found, likewise.

    Raises:
        InvalidInput: A count below 1; with fewer than 4 clients there are no scouts to spare; or a
            rule of your own fails, or is no function of bids and budget.
    """
    checked_count("num_rounds", num_rounds, 1)
    checked_count("num_clients", num_clients, 4)
    checked_count("num_tasks", num_tasks, 1)
    checked_count("draws", draws, 1)
    checked_count("seed", seed, 0)
    shape = (num_rounds, num_clients, num_tasks)
    places = [("rule", rule, drift) for rule in (*RULES, *own) for drift in DRIFTS]
    places += [("policy", policy, "walk") for policy in _policies(shape, 1.0)]
    run = functools.partial(_study, shape, draws, seed, dict(own))
    found = for_each(
        run, places, Work(jobs, progress, backend, journal), title="Repeating auctions"
    )
    rounds = tuple(each for each in found if isinstance(each, Rounds))
    return rounds, tuple(each for each in found if isinstance(each, Learning))


def _policies(shape: tuple[int, int, int], budget: float) -> dict[str, Policy]:
    """Ways to learn; a quarter of the clients are scouts."""
    scouts = tuple(range(0, shape[1], 4))
    recruits = max(shape[1] // 8, 1)
    few = max(min(recruits, len(scouts) - 1), 1)
    return {
        "nothing": every_round(max_min_fair, budget),
        "reserve from all": learned_reserve(max_min_fair, budget),
        "reserve from scouts": learned_reserve(max_min_fair, budget, scouts=scouts),
        "budget from all": learned_budget(max_min_fair, budget, recruits),
        "budget from scouts": learned_budget(max_min_fair, budget, few, scouts=scouts),
    }


def _study(
    shape: tuple[int, int, int],
    draws: int,
    seed: int,
    own: Mapping[str, Mechanism],
    place: tuple[str, str, str],
) -> Rounds | Learning:
    """One row of one of the tables."""
    kind, name, drift = place
    rng = np.random.default_rng([seed, list(DRIFTS).index(drift)])
    paths = [DRIFTS[drift].draw(rng, *shape) for _ in range(draws)]
    if kind == "policy":
        return _learning(name, shape, paths)
    if name not in own:
        return _rule(name, RULES[name], drift, paths)
    with blamed(name):
        return _rule(name, limited(own[name], SECONDS), drift, paths)


def _budget(costs: NDArray[Any]) -> float:
    """Of every round."""
    return SHARE * float(costs[0].sum())


def _optimum(costs: NDArray[Any]) -> int:
    """Sum of k* over the rounds."""
    return max(sum(greedy_max_min(table, _budget(costs)).min_take_up for table in costs), 1)


def _rule(name: str, rule: Mechanism, drift: str, paths: list[NDArray[Any]]) -> Rounds:
    """One rule under one drift; the first path is audited."""
    done = [repeated_auction(every_round(rule, _budget(path)), path) for path in paths]
    pairs = list(zip(done, paths, strict=True))
    ratios = [each.min_take_up / _optimum(path) for each, path in pairs]
    reports = audit_rounds(done[0])
    return Rounds(
        name,
        drift,
        measure(ratios),
        paired(ratios, [_ratio(max_min_fair, path) for path in paths]),
        measure([each.task_fairness for each in done]),
        measure([each.client_fairness for each in done]),
        measure([sum(each.spend) / (len(path) * _budget(path)) for each, path in pairs]),
        sum(report.truthful is not False for report in reports),
        len(reports),
        sum(report.truthful is None for report in reports),
    )


def _ratio(rule: Mechanism, path: NDArray[Any]) -> float:
    """`Rounds.ratio` of a rule on one path, at the fixed budget."""
    done = repeated_auction(every_round(rule, _budget(path)), path)
    return done.min_take_up / _optimum(path)


def _learning(name: str, shape: tuple[int, int, int], paths: list[NDArray[Any]]) -> Learning:
    """One policy: every client tries every factor."""
    gains: list[float] = []
    ratios, counts = [], []
    for costs in paths:
        budget = _budget(costs)
        policy = _policies(shape, budget)[name]
        truthful = repeated_auction(policy, costs)
        ratios.append(truthful.min_take_up / _optimum(costs))
        counts.append(0)
        for client in range(shape[1]):
            plans = [_scaled(costs[:, client], factor) for factor in FACTORS]
            plans.append(_lifted(costs[:, client], client, truthful))
            found = find_profitable_plan(policy, costs, client=client, plans=plans)
            if found is None or found.gain <= GAIN * budget:
                continue
            counts[-1] += 1
            utility = float(truthful.utility(client, costs))
            gains += [float(found.gain) / utility] if utility > 0 else []
    fixed = [_ratio(max_min_fair, path) for path in paths]
    share = measure([count / shape[1] for count in counts])
    return Learning(
        name,
        sum(counts),
        shape[1] * len(paths),
        share,
        measure(gains),
        measure(ratios),
        paired(ratios, fixed),
    )


def _scaled(bids: NDArray[Any], factor: float) -> NDArray[Any]:
    """All bids but those of the last round, times a factor."""
    plan = bids.copy()
    plan[:-1] *= factor
    return plan


def _lifted(bids: NDArray[Any], client: int, truthful: RepeatedOutcome) -> NDArray[Any]:
    """A plan that is free where nobody learns: bid one's pay where one wins, else far too much."""
    plan = bids.copy()
    for t, each in enumerate(truthful.rounds[:-1]):
        won = each.outcome.winners[client]
        plan[t] = np.where(won, each.outcome.payments[client], FACTORS[-1] * bids[t])
    return plan
