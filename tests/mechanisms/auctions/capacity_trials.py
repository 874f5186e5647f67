"""Random auctions for clients with a capacity: joint misreports, budgets, and floats against exact.

python -m tests.mechanisms.auctions.capacity_trials misreports|budgets|floats COUNT [SEED]

Random budgets do not find overspending, so most budgets stand at, or just below, a value that one
of the rule's tests compares with it.
"""

from __future__ import annotations

import itertools
import math
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from mechanisms import Outcome, capacity_max_min
from mechanisms.auctions.exact import clearing_levels
from mechanisms.auctions.exact.assignment import perturbed_costs
from mechanisms.auctions.floats.rounding import rounded_down
from mechanisms.auctions.wide.payments import outcome_of
from mechanisms.bids import read_auction
from proofs.incentives.capacities import TINY, MarketWithoutSlack, critical_budgets

NO_BID = math.inf


@dataclass(frozen=True)
class Trial:
    """One auction.

    Args:
        bids: (N, S) integers or `inf`.
        budget: B.
        capacity: (N,) most tasks of each client.
        weights: (S,) places per level.
    """

    bids: list[list[Any]]
    budget: Fraction
    capacity: list[int]
    weights: list[int]

    def table(self, client: int | None = None, report: tuple[Any, ...] = ()) -> np.ndarray:
        """The bids as exact numbers, one client's replaced by a report."""
        rows = [list(report) if i == client else row for i, row in enumerate(self.bids)]
        out = np.empty((len(rows), len(rows[0])), dtype=object)
        for i, row in enumerate(rows):
            out[i] = [bid if bid == NO_BID else Fraction(bid) for bid in row]
        return out

    def run(self, client: int | None = None, report: tuple[Any, ...] = ()) -> Outcome:
        """The auction, or the one with a client's report."""
        return capacity_max_min(self.table(client, report), self.budget, **self.options)

    @property
    def options(self) -> dict[str, Any]:
        """Keywords of the rule; weights that are all 1 are its default."""
        plain = set(self.weights) == {1}
        return {"capacity": self.capacity, "weights": None if plain else self.weights}

    def utility(self, client: int, outcome: Outcome) -> Any:
        """What a client gains, at its bids as costs; what it cannot do costs too much."""
        if outcome.winners[client].sum() > self.capacity[client]:
            return -math.inf
        tasks = np.flatnonzero(outcome.winners[client])
        costs = [self.bids[client][s] for s in tasks]
        if NO_BID in costs:
            return -math.inf
        return outcome.payments[client].sum() - sum(map(Fraction, costs), Fraction(0))


def draw_trial(rng: random.Random, *, top: int, clients: int, tasks: int = 3) -> Trial:
    """A random auction with a budget that matters."""
    S = rng.choice([s for s in (2, 2, 3, 4) if s <= tasks])
    N = rng.randint(2, clients)
    missing = rng.choice([0, 0.15, 0.4])
    bids = [
        [NO_BID if rng.random() < missing else rng.randint(0, top) for _ in range(S)]
        for _ in range(N)
    ]
    most = rng.choice([1, 1, 2, 3])
    same = rng.random() < 0.8
    capacity = [min(S, most) if same else rng.randint(1, S) for _ in range(N)]
    weights = [1] * S if rng.random() < 0.75 else [rng.randint(1, 2) for _ in range(S)]
    if max(weights) > N or sum(weights) > sum(capacity):
        weights = [1] * S if sum(capacity) >= S else weights
        capacity = [S] * N if sum(capacity) < S else capacity
    trial = Trial(bids, Fraction(rng.randint(1, max(1, top * N))), capacity, weights)
    found = critical_budgets(trial.bids, trial.weights, trial.capacity)
    values = sorted({value for value in found if value > 0})
    if values and rng.random() < 0.75:
        value = rng.choice(values)
        below = value - TINY
        budget = below if below > 0 and rng.random() < 0.5 else value
        trial = Trial(bids, Fraction(budget), capacity, weights)
    return trial


def without_slack(trial: Trial) -> Outcome:
    """The auction whose spend bound has no slack."""
    auction = read_auction(trial.table(), trial.budget)
    market = MarketWithoutSlack(trial.weights, trial.capacity, trial.budget)
    single = max(trial.capacity) == 1
    rule = clearing_levels.single_task_prices if single else clearing_levels.bundle_prices
    return outcome_of(auction, rule(market, perturbed_costs(auction.bids.tolist())))


def joint_misreports(trial: Trial, rng: random.Random, most: int) -> Iterator[tuple[int, Any, Any]]:
    """(client, report, gain) of reports on the grid of the bids, `inf` and a half included."""
    S = len(trial.weights)
    grid = sorted({bid for row in trial.bids for bid in row} | {0, Fraction(1, 2), NO_BID})
    truthful = trial.run()
    for client in range(len(trial.bids)):
        base = trial.utility(client, truthful)
        reports = list(itertools.product(grid, repeat=S))
        for report in rng.sample(reports, min(most, len(reports))):
            yield client, report, trial.utility(client, trial.run(client, report)) - base


