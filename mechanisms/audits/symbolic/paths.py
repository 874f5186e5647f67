"""All paths of a program on unknown numbers: Z3 finds a point on the other side of each decision.

A program runs at a point. For each of its decisions the solver is asked for a point at which the
earlier ones are the same and this one is not; without one, no real numbers take that side. Depth
first, until nothing is left: then whatever held on every path holds for all real numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from fairopt.errors import NotSolved
from fairopt.extras import extra
from mechanisms.audits.run_rule import unrepeatable
from mechanisms.audits.symbolic.linear_form import (
    NEGATIVE,
    POSITIVE,
    ZERO,
    Decision,
    Key,
    Path,
    Point,
    sign_of_unknown,
)
from mechanisms.audits.time_limit import OutOfTime

Program = Callable[[Path], "Any | None"]
"""Runs a rule on a path; returns what speaks against it there, or None."""


@dataclass
class Limits:
    """How long a proof may take, all its programs together; counts what it took.

    Args:
        paths: At most so many.
        deadline: Of `time.monotonic`.
    """

    paths: int
    deadline: float
    taken: int = 0
    checks: int = 0

    def next_path(self) -> None:
        """Count one path.

        Raises:
            OutOfTime: There have been enough, or it is too late.
        """
        if self.taken >= self.paths or time.monotonic() > self.deadline:
            raise OutOfTime
        self.taken += 1


class Paths:
    """The space of some unknowns that are not negative, and the paths of programs on them.

    Args:
        names: Of the unknowns.
        positive: Those that are above zero.
        limits: What all programs may take together.

    Example:
        >>> import math
        >>> def program(path):
        ...     x, y = path.unknown("x"), path.unknown("y")
        ...     return None if max(x, y) + min(x, y) == x + y else "the sum changes"
        >>> limits = Limits(100, math.inf)
        >>> Paths(["x", "y"], [], limits).counterexample(program), limits.taken
        (None, 3)
    """

    def __init__(self, names: Sequence[str], positive: Iterable[str], limits: Limits) -> None:
        z3 = solver_module()
        self._limits = limits
        self._names = {name: z3.Real(name) for name in names}
        self._signs = {sign_of_unknown(name): ZERO | POSITIVE for name in names}
        self._signs |= {sign_of_unknown(name): POSITIVE for name in positive}
        self._solver = z3.SolverFor("QF_LRA")
        self._facts: dict[tuple[Key, int], Any] = {}
        self._solver.add(*(self._fact(key, signs) for key, signs in self._signs.items()))

    def counterexample(self, program: Program) -> Any | None:
        """What a program returns on the first path where it returns something.

        Raises:
            OutOfTime: The limits are reached.
            InvalidInput: The program does not repeat its decisions.
        """
        return next((found for found in self._results(program) if found is not None), None)

    def _results(self, program: Program) -> Iterator[Any]:
        """What a program returns on each of its paths."""
        assert self._sat()
        todo: list[tuple[Point, list[tuple[Key, int]]]] = [(self._point(), [])]
        while todo:
            self._limits.next_path()
            point, before = todo.pop()
            path = Path(point, self._signs, self._limits.deadline)
            yield program(path)
            if [(each.key, each.taken) for each in path.decisions[: len(before)]] != before:
                raise unrepeatable()
            todo += self._other_sides(path.decisions, len(before))

    def _other_sides(
        self, decisions: list[Decision], known: int
    ) -> Iterator[tuple[Point, list[tuple[Key, int]]]]:
        """A point for each decision that could have gone the other way, after the known ones."""
        self._solver.push()
        for depth, decision in enumerate(decisions):
            if depth >= known:
                self._solver.push()
                self._solver.add(self._fact(decision.key, decision.other))
                if self._sat():
                    before = [(each.key, each.taken) for each in decisions[:depth]]
                    yield self._point(), [*before, (decision.key, decision.other)]
                self._solver.pop()
            self._solver.add(self._fact(decision.key, decision.taken))
        self._solver.pop()

    def _sat(self) -> bool:
        """Whether there is a point where all facts hold."""
        self._limits.checks += 1
        answer = str(self._solver.check())
        if answer == "unknown":
            raise NotSolved(f"the solver gave up: {self._solver.reason_unknown()}")
        return answer == "sat"

    def _point(self) -> Point:
        """Where the facts hold that the solver has just found to agree."""
        model = self._solver.model()
        values = {name: model.eval(x, model_completion=True) for name, x in self._names.items()}
        return {
            name: Fraction(value.numerator_as_long(), value.denominator_as_long())
            for name, value in values.items()
        }

    def _fact(self, key: Key, signs: int) -> Any:
        """That a form has one of some signs, as the solver takes it."""
        fact = self._facts.get((key, signs))
        if fact is None:
            z3 = solver_module()
            terms, constant = key
            form = z3.Sum([z3.RealVal(str(c)) * self._names[name] for name, c in terms])
            form = form + z3.RealVal(str(constant))
            fact = {
                NEGATIVE: form < 0,
                ZERO: form == 0,
                POSITIVE: form > 0,
                NEGATIVE | ZERO: form <= 0,
                POSITIVE | ZERO: form >= 0,
                NEGATIVE | POSITIVE: z3.Or(form < 0, form > 0),
            }[signs]
            self._facts[key, signs] = fact
        return fact


def solver_module() -> Any:
    """The module of Z3."""
    with extra("mechanisms"):
        import z3
    return z3
