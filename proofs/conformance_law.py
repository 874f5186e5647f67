"""A law for code under test: what it says, on which instances, and what a violation shows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fairopt import checks
from fairopt.choices import choose
from fairopt.errors import FairoptError, InvalidInput

Instances = Callable[[int], Iterator[tuple[str, Any]]]
"""From a seed to (name, instance)."""
Objection = Callable[[Any, Any, np.random.Generator], "str | None"]
"""`objection(code, instance, rng)` says what is wrong, in words, or None."""
SHOWN = 120
"""Characters of either end of a message that a witness keeps."""


class CodeFailed(FairoptError, RuntimeError):
    """The code under test raised, or returned something that no law can check."""


class DoesNotConform(FairoptError, AssertionError):
    """A law that the code under test was required to obey is broken."""


@dataclass(frozen=True)
class Law:
    """One requirement.

    Args:
        name: How `claims` names it.
        statement: What it requires, in one sentence.
        instances: Where it is tried.
        objection: What speaks against it there.
    """

    name: str
    statement: str
    instances: Instances
    objection: Objection

    def check(self, code: Any, seed: int, at_most: int | None = None) -> LawResult:
        """Try all instances, or so many of them spread evenly, until the law is broken."""
        trials = 0
        for name, instance in self.chosen(seed, at_most):
            trials += 1
            found = self.object_to(code, instance, seed)
            if found is not None:
                witness = f"{name}: {found}"
                return LawResult(self.name, False, witness, self, instance, seed, trials)
        return LawResult(self.name, True, None, self, trials=trials)

    def chosen(self, seed: int, at_most: int | None) -> Iterator[tuple[str, Any]]:
        """All instances, or every so many-th, which spreads them over families and sizes."""
        if at_most is None:
            return self.instances(seed)
        count = sum(1 for _ in self.instances(seed))
        return itertools.islice(self.instances(seed), 0, None, max(1, -(-count // at_most)))

    def object_to(self, code: Any, instance: Any, seed: int) -> str | None:
        """The objection at one instance; an error of the code is one, an error of ours is not."""
        try:
            return self.objection(guarded(code), instance, np.random.default_rng(seed))
        except (CodeFailed, InvalidInput) as error:
            return shortened(str(error))


@dataclass(frozen=True)
class LawResult:
    """What one law showed.

    Args:
        law: Its name.
        passed: Nothing was found against it, which is no proof.
        witness: What was found, in words.
        definition: The law itself.
        instance: The instance of the witness: a matrix of gradients, or (bids, budget).
        seed: With which it was tried.
        trials: Instances that were tried.
    """

    law: str
    passed: bool
    witness: str | None
    definition: Law = field(repr=False)
    instance: Any = field(default=None, repr=False, compare=False)
    seed: int = 0
    trials: int = 0

    @property
    def statement(self) -> str:
        """What the law requires."""
        return self.definition.statement

    def replay(self, code: Any) -> str | None:
        """Try code on the instance of the witness; None if it obeys the law there now."""
        if self.passed:
            return None
        return self.definition.object_to(code, self.instance, self.seed)


@dataclass(frozen=True)
class ConformanceReport:
    """Results of all laws that were tried."""

    results: tuple[LawResult, ...]

    @property
    def passed(self) -> bool:
        """Whether every law passed."""
        return all(result.passed for result in self.results)

    @property
    def broken(self) -> tuple[LawResult, ...]:
        """Results of the laws that did not."""
        return tuple(result for result in self.results if not result.passed)

    def require(self) -> ConformanceReport:
        """The report itself if every law passed.

        Raises:
            DoesNotConform: With the witness of each broken law.
        """
        if self.broken:
            raise DoesNotConform("; ".join(f"{r.law}: {r.witness}" for r in self.broken))
        return self

    def __str__(self) -> str:
        """One line per law."""
        return "\n".join(
            f"not refuted by {r.trials} trials: {r.law}"
            if r.passed
            else f"FAILS {r.law}: {r.witness}"
            for r in self.results
        )


def check_laws(
    laws: dict[str, Law],
    code: Any,
    claims: Sequence[str] | None,
    seed: int,
    at_most: int | None,
) -> ConformanceReport:
    """All laws, or those that are claimed."""
    if isinstance(claims, str):
        raise InvalidInput("claims", claims, "a list of names, such as [claims]")
    if at_most is not None:
        checks.count("at_most", at_most, 1)
    chosen = list(laws.values()) if claims is None else [choose("claims", c, laws) for c in claims]
    return ConformanceReport(tuple(law.check(code, seed, at_most) for law in chosen))


def guarded(code: Any) -> Callable[..., Any]:
    """The code under test, whose errors are told apart from those of the laws."""

    def call(*arguments: Any) -> Any:
        try:
            return code(*arguments)
        except Exception as error:
            raise CodeFailed(f"raises {type(error).__name__}: {error}") from error

    return call


def shortened(text: str) -> str:
    """Both ends of a long message, on one line.

    Example:
        >>> len(shortened("x" * 1000))
        245
    """
    line = " ".join(text.split())
    return line if len(line) <= 2 * SHOWN else f"{line[:SHOWN]} ... {line[-SHOWN:]}"
