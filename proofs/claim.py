"""A claim: a statement, the check of it, and a broken twin that shows the check can fail."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

THEOREM = "theorem"
COUNTEREXAMPLE = "counter-example"
KINDS = (THEOREM, COUNTEREXAMPLE, "bound", "limit", "equivalence")
"""What a claim may be."""

Check = Callable[[Any, bool], "str | None"]
"""`check(subject, deep)` returns a witness against the subject in words, or None."""


@dataclass(frozen=True)
class Claim:
    """Something that holds for a subject, such as an auction or an aggregator.

    Args:
        name: Unique, kebab-case; `--only` matches it.
        statement: What holds, in one sentence.
        source: Where it comes from; "own" for results of this project.
        kind: One of `KINDS`.
        how: How it is checked, such as "every profile of a grid, exact".
        scope: What the check covers, in numbers.
        deep_scope: What the thorough check covers.
        check: The check.
        subject: What the claim is about.
        broken: A relative of the subject for which the statement is false.

    Example:
        >>> def is_even(number, deep):
        ...     return None if number % 2 == 0 else f"{number} is odd"
        >>> claim = Claim("two-is-even", "2 is even", "own", "theorem", "division", "one number",
        ...               "one number", is_even, subject=2, broken=3)
        >>> claim.judge().passed
        True
    """

    name: str
    statement: str
    source: str
    kind: str
    how: str
    scope: str
    deep_scope: str
    check: Check
    subject: Any
    broken: Any

    def judge(self, *, deep: bool = False) -> Verdict:
        """Run the check on the subject and on the broken twin."""
        start = time.perf_counter()
        try:
            witness = self.check(self.subject, deep)
            objection = self.check(self.broken, deep)
        except Exception as error:
            error.add_note(f"while checking the claim {self.name}")
            raise
        return Verdict(self, deep, witness, objection, time.perf_counter() - start)


@dataclass(frozen=True)
class Verdict:
    """What running a claim showed.

    Args:
        claim: The claim.
        deep: Whether the thorough check ran.
        witness: Why the claim fails, or None.
        objection: Why the broken twin was rejected, or None, which is a defect of the check.
        seconds: Time of both checks.
    """

    claim: Claim
    deep: bool
    witness: str | None
    objection: str | None
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether nothing was found against the claim."""
        return self.witness is None

    @property
    def rejects_broken(self) -> bool:
        """Whether the check can fail: it rejected the broken twin."""
        return self.objection is not None

    @property
    def passed(self) -> bool:
        """Both."""
        return self.holds and self.rejects_broken

    @property
    def scope(self) -> str:
        """What was covered."""
        return self.claim.deep_scope if self.deep else self.claim.scope

    def record(self) -> dict[str, Any]:
        """Plain data, as printed by `--json`."""
        return {
            "claim": self.claim.name,
            "statement": self.claim.statement,
            "source": self.claim.source,
            "kind": self.claim.kind,
            "how": self.claim.how,
            "scope": self.scope,
            "verdict": "holds" if self.holds else "fails",
            "witness": self.witness,
            "broken_twin_rejected": self.rejects_broken,
            "objection": self.objection,
            "seconds": round(self.seconds, 3),
        }
