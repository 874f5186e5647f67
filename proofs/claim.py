"""A claim: a statement, the check of it, and a broken twin that shows the check can fail."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TIGHT = "tight"
BOUND = "bound"
IDENTITY = "identity"
COUNTEREXAMPLE = "counter-example"
LIMIT = "limit"
KINDS = {
    TIGHT: "an inequality, with an instance on which nothing better can hold",
    BOUND: "an inequality on every instance",
    IDENTITY: "two things are equal on every instance",
    COUNTEREXAMPLE: "something plausible is false, on one worked instance",
    LIMIT: "what is approached as a parameter goes to an end of its range",
}
"""What a claim may be."""

OWN = "our reconstruction"
"""Source of results proved or reconstructed in this project."""

Check = Callable[[Any, bool], "str | None"]
"""`check(subject, deep)` returns a witness against the subject in words, or None."""


@dataclass(frozen=True)
class Evidence:
    """One more check of a claim, or the same check with one more broken twin.

    Args:
        how: How it is checked.
        check: The check.
        subject: What the claim is about, in the form that this check takes.
        broken: A relative of the subject that the check must reject.
    """

    how: str
    check: Check
    subject: Any
    broken: Any


@dataclass(frozen=True)
class Claim:
    r"""Something that holds for a subject, such as an auction or an aggregator.

    Args:
        name: Unique, kebab-case; `--only` matches it.
        statement: What holds, in one plain sentence.
        formula: The same in LaTeX, without dollars and without a vertical bar.
        source: Where it comes from, with the number of the theorem or equation; `OWN` for results
            of this project.
        kind: One of `KINDS`.
        how: How it is checked, such as "every profile of a grid, exact".
        scope: What the check covers, in numbers.
        deep_scope: What the thorough check covers.
        check: The check.
        subject: What the claim is about.
        broken: A relative of the subject for which the statement is false.
        more: Further checks and twins; the claim holds if all do.

    Example:
        >>> def is_even(number, deep):
        ...     return None if number % 2 == 0 else f"{number} is odd"
        >>> claim = Claim("two-is-even", "2 is even", r"2 \in 2\mathbb{Z}", OWN, IDENTITY,
        ...               "division", "one number", "one number", is_even, subject=2, broken=3)
        >>> claim.judge().passed
        True
    """

    name: str
    statement: str
    formula: str
    source: str
    kind: str
    how: str
    scope: str
    deep_scope: str
    check: Check
    subject: Any
    broken: Any
    more: tuple[Evidence, ...] = ()

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """All checks, each with its broken twin."""
        return (Evidence(self.how, self.check, self.subject, self.broken), *self.more)

    def judge(self, *, deep: bool = False) -> Verdict:
        """Run every check on its subject and on its broken twin."""
        start = time.perf_counter()
        try:
            witnesses = [each.check(each.subject, deep) for each in self.evidence]
            objections = [each.check(each.broken, deep) for each in self.evidence]
        except Exception as error:
            error.add_note(f"while checking the claim {self.name}")
            raise
        witness = next((found for found in witnesses if found is not None), None)
        objection = None if None in objections else "; ".join(str(each) for each in objections)
        return Verdict(self, deep, witness, objection, time.perf_counter() - start)


@dataclass(frozen=True)
class Verdict:
    """What running a claim showed.

    Args:
        claim: The claim.
        deep: Whether the thorough check ran.
        witness: Why the claim fails, or None.
        objection: Why the broken twins were rejected, or None, which is a defect of a check: it
            accepted one.
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
            "formula": self.claim.formula,
            "source": self.claim.source,
            "kind": self.claim.kind,
            "how": "; ".join(dict.fromkeys(each.how for each in self.claim.evidence)),
            "twins": len(self.claim.evidence),
            "scope": self.scope,
            "verdict": "holds" if self.holds else "fails",
            "witness": self.witness,
            "broken_twin_rejected": self.rejects_broken,
            "objection": self.objection,
            "seconds": round(self.seconds, 3),
        }
