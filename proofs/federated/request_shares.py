"""FedAST's reallocation of requests: totals, guarantees, optimality, and the released greedy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np

from fairopt import reference_request_allocation, request_allocation
from proofs.claim import COUNTEREXAMPLE, IDENTITY, OWN, TIGHT, Claim, Evidence

Rule = Callable[..., Any]
FEDAST = "FedAST, arXiv 2406.00302, reallocation"
SEED = 20240601
COSTS: MappingProxyType[str, Callable[[Any, Any], float]] = MappingProxyType(
    {
        "equal_error": lambda s2, R: max(s / r for s, r in zip(s2, R, strict=True)),
        "sum_of_variances": lambda s2, R: sum(s / r for s, r in zip(s2, R, strict=True)),
        "sum_of_deviations": lambda s2, R: sum(
            math.sqrt(s / r) for s, r in zip(s2, R, strict=True)
        ),
    }
)
"""What each objective minimises over requests R for variances s2."""
WORKED: tuple[tuple[list[float], list[int], int, list[int]], ...] = (
    ([1.0, 2.0, 3.0], [34, 33, 33], 8, [16, 32, 56]),
    ([0.5, 1.0, 1.5, 5.0], [96] * 4, 32, [32, 64, 64, 224]),
    ([0.01, 0.01, 0.01, 10.0], [96] * 4, 32, [32, 32, 32, 288]),
    ([9.0, 1.0, 1.0, 2.0], [0, 128, 128, 128], 32, [0, 96, 96, 192]),
)
"""Scores, requests, quantum, and what the released greedy makes of them; the first overshoots."""
ROOTS = MappingProxyType({"equal_error": 1, "sum_of_variances": 2, "sum_of_deviations": 3})


def conserves(rule: Rule, deep: bool) -> str | None:
    """Exact total, multiples of the quantum, at least the minimum, within one of the share."""
    for s2, total, options in _instances(deep):
        seen = rule(s2, total, **options)
        quantum, minimum = options["quantum"], options["minimum"]
        if seen.sum() != total:
            return f"variances {s2}, total {total}, {options}: {seen} sum to {seen.sum()}"
        if (seen % quantum).any() or seen.min() < minimum:
            return f"variances {s2}, total {total}, {options}: {seen}"
        share = total * Fraction(1, 1) * np.array([Fraction(x) for x in s2], dtype=object)
        share = share / (sum(map(Fraction, s2)) or 1)
        if minimum == 0 and any(
            abs(a - int(b)) >= quantum for a, b in zip(share, seen, strict=True)
        ):
            return f"variances {s2}, total {total}: {seen}, shares {[float(x) for x in share]}"
    return None


def optimal(rule: Rule, deep: bool) -> str | None:
    """No other split of the total has less error, where the shares are whole numbers."""
    rng = np.random.default_rng(SEED)
    for _ in range(40 if deep else 8):
        parts = rng.integers(1, 6, size=3)
        total = int(parts.sum()) * 2
        for objective, root in ROOTS.items():
            s2 = [float(x) ** root for x in parts]
            cost = COSTS[objective]
            best = min(cost(s2, split) for split in _splits(total, 3))
            seen = rule(s2, total, objective=objective)
            if seen.min() < 1 or cost(s2, seen) > best * (1 + 1e-12):
                return f"{objective}, variances {s2}, total {total}: {seen} is not optimal"
    return None


def overshoots(
    rule: Callable[[Sequence[float], Sequence[int], int], Any], deep: bool
) -> str | None:
    """Scores 1:2:3, requests 34, 33, 33, quantum 8: 104 requests for 100; and three more."""
    for scores, requests, quantum, expected in WORKED:
        seen = rule(scores, requests, quantum)
        if seen.tolist() != expected:
            return f"scores {scores}, requests {requests}: {seen}, not {expected}"
    return None


def within_total(send: Callable[[int, int, int, int], int], deep: bool) -> str | None:
    """Gradual reallocation: the requests in flight never exceed R and reach the new targets."""
    rng = np.random.default_rng(SEED)
    for draw in range(200 if deep else 20):
        targets, total = np.array([8, 8, 8]), 24
        pending = targets.copy()
        for step in range(900):
            if step % 50 == 0 and step < 300:
                targets = request_allocation(rng.uniform(0.1, 4.0, size=3), total)
            task = int(rng.choice(3, p=pending / pending.sum()))
            pending[task] -= 1
            for other in (task, *range(3)):
                pending[other] += send(targets[other], pending[other], total, pending.sum())
            if pending.sum() > total or pending.min() < 0:
                return f"draw {draw}, step {step}: {pending} in flight, total {total}"
        if (pending != targets).any():
            return f"draw {draw}: {pending} in flight, targets {targets}"
    return None


def deficit_within_total(target: int, pending: int, total: int, all_pending: int) -> int:
    """Fill a task's deficit as far as the total allows."""
    return max(0, min(target - pending, total - all_pending, 2))


