"""What an audit says: its result, how far that reaches, and witnesses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mechanisms.audits.violation import Violation


@dataclass(frozen=True, eq=False)
class AuditReport:
    """What an audit found.

    Args:
        truthful: True if the method is complete for what `scope` says and found nothing, False if
            it found a profitable misreport, None if it searched and found nothing.
        scope: What was covered, in words.
        method: "exact", "search" or "smt".
        laws: Law -> True, False, or None for not checked or not complete.
        violations: Witnesses, the most profitable misreport first.
    """

    truthful: bool | None
    scope: str
    method: str
    laws: Mapping[str, bool | None]
    violations: tuple[Violation, ...]

    @property
    def ok(self) -> bool:
        """Whether no law was seen broken."""
        return not self.violations
