"""Means with their uncertainty, and differences between arms that share their seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

CONFIDENCE = 0.95
"""Coverage of every interval in tables and plots."""

LARGE = 1e6
"""From here on a number is shown by its first digits and a power of ten."""


@dataclass(frozen=True)
class Interval:
    """A mean and the half-width of its confidence interval (NaN for a single value).

    Attributes:
        mean: Sample mean.
        half_width: Student-t half-width at `CONFIDENCE`.
        count: Number of values.
    """

    mean: float
    half_width: float
    count: int

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval, hence the sign is established."""
        return abs(self.mean) > self.half_width

    def __format__(self, spec: str) -> str:
        spread = shown(self.half_width, spec.lstrip("+")) if np.isfinite(self.half_width) else ""
        return shown(self.mean, spec) + (f" ± {spread}" if spread else "")


def shown(value: float, spec: str) -> str:
    """A number by its format; one that is very large by its first digits.

    Example:
        >>> shown(-2924695492957589471232.0, ".3f"), shown(0.25, "+.3f"), shown(5e7, "+.3f")
        ('-2.92e+21', '+0.250', '+5e+07')
    """
    large = np.isfinite(value) and abs(value) >= LARGE
    return format(value, ("+" if spec.startswith("+") else "") + ".3g" if large else spec)


def interval(values: ArrayLike) -> Interval:
    """Mean and Student-t interval of independent values, one per seed.

    Example:
        >>> format(interval([0.5, 0.6, 0.7]), ".3f")
        '0.600 ± 0.248'
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size < 2:
        return Interval(float(x.mean()), float("nan"), x.size)
    quantile = float(stats.t.ppf(0.5 + CONFIDENCE / 2, x.size - 1))
    return Interval(float(x.mean()), quantile * float(x.std(ddof=1)) / x.size**0.5, x.size)


def paired_difference(values: ArrayLike, baseline: ArrayLike) -> Interval:
    """Interval of value minus baseline over seeds that both share.

    The seed fixes data split, costs, active clients and initial models in both arms, so what they
    have in common cancels, and the interval is usually narrower than that of two separate means.

    Example:
        >>> paired_difference([0.6, 0.7], [0.5, 0.6]).mean.__round__(3)
        0.1
    """
    return interval(np.asarray(values, dtype=np.float64) - np.asarray(baseline, dtype=np.float64))


def as_record(found: Interval) -> dict[str, float | int | None]:
    """An interval as plain data; None for a half-width that one value does not have.

    Example:
        >>> as_record(interval([0.5]))
        {'mean': 0.5, 'half_width': None, 'count': 1}
    """
    half = found.half_width if np.isfinite(found.half_width) else None
    mean = found.mean if np.isfinite(found.mean) else None
    return {"mean": mean, "half_width": half, "count": found.count}


def as_interval(record: Mapping[str, Any]) -> Interval:
    """An interval from its plain form.

    Example:
        >>> as_interval(as_record(interval([0.5, 0.7]))).mean
        0.6
    """
    mean, half = (float("nan") if record[k] is None else record[k] for k in ("mean", "half_width"))
    return Interval(mean, half, record["count"])
