"""Which task a client trains: odds, ends, who the trainers are, and what recruiting changes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from fairopt import client_task_probabilities
from mechanisms import Mechanism, max_min_fair, posted_price
from proofs.claim import COUNTEREXAMPLE, IDENTITY, LIMIT, OWN, Claim, Evidence
from proofs.incentives.instances import exact_table

Rule = Callable[..., Any]
FEDFAIRMMFL = "FedFairMMFL, arXiv 2404.13841, sampling rule"
SEED = 20240413
DIGITS = 1e-12
"""Relative rounding of a quotient of exponentials."""


def odds(rule: Rule, deep: bool) -> str | None:
    """p_s / p_t = (a_s / a_t) (f_s / f_t)^(alpha - 1), against exact powers; rows sum to one."""
    rng = np.random.default_rng(SEED)
    for _ in range(3000 if deep else 300):
        S, alpha = int(rng.integers(2, 7)), int(rng.integers(1, 6))
        losses, priority = rng.integers(1, 40, size=S), rng.integers(1, 9, size=S)
        p = rule(losses / 8.0, float(alpha), priority=priority.astype(float))
        exact = [
            Fraction(int(a)) * Fraction(int(f)) ** (alpha - 1)
            for f, a in zip(losses, priority, strict=True)
        ]
        shares = np.array([float(x / sum(exact)) for x in exact])
        if not np.abs(p / shares - 1.0).max() <= DIGITS:
            return f"losses {losses}, priorities {priority}, alpha {alpha}: {p}, not {shares}"
    return None


def uniform_at_one(rule: Rule, deep: bool) -> str | None:
    """At alpha = 1 every task has the same probability, zero losses included."""
    for losses in itertools.product((0.0, 1e-9, 1.0, 1e9), repeat=4 if deep else 3):
        p = rule(losses, 1.0)
        if not np.abs(p - 1.0 / len(losses)).max() <= DIGITS:
            return f"losses {losses}: {p}"
    return None


def worst_task_at_infinity(rule: Rule, deep: bool) -> str | None:
    """As alpha grows all clients go to the worst task; ties share at alpha = inf."""
    for losses in itertools.product((0.0, 0.5, 1.0, 1.5), repeat=4 if deep else 3):
        f = np.array(losses)
        tied = f == f.max()
        if not np.abs(rule(losses, np.inf) - tied / tied.sum()).max() <= 0.0:
            return f"losses {losses}: {rule(losses, np.inf)} at infinity"
        for alpha in (30.0, 100.0, 1000.0):
            ratio = 2.0 / 3.0  # the largest quotient of two different losses of this grid
            bound = len(f) * ratio ** (alpha - 1.0) + DIGITS
            if not np.abs(rule(losses, alpha) - tied / tied.sum()).max() <= bound:
                return f"losses {losses}, alpha {alpha}: {rule(losses, alpha)}"
    return None


def agreed_tasks_only(rule: Rule, deep: bool) -> str | None:
    """A client's row is the rule renormalised on its tasks; without a task it is idle."""
    rng = np.random.default_rng(SEED)
    for _ in range(300 if deep else 50):
        N, S = int(rng.integers(1, 6)), int(rng.integers(1, 5))
        losses, eligible = rng.uniform(0.1, 2.0, size=S), rng.random((N, S)) < 0.6
        weight = losses**2 * eligible
        total = weight.sum(axis=1, keepdims=True)
        expected = weight / np.where(total > 0.0, total, 1.0)
        if not np.abs(rule(losses, 3.0, eligible=eligible) - expected).max() <= DIGITS:
            return f"losses {losses}, eligible {eligible.tolist()}"
    return None


def trainers_are_fair(draw: Callable[[int, int], list[list[Fraction]]], deep: bool) -> str | None:
    """The mean over a task's trainers, if there are any, is the mean over all clients: exactly."""
    for N, S in ((2, 2), (3, 2), (4, 2), (3, 3), *(((5, 3), (6, 2)) if deep else ())):
        p, values = draw(N, S), [Fraction(k * k) for k in range(N)]
        for task in range(S):
            probability, total = Fraction(0), Fraction(0)
            for tasks in itertools.product(range(S), repeat=N):
                trainers = [k for k in range(N) if tasks[k] == task]
                if trainers:
                    weight = Fraction(1)
                    for k, s in enumerate(tasks):
                        weight *= p[k][s]
                    probability += weight
                    total += weight * sum(values[k] for k in trainers) / len(trainers)
            if total / probability != sum(values) / N:
                return f"{N} clients, task {task}: expected mean {total / probability}"
    return None