def deficit_alone(target: int, pending: int, total: int, all_pending: int) -> int:
    """Fill a task's deficit at once, cancelling nothing elsewhere."""
    return max(0, min(target - pending, 2))


def rounded(s2: Any, total: int, *, quantum: int = 1, **_: Any) -> Any:
    """Every share rounded for itself."""
    share = np.asarray(s2) / (np.sum(s2) or 1.0) * total / quantum
    return quantum * np.maximum(np.rint(share), 1).astype(int)


def always_square_roots(s2: Any, total: int, *, objective: str = "", **options: Any) -> Any:
    """Shares of standard deviations, whatever is requested."""
    return request_allocation(s2, total, objective="sum_of_variances", **options)


def exact_total(scores: Sequence[float], requests: Sequence[int], quantum: int) -> Any:
    """The clean rule on the same question."""
    total = sum(requests) - sum(requests) % quantum
    return request_allocation(scores, total, quantum=quantum)


def _instances(deep: bool) -> Iterator[tuple[list[float], int, dict[str, int]]]:
    """Variances, totals and options."""
    rng = np.random.default_rng(SEED)
    for _ in range(3000 if deep else 300):
        S, quantum = int(rng.integers(1, 6)), int(rng.choice([1, 1, 4, 32]))
        minimum = int(rng.choice([0, 0, 1, quantum]))
        total = quantum * int(rng.integers(S, 12 * S))
        s2 = rng.integers(0, 9, size=S).astype(float).tolist()
        if sum(s2) > 0:
            yield s2, total, {"quantum": quantum, "minimum": minimum}


def _splits(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Every split into positive whole numbers."""
    for cuts in itertools.combinations(range(1, total), parts - 1):
        ends = (0, *cuts, total)
        yield tuple(b - a for a, b in itertools.pairwise(ends))


CLAIMS = (
    Claim(
        "requests-are-conserved",
        "reallocated requests sum exactly to the total, in multiples of the quantum, none below "
        "the minimum, and without a minimum each within one quantum of its share; in flight they "
        "never exceed the total and reach their targets",
        r"\sum_m R_m = R,\quad \lvert R_m - R \sigma_m^2 / \textstyle\sum_j \sigma_j^2 \rvert < q,"
        r"\quad \sum_m A_m(t) \le R",
        f"{FEDAST}; {OWN}",
        IDENTITY,
        "random instances, whole numbers and fractions",
        "300 allocations to 5 tasks; 20 runs of 900 arrivals with 6 reallocations",
        "3,000 allocations to 5 tasks; 200 runs of 900 arrivals with 6 reallocations",
        conserves,
        request_allocation,
        rounded,
        (
            Evidence(
                "simulated arrivals, whole numbers",
                within_total,
                deficit_within_total,
                deficit_alone,
            ),
        ),
    ),
    Claim(
        "requests-are-optimal",
        "the three objectives are met: least worst error, least sum of variances, least sum of "
        "deviations, against every split of the total",
        r"R_m \propto \sigma_m^2,\ \sigma_m,\ \sigma_m^{2/3} = \arg\min "
        r"\max_m \tfrac{\sigma_m^2}{R_m},\ \sum_m \tfrac{\sigma_m^2}{R_m},\ "
        r"\sum_m \tfrac{\sigma_m}{\sqrt{R_m}}",
        OWN,
        TIGHT,
        "every split into whole numbers",
        "8 instances of 3 tasks with whole shares, 3 objectives",
        "40 instances of 3 tasks with whole shares, 3 objectives",
        optimal,
        request_allocation,
        always_square_roots,
    ),
    Claim(
        "the-released-reallocation-overshoots",
        "the released greedy hands out 104 requests where there are 100",
        r"\sum_m R_m = 104 > R = 100,\quad q = 8",
        f"{FEDAST}, as released",
        COUNTEREXAMPLE,
        "four worked instances",
        "three or four tasks",
        "three or four tasks",
        overshoots,
        reference_request_allocation,
        exact_total,
    ),
)
