"""Signs that training itself is off, task by task: a function for each, silent on healthy runs.

They look at the loss on the test set after every aggregation, so they hold for every algorithm.
Nothing is said of a task that nobody was recruited for. What an algorithm tells of itself is read
in `algorithm_metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fl_runtime.history import History, Series

REASONS = ("not finite", "ruins model")
"""Of incidents (`running.history_rows`) that are updates that were rejected."""

FEWEST = 20
"""Evaluated rounds, and answers, below which nothing is said: a short run looks like anything."""

SWING = 0.25
"""Of its first value: what a loss must rise and fall by to swing. Ordinary noise of few clients
per aggregation is half of that, in the experiments of this package."""

MANY_SWINGS = 3
"""Once or twice a loss may jump for another reason, such as a step of the rate."""

STARVED = 0.5
"""Of all answers of a run; a task that is trained by turns waits for a share of one in so many."""

SLOW = 0.8
"""Of the fall in the first half of a run: curves that approach something fall by less in the
second, an exponential that ends at a third of its way by 0.6."""

RUINED = 100.0
"""Times its first value: a loss that ends above has diverged, however short the run is."""

REJECTED = 0.1
"""Of the updates that came back: so many that are no numbers are no accident."""

FAR = 0.25
"""Of its first value: a loss that has fallen by as much has not been too slow."""


@dataclass(frozen=True)
class Curve:
    """One task of one run, up to its last aggregation if it was finished before the run was.

    Attributes:
        loss: (rounds,) on the test set, where it was evaluated.
        score: (rounds,) that of the task, positive where higher is better, else negative.
        answers: (rounds,) of all tasks up to then.
        finished: Whether it was, because it reached its target.
    """

    loss: Series
    score: Series
    answers: Series
    finished: bool = False


@dataclass(frozen=True)
class TrainingSign:
    """A sign that a task is not trained as it is meant to be.

    Attributes:
        found: From one run the figure to report, or None where all is well.
        sentence: What it means, with places for the `task` and that figure, its mean over seeds.
    """

    found: Callable[[Curve], float | None]
    sentence: str


def swings(curve: Curve) -> float | None:
    """How often the loss rose and fell again by a quarter of its first value.

    Example:
        >>> waves, calm = np.tile([1.0, 0.4], 12), np.tile([1.0, 0.9], 12)
        >>> swings(Curve(waves, -waves, np.arange(24.0))), swings(Curve(calm, -calm, calm))
        (11.0, None)
    """
    if curve.loss.size < FEWEST:
        return None
    least, count, last, rising = SWING * abs(curve.loss[0]), 0, curve.loss[0], False
    for value in curve.loss.tolist():
        if (value > last) == rising:
            last = value  # the peak or trough so far
        elif abs(value - last) >= least:
            count += rising
            last, rising = value, not rising
    return float(count) if count >= MANY_SWINGS else None


def starvation(curve: Curve) -> float | None:
    """The longest time without an aggregation, as a share of all answers, where that is long.

    Example:
        >>> answers, fed = np.arange(40.0), np.linspace(1.0, 0.1, 40)
        >>> starved = np.where(answers < 10.0, fed, fed[10])
        >>> starvation(Curve(starved, -starved, answers)), starvation(Curve(fed, -fed, answers))
        (0.74..., None)
    """
    if curve.loss.size < FEWEST:
        return None
    moved = np.flatnonzero(np.diff(curve.loss) != 0.0) + 1
    ends = np.concatenate([[0], moved, [curve.loss.size - 1]])
    waits = np.diff(curve.answers[ends])
    longest = int(waits.argmax())
    if waits[longest] < FEWEST or ends[longest + 1] - ends[longest] < FEWEST // 2:
        return None
    share = float(waits[longest] / curve.answers[-1])
    return share if share > STARVED else None


def divergence(curve: Curve) -> float | None:
    """How many times its first value the loss ended at, if it rose and the score is no better.

    Example:
        >>> gone = np.array([1.0, 40.0, 1e9])
        >>> divergence(Curve(gone, -gone, gone)), divergence(Curve(gone[:2], -gone[:2], gone[:2]))
        (1000000000.0, None)
        >>> worse, overfit = np.linspace(1.0, 3.0, 30), np.linspace(0.1, 0.9, 30)
        >>> divergence(Curve(worse, -worse, worse)), divergence(Curve(worse, overfit, worse))
        (2.9..., None)
    """
    if curve.loss.size < 2:
        return None
    if curve.loss.size < FEWEST and not curve.loss[-1] > RUINED * abs(curve.loss[0]):
        return None
    tail = slice(-max(1, curve.loss.size // 10), None)
    end, score = float(np.median(curve.loss[tail])), float(np.median(curve.score[tail]))
    worse = end > curve.loss[0] > 0.0 and score <= curve.score[0]
    return end / float(curve.loss[0]) if worse else None


def slowness(curve: Curve) -> float | None:
    """The share of its first value that the loss fell by, if little and as fast as at first.

    Example:
        >>> time = np.arange(30.0)
        >>> line, bend = 1.0 - time / 290.0, 0.7 + 0.3 * np.exp(-time / 8.0)
        >>> slowness(Curve(line, -line, time)), slowness(Curve(bend, -bend, time))
        (0.0..., None)
    """
    if curve.loss.size < FEWEST or curve.finished:
        return None
    first, last = curve.loss[0], curve.loss[-1]
    middle = float(np.interp(curve.answers[[0, -1]].mean(), curve.answers, curve.loss))
    fall = (first - last) / abs(first) if first else 0.0
    steady = middle - last >= SLOW * (first - middle) > 0.0
    return float(fall) if steady and 0.0 < fall < FAR else None


TRAINING_SIGNS: Sequence[TrainingSign] = (
    TrainingSign(
        swings,
        "the loss of {task} swung by over a quarter of its first value {figure:.3g} times: the "
        "rate is too high for so few answers per aggregation (a larger buffer, or a lower rate)",
    ),
    TrainingSign(
        starvation,
        "{task} was starved: its model stayed as it was for {figure:.0%} of all answers "
        "(nobody trained it, or its buffer was never full)",
    ),
    TrainingSign(
        divergence,
        "the loss of {task} ended at {figure:.3g} times its first value, and its score is no "
        "better: the rate of the server (or of the clients) is too high",
    ),
    TrainingSign(
        slowness,
        "the loss of {task} fell by {figure:.0%} in all, as fast at the end as at first: the rate "
        "of the server (or of the clients) is too low, or the run too short",
    ),
)
"""What is looked for in every task of every run."""


def training_signs(history: History, arm: str) -> Iterator[str]:
    """What is off with the training of an arm, in sentences: what at least half its seeds show."""
    for task in history.tasks:
        runs = [
            _curve(history, arm, seed, task)
            for seed in history.seeds(arm)
            if any(row["take_up"][task] for row in history.recruitments(arm, seed))
        ]
        for sign in TRAINING_SIGNS:
            told = [sign.found(curve) for curve in runs]
            seen = [figure for figure in told if figure is not None]
            if seen and 2 * len(seen) >= len(told):
                yield sign.sentence.format(task=task, figure=float(np.mean(seen)))


def rejections(history: History, arm: str) -> Iterator[str]:
    """Tasks of which many updates were no numbers or would have ruined the model, in sentences."""
    seeds = history.seeds(arm)
    for task in history.tasks:
        lost = sum(
            row["task"] == task and row["reason"] in REASONS
            for seed in seeds
            for row in history.incidents(arm, seed)
        )
        taken = sum(
            row.get(f"{task}/num-updates", row.get(f"{task}/num-clients", 0))
            for seed in seeds
            for row in history.rounds(arm, seed)
        )
        if lost and lost >= REJECTED * (lost + taken):
            yield (
                f"{lost} of {lost + taken} updates of {task} were rejected, because they or the "
                "model with them were not finite: the learning rate of the clients (or of the "
                "server) is too high, or the data hold such numbers"
            )


def _curve(history: History, arm: str, seed: int, task: str) -> Curve:
    """What a history holds of one task of one run, in its last stage if it has several."""
    rows = history.rounds(arm, seed)
    rows = [row for row in rows if row.get("stage") == rows[-1].get("stage")]
    score = history.scores[task]
    sign = 1.0 if score.higher_is_better else -1.0
    counts = [row.get("num-updates", row.get("num-clients", 0)) for row in rows]
    table = np.array(
        [
            [row.get(f"{task}/eval_loss"), row.get(score.column(task)), count]
            for row, count in zip(rows, np.cumsum(counts), strict=True)
        ],
        dtype=np.float64,
    ).reshape(-1, 3)
    table = table[np.isfinite(table[:, :2]).all(axis=1)]
    finished = task in history.reached(arm, seed)
    if finished:
        table = table[: np.flatnonzero(np.diff(table[:, 0]) != 0.0).max(initial=-1) + 2]
    return Curve(table[:, 0], sign * table[:, 1], table[:, 2], finished)