def starvation(draw: Callable[[int, int], list[list[Fraction]]], deep: bool) -> str | None:
    """No client trains task s with probability (1 - p_s)^N: exactly, by every assignment."""
    for N, S in ((1, 2), (3, 2), (4, 2), (3, 3), *(((5, 3),) if deep else ())):
        p = draw(N, S)
        for task in range(S):
            empty = Fraction(0)
            for tasks in itertools.product(range(S), repeat=N):
                if task not in tasks:
                    weight = Fraction(1)
                    for k, s in enumerate(tasks):
                        weight *= p[k][s]
                    empty += weight
            if empty != (1 - p[0][task]) ** N:
                return f"{N} clients, task {task}: probability {empty}"
    return None


def recruits_are_biased(mechanism: Mechanism, deep: bool) -> str | None:
    """Data and costs that grow together: recruits have less than the average, always."""
    costs = (1, 2, 3, 4, 5, 6)
    winners = mechanism(exact_table([(c,) for c in costs]), Fraction(12)).winners[:, 0]
    if not winners.any():
        return "no client is recruited"
    mean = Fraction(
        sum(c for c, won in zip(costs, winners, strict=True) if won), int(winners.sum())
    )
    overall = Fraction(sum(costs), len(costs))
    return None if mean < overall else f"recruits have {mean}, all clients {overall}"


def unbiased_if_independent(order: Callable[[Sequence[int]], Any], deep: bool) -> str | None:
    """Costs dealt independently of data: over all deals recruits have the mean of all clients."""
    costs, values = (1, 2, 3, 4), (1, 4, 9, 16)
    winners = max_min_fair(exact_table([(c,) for c in costs]), Fraction(8)).winners[:, 0]
    deals = list(order(values))
    total = Fraction(0)
    for deal in deals:
        won = [v for v, each in zip(deal, winners, strict=True) if each]
        total += Fraction(sum(won), len(won))
    mean = total / len(deals)
    return None if mean == Fraction(sum(values), 4) else f"recruits have {mean} on average"


def same_for_all(N: int, S: int) -> list[list[Fraction]]:
    """The library's probabilities as fractions that sum to one exactly."""
    return [_exact(client_task_probabilities(np.arange(1.0, S + 1.0), 3.0))] * N


def by_own_loss(N: int, S: int) -> list[list[Fraction]]:
    """Probabilities from every client's own losses."""
    rows = (np.arange(1.0, S + 1.0) + k * np.eye(S)[0] for k in range(N))
    return [_exact(client_task_probabilities(row, 3.0)) for row in rows]


def _exact(p: Any) -> list[Fraction]:
    """Fractions near p that sum to one."""
    first = [Fraction(float(x)) for x in p[:-1]]
    return [*first, Fraction(1) - sum(first, Fraction(0))]


def loss_powers(losses: Any, alpha: float, **options: Any) -> Any:
    """Proportional to the power alpha, not alpha - 1."""
    return client_task_probabilities(losses, alpha + 1.0, **options)


def at_most_two(losses: Any, alpha: float, **options: Any) -> Any:
    """Large powers cut off."""
    return client_task_probabilities(losses, min(alpha, 2.0), **options)


def then_masked(losses: Any, alpha: float, *, eligible: Any) -> Any:
    """Tasks masked after the normalisation."""
    return client_task_probabilities(losses, alpha) * eligible


def ignoring_priority(losses: Any, alpha: float, priority: Any = None) -> Any:
    """Priorities forgotten."""
    return client_task_probabilities(losses, alpha)


def recruit_all(bids: Any, budget: Any) -> Any:
    """A price that every client accepts."""
    return posted_price(bids, [100], Fraction(10**6))


