"""Figures that algorithms add to the history: which there are, and signs that something is off.

An algorithm puts figures into its state (`ServerState.figures`); they become columns of the history
beside those that every run has. Here they are found again by being none of the common ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fl_runtime.history import History, Series
from fl_runtime.metrics.round_metrics import held_out_names, staleness_metrics, training_metrics

COMMON = (
    "event",
    "arm",
    "seed",
    "server_round",
    "virtual_time",
    "num-dropped",
    "num-rejected",
    "num-failed",
    "num-discarded",
    "num-stale",
)
"""Columns of every algorithm beside the measured ones, see `history_rows.round_row`."""

UNIFORM = 0.999
"""Entropy of attention, as a share of its maximum, from which on it is the mean."""

ALONE = 0.99
"""Weight of the own update from which on attention ignores the others."""

STILL = 1e-3
"""Of the range [0, 1] of a hyper weight: one that moved less in a whole run was not learnt."""


def figure_names(history: History) -> list[str]:
    """Names of the algorithms' own figures, in the order they appear."""
    tasks = history.tasks
    common = {*COMMON, *held_out_names(tasks), *training_metrics(tasks, []), *staleness_metrics([])}
    columns = dict.fromkeys(
        key
        for arm in history.arms
        for seed in history.seeds(arm)
        for row in history.rounds(arm, seed)
        for key in row
    )
    return [key for key in columns if key not in common]


def figure_series(history: History, arm: str, name: str) -> Series | None:
    """A figure as (seeds, rounds), cut to the shortest run; NaN where a row lacks it, None if all.

    A null of the history counts as lacking.
    """
    runs = [[row.get(name) for row in history.rounds(arm, seed)] for seed in history.seeds(arm)]
    length = min(map(len, runs))
    series = np.array([run[:length] for run in runs], dtype=np.float64)
    return None if np.isnan(series).all() else series


@dataclass(frozen=True)
class Signature:
    """A sign that an algorithm does not do what it is meant to.

    Attributes:
        needs: Names of the figures it looks at.
        found: From these as (seeds, rounds), the figure to report, or None where all is well.
        sentence: What it means, with a place for that figure.
    """

    needs: tuple[str, ...]
    found: Callable[..., float | None]
    sentence: str


def _above(limit: float) -> Callable[[Series], float | None]:
    """The mean where it reaches a limit."""

    def found(series: Series) -> float | None:
        mean = float(np.nanmean(series))
        return mean if mean >= limit else None

    return found


def _unmoved(low: Series, high: Series) -> float | None:
    """How far weights moved, where that is little; nothing where they were held fixed."""
    moved = float(np.nanmax(high) - np.nanmin(low))
    return moved if 0.0 < moved < STILL else None


def _any(series: Series) -> float | None:
    """The total per seed, where there is any."""
    total = float(np.nansum(series, axis=1).mean())
    return total or None


def _at_the_end(series: Series) -> float | None:
    """The last value, mean over seeds, where it is positive."""
    return float(np.nanmean(series[:, -1])) or None


SIGNATURES: Sequence[Signature] = (
    Signature(
        ("attention_entropy",),
        _above(UNIFORM),
        "attention was uniform (entropy {:.4f} of its maximum): decoders got the mean of all",
    ),
    Signature(
        ("attention_own",),
        _above(ALONE),
        "attention saw a decoder's own update alone (weight {:.3f}): nothing was exchanged",
    ),
    *(
        Signature(
            (f"min_{kind}_weight", f"max_{kind}_weight"),
            _unmoved,
            f"the hyper weights of {kind}s stayed within {{:.1g}} of each other all the time: "
            "their inner products are too small for the rate",
        )
        for kind in ("encoder", "decoder")
    ),
    Signature(
        ("num-dead-weights",),
        _at_the_end,
        "{:.3g} hyper weights ended outside [0, 1], where their gradient is zero",
    ),
    Signature(
        ("num-undecided",),
        _any,
        "{:.3g} directions were undecided at this precision; the mean was taken instead",
    ),
    Signature(
        ("num-stationary",),
        _any,
        "{:.3g} steps were at a Pareto stationary point, where no direction improves all tasks",
    ),
)
"""What is looked for in every run that has the figures."""


def signs(history: History) -> list[dict[str, str]]:
    """What is off, arm by arm: `arm` and `sign`, a sentence."""
    return [
        {"arm": arm, "sign": signature.sentence.format(value)}
        for arm in history.arms
        for signature in SIGNATURES
        for series in [[figure_series(history, arm, name) for name in signature.needs]]
        if all(one is not None for one in series)
        for value in [signature.found(*series)]
        if value is not None
    ]
