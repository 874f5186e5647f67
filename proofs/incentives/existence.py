"""Does any mechanism exist? Truth, rationality, budget and a floor as one formula over z3 terms.

For single-task clients a deterministic mechanism is, at each profile of a finite set, a set of
recruits and their payments. Truthfulness links every two profiles that differ in one client's bid.
"unsat" is a proof that no mechanism does it, on any larger set of profiles either; "sat" is a
mechanism on the given profiles only.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fairopt.errors import NotSolved

SECONDS = 120
"""Time after which a question is given up with an error."""

Profile = tuple[int, ...]


@dataclass(frozen=True)
class Question:
    """Is there a mechanism on these profiles?

    Args:
        clients: n per task; client i has task i // n.
        tasks: S.
        budget: B.
        floor: r, recruits that every task is owed where k* >= n, that is where all fit.
        cheapest_first: Recruiting a client implies recruiting every strictly cheaper one of its
            task.
    """

    clients: int
    tasks: int
    budget: int
    floor: int
    cheapest_first: bool


def mechanism_exists(question: Question, profiles: Iterable[Profile]) -> bool:
    """Whether some deterministic, truthful, rational mechanism within budget keeps the floor.

    Example:
        >>> monopolist = Question(1, 1, budget=1, floor=1, cheapest_first=False)
        >>> mechanism_exists(monopolist, [(0,), (1,)])
        True
    """
    import z3

    known = list(dict.fromkeys(profiles))
    solver = z3.SolverFor("QF_LRA")
    solver.set("timeout", 1000 * SECONDS)
    wins = {(b, i): z3.Bool(f"x{k}_{i}") for k, b in enumerate(known) for i in range(len(b))}
    pays = {(b, i): z3.Real(f"p{k}_{i}") for k, b in enumerate(known) for i in range(len(b))}
    for b in known:
        solver.add(*_one_profile(z3, question, b, wins, pays))
    for b, other, client in _neighbours(known):
        for true, report in ((b, other), (other, b)):
            cost = true[client]
            truthful = pays[true, client] - z3.If(wins[true, client], cost, 0)
            solver.add(truthful >= pays[report, client] - z3.If(wins[report, client], cost, 0))
    answer = solver.check()
    if answer == z3.unknown:
        raise NotSolved(f"the solver gave up within {SECONDS} s: {solver.reason_unknown()}")
    return bool(answer == z3.sat)


def proof_profiles(question: Question, x: int, g: int) -> list[Profile]:
    """The profiles of the lower bound: r zeros and n - r bids of g per task; one zero bids x.

    Example:
        >>> proof_profiles(Question(3, 1, 7, 2, cheapest_first=True), 3, 4)
        [(0, 0, 4), (3, 0, 4), (0, 3, 4)]
    """
    row = (0,) * question.floor + (g,) * (question.clients - question.floor)
    base = row * question.tasks
    zeros = [i for i, bid in enumerate(base) if bid == 0]
    return [base, *((*base[:i], x, *base[i + 1 :]) for i in zeros)]


def all_profiles(question: Question, grid: Sequence[int]) -> list[Profile]:
    """Every profile of a grid of bids."""
    return list(itertools.product(grid, repeat=question.clients * question.tasks))


def _one_profile(z3: Any, q: Question, b: Profile, wins: Any, pays: Any) -> list[Any]:
    """Rationality, budget, floor and order at one profile."""
    facts = [sum(pays[b, i] for i in range(len(b))) <= q.budget]
    for i, bid in enumerate(b):
        facts.append(z3.If(wins[b, i], pays[b, i] >= bid, pays[b, i] == 0))
    for task in range(q.tasks):
        members = range(task * q.clients, (task + 1) * q.clients)
        if sum(b) <= q.budget:
            facts.append(z3.PbGe([(wins[b, i], 1) for i in members], q.floor))
        if q.cheapest_first:
            pairs = itertools.permutations(members, 2)
            facts += [z3.Implies(wins[b, i], wins[b, j]) for i, j in pairs if b[j] < b[i]]
    return facts


def _neighbours(known: list[Profile]) -> Iterable[tuple[Profile, Profile, int]]:
    """Pairs of profiles that differ in one client's bid."""
    groups: dict[tuple[Profile, int], list[Profile]] = {}
    for b in known:
        for i in range(len(b)):
            groups.setdefault((b[:i] + b[i + 1 :], i), []).append(b)
    for (_, client), members in groups.items():
        for b, other in itertools.combinations(members, 2):
            yield b, other, client
