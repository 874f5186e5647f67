"""A claim: a statement, the check of it, and a negative control that shows the check can fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeGuard

TIGHT = "tight"
BOUND = "bound"
IDENTITY = "identity"
COUNTEREXAMPLE = "counter-example"
LIMIT = "limit"
KINDS = {
    TIGHT: "an inequality, with an instance, checked too, on which no better one holds",
    BOUND: "an inequality on every instance",
    IDENTITY: "two things are equal on every instance",
    COUNTEREXAMPLE: "something plausible is false, on one worked instance",
    LIMIT: "what is approached as a parameter goes to an end of its range",
}
"""What a claim may be."""

OWN = "our reconstruction"
"""Source of results proved or reconstructed in this project."""

FORMER_KEYS = MappingProxyType(
    {"twins": "controls", "verdict": "result", "broken_twin_rejected": "control_rejected"}
)
"""Former names of three keys of a record, kept for one release, and their present names."""


@dataclass(frozen=True)
class NotChecked:
    """What a check returns that cannot run here: it speaks neither for its subject nor against it.

    Args:
        reason: What is missing, and how it is installed.
    """

    reason: str

    def __str__(self) -> str:
        return f"not checked here: {self.reason}"


Check = Callable[[Any, bool], "str | NotChecked | None"]
"""`check(subject, deep)` returns a witness against the subject in words, or None, or why it
cannot run here."""


@dataclass(frozen=True)
class Evidence:
    """One more check of a claim, or the same check with one more negative control.

    Args:
        how: How it is checked.
        check: The check.
        subject: What the claim is about, in the form that this check takes.
        control: The negative control, a relative of the subject that the check must reject.
    """

    how: str
    check: Check
    subject: Any
    control: Any


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
        control: The negative control, a relative of the subject for which the statement is false.
        more: Further checks and controls; the claim holds if all do.

    Example:
        >>> def is_even(number, deep):
        ...     return None if number % 2 == 0 else f"{number} is odd"
        >>> claim = Claim("two-is-even", "2 is even", r"2 \in 2\mathbb{Z}", OWN, IDENTITY,
        ...               "division", "one number", "one number", is_even, subject=2, control=3)
        >>> claim.verify().passed
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
    control: Any
    more: tuple[Evidence, ...] = ()

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """All checks, each with its negative control."""
        return (Evidence(self.how, self.check, self.subject, self.control), *self.more)

    def verify(self, *, deep: bool = False) -> ClaimResult:
        """Run every check on its subject, once, and on its negative controls."""
        start = time.perf_counter()
        different = {(id(each.check), id(each.subject)): each for each in self.evidence}
        try:
            witnesses = [each.check(each.subject, deep) for each in different.values()]
            objections = [each.check(each.control, deep) for each in self.evidence]
        except Exception as error:
            error.add_note(f"while checking the claim {self.name}")
            raise
        witness = next((found for found in witnesses if isinstance(found, str)), None)
        objection = None if None in objections else "; ".join(str(each) for each in objections)
        absent = next((x.reason for x in (*witnesses, *objections) if _absent(x)), None)
        return ClaimResult(self, deep, witness, objection, time.perf_counter() - start, absent)


def _absent(found: str | NotChecked | None) -> TypeGuard[NotChecked]:
    """Whether a check could not run here."""
    return isinstance(found, NotChecked)


@dataclass(frozen=True)
class ClaimResult:
    """What running a claim showed.

    Args:
        claim: The claim.
        deep: Whether the thorough check ran.
        witness: Why the claim fails, or None.
        objection: Why the negative controls were rejected, or None, which is a defect of a
            check: it accepted one.
        seconds: Time of both checks.
        not_checked: What is missing here for a part of the check, or None. Such a claim neither
            holds nor fails, unless another part of its check found a witness.
    """

    claim: Claim
    deep: bool
    witness: str | None
    objection: str | None
    seconds: float
    not_checked: str | None = None

    @property
    def holds(self) -> bool:
        """Whether everything was checked and nothing found against the claim."""
        return self.witness is None and self.not_checked is None

    @property
    def rejects_control(self) -> bool:
        """Whether the checks can fail: they rejected every negative control."""
        return self.objection is not None

    @property
    def passed(self) -> bool:
        """Both."""
        return self.holds and self.rejects_control

    @property
    def failed(self) -> bool:
        """Whether something speaks against the claim or against its check."""
        return self.witness is not None or not self.rejects_control

    @property
    def verdict(self) -> str:
        """One of "holds", "fails" and "not checked here"."""
        if self.witness is not None:
            return "fails"
        return "holds" if self.not_checked is None else "not checked here"

    @property
    def scope(self) -> str:
        """What was covered."""
        return self.claim.deep_scope if self.deep else self.claim.scope

    def record(self) -> dict[str, Any]:
        """Plain data, as printed by `--json`, with `FORMER_KEYS` beside the present ones."""
        found = {
            "claim": self.claim.name,
            "statement": self.claim.statement,
            "formula": self.claim.formula,
            "source": self.claim.source,
            "kind": self.claim.kind,
            "how": "; ".join(dict.fromkeys(each.how for each in self.claim.evidence)),
            "controls": len(self.claim.evidence),
            "scope": self.scope,
            "result": self.verdict,
            "witness": self.witness,
            "not_checked": self.not_checked,
            "control_rejected": self.rejects_control,
            "objection": self.objection,
            "seconds": round(self.seconds, 3),
        }
        return found | {former: found[present] for former, present in FORMER_KEYS.items()}


def summary(results: Sequence[ClaimResult]) -> str:
    """Count of claims that passed, and of those that could not be checked here."""
    passed = sum(result.passed for result in results)
    counted = f"{passed} of {len(results)} claims hold and reject their negative controls"
    absent = [result.not_checked for result in results if result.not_checked is not None]
    reasons = "; ".join(dict.fromkeys(absent))
    return f"{counted}; {len(absent)} not checked here: {reasons}" if absent else counted