CLAIMS = (
    Claim(
        "client-task-odds",
        "the odds of two tasks are those of their priorities times the power alpha - 1 of the "
        "ratio of their losses",
        r"\frac{p_s}{p_t} = \frac{a_s}{a_t} \Big(\frac{f_s}{f_t}\Big)^{\alpha - 1}",
        FEDFAIRMMFL,
        IDENTITY,
        "exact powers, rounding of 1e-12",
        "300 random losses and priorities, alpha 1..5",
        "3,000 random losses and priorities, alpha 1..5",
        odds,
        client_task_probabilities,
        loss_powers,
        (Evidence("exact powers", odds, client_task_probabilities, ignoring_priority),),
    ),
    Claim(
        "client-tasks-at-alpha-one",
        "at alpha = 1 every task is as likely, whatever the losses, zero ones included",
        r"\alpha = 1 \Rightarrow p_s = 1/S",
        FEDFAIRMMFL,
        IDENTITY,
        "every loss vector of a grid",
        "64 loss vectors",
        "256 loss vectors",
        uniform_at_one,
        client_task_probabilities,
        loss_powers,
    ),
    Claim(
        "client-tasks-at-large-alpha",
        "as alpha grows every client goes to the worst task, and tied worst tasks share",
        r"\lim_{\alpha \to \infty} p_s = \mathbb{1}[f_s = \max f] / \#\arg\max f",
        OWN,
        LIMIT,
        "every loss vector of a grid, geometric bound",
        "64 loss vectors, alpha 30, 100, 1000, inf",
        "256 loss vectors, alpha 30, 100, 1000, inf",
        worst_task_at_infinity,
        client_task_probabilities,
        at_most_two,
    ),
    Claim(
        "client-tasks-of-recruits",
        "a client chooses among the tasks it agreed to, with the same odds; without one it is idle",
        r"p_{is} = \frac{x_{is} f_s^{\alpha-1}}{\sum_t x_{it} f_t^{\alpha-1}}",
        FEDFAIRMMFL,
        IDENTITY,
        "random instances",
        "50 instances of up to 5 clients and 4 tasks",
        "300 instances of up to 5 clients and 4 tasks",
        agreed_tasks_only,
        client_task_probabilities,
        then_masked,
    ),
    Claim(
        "trainers-are-unbiased-without-auction",
        "if all clients draw with the same probabilities, a task's trainers have on average the "
        "data of all clients: fairness changes how many train, not who",
        r"\mathbb{E}\Big[\frac{1}{\lvert K_s\rvert} \sum_{k \in K_s} v_k \,\Big\vert\, "
        r"K_s \ne \emptyset\Big] = \frac1N \sum_k v_k",
        OWN,
        IDENTITY,
        "every assignment, exact fractions",
        "2 to 4 clients, 2 and 3 tasks",
        "2 to 6 clients, 2 and 3 tasks",
        trainers_are_fair,
        same_for_all,
        by_own_loss,
    ),
    Claim(
        "a-task-starves-with-known-probability",
        "no client trains task s with probability (1 - p_s)^N",
        r"P(K_s = \emptyset) = (1 - p_s)^N",
        OWN,
        IDENTITY,
        "every assignment, exact fractions",
        "1 to 4 clients, 2 and 3 tasks",
        "1 to 5 clients, 2 and 3 tasks",
        starvation,
        same_for_all,
        by_own_loss,
    ),
    Claim(
        "recruits-are-biased-where-data-costs",
        "where clients with more data bid more, the recruits of an auction have less data than "
        "the average client",
        r"\frac{1}{\lvert W\rvert} \sum_{k \in W} v_k < \frac1N \sum_k v_k,\quad v = c",
        OWN,
        COUNTEREXAMPLE,
        "one worked auction",
        "six clients, costs 1 to 6, budget 12",
        "six clients, costs 1 to 6, budget 12",
        recruits_are_biased,
        max_min_fair,
        recruit_all,
    ),
    Claim(
        "recruits-are-unbiased-where-data-is-free",
        "if costs are dealt independently of the data, recruits have on average the data of all",
        r"\mathbb{E}_\pi\Big[\frac{1}{\lvert W\rvert} \sum_{k \in W} v_{\pi(k)}\Big] = "
        r"\frac1N \sum_k v_k",
        OWN,
        IDENTITY,
        "every permutation, exact fractions",
        "four clients, 24 deals",
        "four clients, 24 deals",
        unbiased_if_independent,
        itertools.permutations,
        lambda values: [values],
    ),
)
