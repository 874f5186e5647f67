"""Figures that algorithms add to the history: which there are, and signs that something is off.

An algorithm puts figures into its state (`ServerState.figures`); they become columns of the history
beside those that every run has. Here they are found again by being none of the common ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fl_runtime.history import History, Series, side_by_side
from fl_runtime.metrics.allocation_signs import biased_selection, persistent_gaps
from fl_runtime.metrics.round_metrics import held_out_names, staleness_metrics, training_metrics
from fl_runtime.metrics.training_signs import rejections, training_signs

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
    "evaluated",
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
    trained = training_metrics(tasks, [], answers_once=False)
    common = {*COMMON, *held_out_names(history.metrics), *trained, *staleness_metrics([])}
    columns = dict.fromkeys(
        key
        for arm in history.arms
        for seed in history.seeds(arm)
        for row in history.rounds(arm, seed)
        for key in row
    )
    return [key for key in columns if key not in common]


@dataclass(frozen=True)
class PairTable:
    """A figure of every pair of tasks, of one arm.

    Attributes:
        arm: Its name.
        name: Of the figure.
        tasks: Rows and columns.
        values: (tasks, tasks) mean over rounds and seeds; NaN where there is none.
    """

    arm: str
    name: str
    tasks: tuple[str, ...]
    values: Series


def is_of_pair(name: str, tasks: Sequence[str]) -> bool:
    """Whether a figure is one of a pair of tasks, ``NAME/TASK/OTHER``.

    Example:
        >>> is_of_pair("attention_3/a/b", ["a", "b"]), is_of_pair("a/eval_acc", ["a", "b"])
        (True, False)
    """
    return any(name.endswith(f"/{one}/{two}") for one in tasks for two in tasks)


def pair_tables(history: History) -> list[PairTable]:
    """Tables of all figures of pairs of tasks, arm by arm."""
    tasks = tuple(history.tasks)
    ending = f"/{tasks[0]}/{tasks[0]}" if tasks else "/"
    names = [n.removesuffix(ending) for n in figure_names(history) if n.endswith(ending)]
    found = []
    for name in names:
        for arm in history.arms:
            cells = [
                [figure_runs(history, arm, f"{name}/{one}/{two}") for two in tasks] for one in tasks
            ]
            if any(cell is not None for row in cells for cell in row):
                values = [[_pooled(cell) for cell in row] for row in cells]
                found.append(PairTable(arm, name, tasks, np.array(values)))
    return found


def _pooled(runs: Sequence[Series] | None) -> float:
    """Mean over rounds, then over seeds."""
    return float("nan") if runs is None else _mean_of(lambda run: float(run.mean()), runs)


def figure_runs(history: History, arm: str, name: str) -> list[Series] | None:
    """A figure round by round, one array per seed; NaN where a row lacks it, None if all do.

    A null of the history counts as lacking.
    """
    runs = [
        np.array([row.get(name) for row in history.rounds(arm, seed)], dtype=np.float64)
        for seed in history.seeds(arm)
    ]
    return runs if any(np.isfinite(run).any() for run in runs) else None


def figure_series(history: History, arm: str, name: str) -> Series | None:
    """The same as (seeds, rounds) for pictures, see `history.side_by_side`."""
    runs = figure_runs(history, arm, name)
    return None if runs is None else side_by_side(runs)


@dataclass(frozen=True)
class Signature:
    """A sign that an algorithm does not do what it is meant to.

    Attributes:
        needs: Names of the figures it looks at.
        found: From these, as one array per seed over all its rounds, the figure to report, or None
            where all is well.
        sentence: What it means, with a place for that figure.
    """

    needs: tuple[str, ...]
    found: Callable[..., float | None]
    sentence: str


def _mean_of(figure: Callable[[Series], float], runs: Sequence[Series]) -> float:
    """A figure of every run that has finite values, averaged over them."""
    return float(np.mean([figure(run[np.isfinite(run)]) for run in runs if np.isfinite(run).any()]))


def _above(limit: float) -> Callable[[Sequence[Series]], float | None]:
    """The mean over rounds, then over seeds, where it reaches a limit."""

    def found(runs: Sequence[Series]) -> float | None:
        mean = _mean_of(lambda run: float(run.mean()), runs)
        return mean if mean >= limit else None

    return found


def _unmoved(low: Sequence[Series], high: Sequence[Series]) -> float | None:
    """How far weights moved in any run, where that is little; nothing where they were fixed."""
    ranges = [
        float(np.nanmax(top) - np.nanmin(bottom))
        for bottom, top in zip(low, high, strict=True)
        if np.isfinite(bottom).any() and np.isfinite(top).any()
    ]
    return max(ranges) if ranges and 0.0 < max(ranges) < STILL else None


def _any(runs: Sequence[Series]) -> float | None:
    """The total of a run, mean over seeds, where there is any."""
    return _mean_of(lambda run: float(run.sum()), runs) or None


def _at_the_end(runs: Sequence[Series]) -> float | None:
    """The last value of a run, mean over seeds, where it is positive."""
    return _mean_of(lambda run: float(run[-1]), runs) or None


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
    shared_out = [
        {"arm": arm, "sign": sign}
        for arm in history.arms
        for look in (persistent_gaps, biased_selection)
        for sign in look(history, arm)
    ]
    found = shared_out + [
        {"arm": arm, "sign": signature.sentence.format(value)}
        for arm in history.arms
        for signature in SIGNATURES
        for runs in [[figure_runs(history, arm, name) for name in signature.needs]]
        if all(one is not None for one in runs)
        for value in [signature.found(*runs)]
        if value is not None
    ]
    untrained = [arm for arm in history.arms if _is_untrained(history, arm)]
    training = [
        {"arm": arm, "sign": sign}
        for arm in history.arms
        if arm not in untrained
        for sign in training_signs(history, arm)
    ]
    rejected = [
        {"arm": arm, "sign": sign} for arm in history.arms for sign in rejections(history, arm)
    ]
    return [*found, *rejected, *training, *({"arm": arm, "sign": UNTRAINED} for arm in untrained)]


UNTRAINED = "no model that is reported has changed in any round: the figures are of initial models"
"""The sign of a run that is shorter than the stages before its models, or that trained nobody."""


def _is_untrained(history: History, arm: str) -> bool:
    """Whether the held-out losses of all tasks stayed as they were, in runs of several rounds."""
    runs = [history.rounds(arm, seed) for seed in history.seeds(arm)]
    names = [f"{task}/eval_loss" for task in history.tasks]
    return all(len(rows) > 1 for rows in runs) and all(
        len({row.get(name) for row in rows}) == 1 for rows in runs for name in names
    )
