"""Means of a study with their spread and their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

CONFIDENCE = 0.95
"""Coverage of every interval."""
NAN = math.nan


@dataclass(frozen=True)
class Measure:
    """A mean over independent draws.

    Args:
        mean: Sample mean; not a number without values.
        spread: Standard deviation of single values; not a number below two, which show none.
        half_width: Of the Student-t interval of the mean, at `CONFIDENCE`; not a number below two
            values, and 0 where all are equal, which says nothing about draws that were not seen.
        count: Values.
    """

    mean: float
    spread: float
    half_width: float = NAN
    count: int = 0


def measure(values: ArrayLike) -> Measure:
    """Mean, standard deviation and interval of independent values; those that are NaN are left out.

    Example:
        >>> found = measure([0.5, 0.6, 0.7])
        >>> round(found.mean, 3), round(found.spread, 3), round(found.half_width, 3)
        (0.6, 0.1, 0.248)
    """
    x = np.asarray(values, dtype=np.float64)
    x = x[~np.isnan(x)]
    if x.size < 2:
        return Measure(float(x[0]) if x.size else NAN, NAN, count=x.size)
    from scipy import stats

    spread = float(x.std(ddof=1))
    quantile = float(stats.t.ppf(0.5 + CONFIDENCE / 2, x.size - 1))
    return Measure(float(x.mean()), spread, quantile * spread / math.sqrt(x.size), x.size)


def paired(values: ArrayLike, baseline: ArrayLike) -> Measure:
    """Measure of value minus baseline, draw by draw, so that what both share cancels.

    Example:
        >>> round(paired([0.5, 0.9], [0.4, 0.8]).mean, 3)
        0.1
    """
    return measure(np.asarray(values, dtype=float) - np.asarray(baseline, dtype=float))


def over(values: Sequence[float]) -> Measure:
    """Mean and standard deviation of means that are no independent draws: without an interval."""
    known = [value for value in values if not math.isnan(value)]
    spread = float(np.std(known)) if len(known) > 1 else NAN
    return Measure(float(np.mean(known)) if known else NAN, spread, count=len(known))


def as_rows(records: Iterable[Any]) -> list[dict[str, Any]]:
    """Records of a study as plain rows, which `pandas.DataFrame` takes.

    A `Measure` named x becomes x, x_spread and x_half_width.

    Example:
        >>> from mechanisms.studies.comparison import compare_rules
        >>> cells = compare_rules(num_clients=6, num_tasks=2, draws=3, budgets=[0.5])
        >>> row = as_rows(cells)[0]
        >>> row["rule"], row["law"], round(row["ratio"], 3), sorted(row)[-3:]
        ('max-min-fair', 'uniform', 0.639, ['spent_half_width', 'spent_spread', 'worst'])
    """
    rows = []
    for record in records:
        row: dict[str, Any] = {}
        for each in fields(record):
            value = getattr(record, each.name)
            row[each.name] = value.mean if isinstance(value, Measure) else value
            if isinstance(value, Measure):
                row[f"{each.name}_spread"] = value.spread
                row[f"{each.name}_half_width"] = value.half_width
        rows.append(row)
    return rows
