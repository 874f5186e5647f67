"""What an audit says: its result, how far that reaches, and witnesses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mechanisms.audits.violation import Violation
from mechanisms.reading.headings import NamedBids

HOLDS, VIOLATED, OPEN, UNCHECKED = "holds", "violated", "not decided", "not checked"
"""Results of a law; open is one of which no violation was found and not every misreport tried."""


@dataclass(frozen=True, eq=False, repr=False)
class AuditReport:
    """What an audit found.

    Args:
        truthful: True if the method is complete for what `scope` says and found nothing, False if
            it found a profitable misreport, None if it searched and found nothing.
        scope: What was covered, in words.
        method: "exact", "search" or "smt".
        laws: Law -> True, False, or None for not checked or not complete.
        violations: Witnesses, the most profitable misreport first.
        unchecked: Those of the laws that are None at which the method did not look at all.

    Example:
        >>> from mechanisms import audit, level_max_min
        >>> print(audit(level_max_min, [[1, 5], [2, 1], [4, 3]], 15))
        every joint misreport of clients 0-2 at this profile
        truthful: violated; client 0 with costs (1, 5) gains 2 by bidding (1, 3.25)
        individually rational: holds
        within budget: holds
        monotone: holds
        critical payments: not checked
        menu independent: violated; client 0 is paid 4 for task 0 when it bids 3.25 for ...
    """

    truthful: bool | None
    scope: str
    method: str
    laws: Mapping[str, bool | None]
    violations: tuple[Violation, ...]
    unchecked: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no law was seen broken."""
        return not self.violations

    def result(self, law: str) -> str:
        """What was seen of a law: holds, violated, not decided or not checked."""
        holds = self.laws[law]
        if holds is None:
            return UNCHECKED if law in self.unchecked else OPEN
        return HOLDS if holds else VIOLATED

    def worst(self, law: str) -> Violation | None:
        """The largest violation of a law that was found."""
        return next((each for each in self.violations if each.law == law), None)

    def named(self, names: NamedBids) -> AuditReport:
        """The same report whose sentences have the names of clients and tasks.

        `audit` does so by itself where it is given what `read_bids` returns.
        """
        told = (replace(each, sentence=by_name(each.sentence, names)) for each in self.violations)
        return replace(self, violations=tuple(told))

    def __str__(self) -> str:
        lines = [self.scope]
        for law in self.laws:
            found = self.worst(law)
            what = "" if found is None else f"; {found.sentence}"
            lines.append(f"{law}: {self.result(law)}{what}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        count = len(self.violations)
        found = f"{count} violation{'s' * (count != 1)}"
        return f"<AuditReport: truthful={self.truthful}, {found}, {self.method}: {self.scope}>"


def by_name(sentence: str, named: NamedBids) -> str:
    """A sentence of an audit with the names of clients and tasks in place of their numbers.

    Example:
        >>> import numpy as np
        >>> named = NamedBids(("ann", "bob"), ("a", "b"), np.ones((2, 2)))
        >>> by_name("client 1 bids 3 for task 0", named)
        'client bob bids 3 for task a'
    """
    names = {"client": named.clients, "task": named.tasks}

    def one(match: re.Match[str]) -> str:
        return f"{match[1]} {names[match[1]][int(match[2])]}"

    def two(match: re.Match[str]) -> str:
        return " and ".join(named.clients[int(number)] for number in match.groups())

    def several(match: re.Match[str]) -> str:
        return "tasks " + ", ".join(named.tasks[int(number)] for number in match[1].split(", "))

    sentence = re.sub(r"(?<=^clients )(\d+) and (\d+)", two, sentence)
    sentence = re.sub(r"\btask (\d+(?:, \d+)+)(?= when)", several, sentence)
    return re.sub(r"\b(client|task) (\d+)", one, sentence)