def floor_of(trial: Trial, optimum: int) -> int:
    """Recruits that every task gets at least, where the theorem speaks; 0 elsewhere."""
    S = len(trial.weights)
    if set(trial.weights) != {1} or min(trial.capacity) == S:
        return 0
    return max(0, (optimum - 3 * S + (max(trial.capacity) == 1)) // 2)


def run_misreports(count: int, rng: random.Random) -> Counter[str]:
    """Joint misreports of every client of small auctions."""
    seen: Counter[str] = Counter()
    with _bar(count) as advance:
        while seen["misreports"] < count:
            trial = draw_trial(rng, top=rng.choice([1, 2, 3, 5]), clients=5)
            seen["profiles"] += 1
            for client, report, gain in joint_misreports(trial, rng, 40):
                seen["misreports"] += 1
                seen[f"capacity {sorted(set(trial.capacity))}"] += 1
                advance()
                if gain > 0:
                    seen["GAINS"] += 1
                    Console().print(f"client {client} gains {gain} by {report} in {trial}")
    return seen


def run_budgets(count: int, rng: random.Random) -> Counter[str]:
    """Spending, rationality and floors of larger auctions, and the rule without slack beside."""
    from mechanisms import greedy_max_min

    seen: Counter[str] = Counter()
    for _ in track(range(count), "Budgets"):
        trial = draw_trial(rng, top=rng.choice([1, 2, 3, 5, 10]), clients=14, tasks=4)
        outcome = trial.run()
        seen["profiles"] += 1
        seen["with winners"] += bool(outcome.winners.any())
        seen["OVER BUDGET"] += outcome.spend > trial.budget
        cells = [tuple(cell) for cell in np.argwhere(outcome.winners)]
        seen["PAID BELOW THE BID"] += any(
            outcome.payments[c] < trial.bids[c[0]][c[1]] for c in cells
        )
        crowded = (outcome.winners.sum(axis=1) > np.array(trial.capacity)).any()
        seen["BEYOND A CAPACITY"] += bool(crowded)
        best = greedy_max_min(trial.table(), trial.budget, capacity=trial.capacity)
        seen["BELOW THE FLOOR"] += outcome.min_take_up < floor_of(trial, int(best.level.min()))
        if min(trial.capacity) < len(trial.weights):
            seen["without slack over budget"] += without_slack(trial).spend > trial.budget
    return seen


def run_floats(count: int, rng: random.Random) -> Counter[str]:
    """Float and exact outcomes, cents among them, against the rule in Python's integers."""
    seen: Counter[str] = Counter()
    for _ in track(range(count), "Floats"):
        drawn = draw_trial(rng, top=rng.choice([2, 5, 100]), clients=12, tasks=4)
        scale = rng.choice([1.0, 0.01, 0.1, rng.lognormvariate(0, 3)])
        bids = [[bid * scale for bid in row] for row in drawn.bids]
        trial = Trial(bids, Fraction(float(drawn.budget) * scale), drawn.capacity, drawn.weights)
        if min(trial.capacity) == len(trial.weights):
            continue
        auction = read_auction(trial.table(), trial.budget)
        prices = clearing_levels.prices_by_levels(auction, trial.weights, trial.capacity)
        floats = capacity_max_min(np.array(bids), float(trial.budget), **trial.options)
        seen["profiles"] += 1
        seen["with winners"] += bool(prices)
        paid = {(int(i), int(s)): floats.payments[i, s] for i, s in np.argwhere(floats.winners)}
        seen["FLOATS DIFFER"] += paid != {cell: rounded_down(x) for cell, x in prices.items()}
        seen["INTEGERS DIFFER"] += trial.run() != outcome_of(auction, prices)
    return seen


class _bar:
    """A progress bar for work that comes in pieces of unknown number."""

    def __init__(self, total: int) -> None:
        from rich.progress import Progress

        self._progress = Progress()
        self._task = self._progress.add_task("Misreports", total=total)

    def __enter__(self) -> Any:
        self._progress.start()
        return lambda: self._progress.advance(self._task)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()


RUNS = {"misreports": run_misreports, "budgets": run_budgets, "floats": run_floats}


def main(name: str, count: str, seed: str = "0") -> int:
    """Print what was seen; 1 if anything in capitals was."""
    seen = RUNS[name](int(count), random.Random(int(seed)))
    for key, value in sorted(seen.items()):
        Console().print(f"{value:>9,}  {key}")
    return int(any(value for key, value in seen.items() if key.isupper()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
