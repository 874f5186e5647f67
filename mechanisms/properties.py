"""The laws of an auction under their public names; the code is in `mechanisms.audits`."""

from mechanisms.audits.collusion import find_profitable_collusion, find_profitable_false_name
from mechanisms.audits.properties import (
    find_irrational_payment,
    find_menu_dependence,
    find_non_critical_payment,
    find_non_monotone,
    find_overload,
    find_overspend,
    find_profitable_misreport,
    find_profitable_report,
)

__all__ = [
    "find_irrational_payment",
    "find_menu_dependence",
    "find_non_critical_payment",
    "find_non_monotone",
    "find_overload",
    "find_overspend",
    "find_profitable_collusion",
    "find_profitable_false_name",
    "find_profitable_misreport",
    "find_profitable_report",
]
