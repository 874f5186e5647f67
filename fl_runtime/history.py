"""The history of a run: its rows, in the order in which they happened, as JSON lines."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput

Series = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """How a task is scored.

    Attributes:
        metric: Name of the figure.
        higher_is_better: Its direction.

    Example:
        >>> Score().column("a"), Score("rmse", False).reached(0.5, target=0.6)
        ('a/eval_acc', True)
    """

    metric: str = "acc"
    higher_is_better: bool = True

    def column(self, task: str) -> str:
        """The score of a task on its test set, in rows of rounds."""
        return f"{task}/eval_{self.metric}"

    def reached(self, score: float, *, target: float) -> bool:
        """Whether a score is as good as the target."""
        return score >= target if self.higher_is_better else score <= target


ACCURACY = Score()
"""How tasks are scored that say nothing."""

ROWS_FILE = "history.jsonl"
"""Within the folder of a run."""

EVERYONE = "everyone"
"""The recruitment rule without an auction: all clients train all tasks, unpaid."""


@dataclass(frozen=True)
class History:
    """All rows of a run, in the order they happened.

    A row of event `recruitment` holds `take_up` per task, `spend` and `cost`; a row of event
    `round` holds the metrics after that many server rounds; a row of event `incident` names the
    client whose job failed or whose update was rejected, and why; a row of event `stop` says that a
    run ended early, or which targets it reached; a row of event `account`, the last of every run,
    says what became of the jobs it sent. All name their `arm` and `seed`.

    Attributes:
        rows: The rows.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def arms(self) -> list[str]:
        """Names of the arms, in order of first appearance."""
        return list(dict.fromkeys(row["arm"] for row in self.rows))

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, in their order."""
        rows = [row for row in self.rows if row["event"] == "recruitment"]
        return list(rows[0]["take_up"]) if rows else []

    @cached_property
    def scores(self) -> dict[str, Score]:
        """How every task is scored; by accuracy where the first recruitment says nothing."""
        rows = [row for row in self.rows if row["event"] == "recruitment"]
        told = rows[0].get("scores", {}) if rows else {}
        return {
            task: Score(told[task]["metric"], told[task]["higher-is-better"])
            if task in told
            else ACCURACY
            for task in self.tasks
        }

    @property
    def by_accuracy(self) -> bool:
        """Whether all tasks are scored by accuracy."""
        return all(score == ACCURACY for score in self.scores.values())

    @cached_property
    def metrics(self) -> dict[str, list[str]]:
        """Names of the metrics of every task; the first one is its score."""
        rows = [row for row in self.rows if row["event"] == "round"]
        columns = list(rows[0]) if rows else []
        return {task: _metric_names(task, columns) for task in self.tasks}

    def seeds(self, arm: str) -> list[int]:
        """Seeds of an arm, in order."""
        return list(dict.fromkeys(row["seed"] for row in self.rows if row["arm"] == arm))

    @cached_property
    def _runs(self) -> dict[tuple[str, int, str], list[dict[str, Any]]]:
        """Rows by arm, seed and event."""
        found: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
        for row in self.rows:
            found.setdefault((row["arm"], row["seed"], row["event"]), []).append(row)
        return found

    def rounds(self, arm: str, seed: int) -> list[dict[str, Any]]:
        """Rows of one run, round by round."""
        return self._runs.get((arm, seed, "round"), [])

    def recruitments(self, arm: str, seed: int) -> list[dict[str, Any]]:
        """All recruitment rows of one run."""
        return self._runs.get((arm, seed, "recruitment"), [])

    def incidents(self, arm: str, seed: int) -> list[dict[str, Any]]:
        """Jobs that failed and updates that were rejected in one run, in order."""
        return self._runs.get((arm, seed, "incident"), [])

    def stopped(self, arm: str, seed: int) -> bool:
        """Whether that run said why it ended: a figure that stopped improving, or its targets."""
        return (arm, seed, "stop") in self._runs

    def reached(self, arm: str, seed: int) -> list[str]:
        """Tasks of that run that were finished because they reached their targets."""
        rows = self._runs.get((arm, seed, "stop"), [])
        return [task for row in rows for task in row.get("reached", [])]

    def account(self, arm: str, seed: int) -> dict[str, Any] | None:
        """What became of the jobs of one run; None if it has not ended, or tells nothing."""
        rows = self._runs.get((arm, seed, "account"), [])
        return rows[0] if rows else None

    def figures(self, arm: str, metric: str) -> list[Series]:
        """A metric round by round, one array per seed; NaN where it is undefined.

        A round whose models were not evaluated has the value of the one before.
        """
        return [
            np.array(list(_carried(self.rounds(arm, seed), metric)), dtype=np.float64)
            for seed in self.seeds(arm)
        ]

    def series(self, arm: str, metric: str) -> Series:
        """The same as (seeds, rounds) for pictures, see `side_by_side`."""
        return side_by_side(self.figures(arm, metric))

    def keep(self, wanted: Callable[[str, int], bool]) -> History:
        """The history of the (arm, seed) pairs that are wanted."""
        return History([row for row in self.rows if wanted(row["arm"], row["seed"])])


def _carried(rows: Sequence[Mapping[str, Any]], metric: str) -> Iterator[float | None]:
    """A column, in which the last value stands for what was not measured."""
    value = None
    for row in rows:
        if row.get("evaluated", True) or row[metric] is not None:
            value = row[metric]
        yield value


def side_by_side(runs: Sequence[Series]) -> Series:
    """(seeds, rounds) values of runs, of which one that ended earlier keeps its last value.

    Example:
        >>> side_by_side([np.array([0.1, 0.2, 0.4]), np.array([0.5])])
        array([[0.1, 0.2, 0.4],
               [0.5, 0.5, 0.5]])
    """
    length = max(map(len, runs))
    ends = [run[-1:] if run.size else np.array([np.nan]) for run in runs]
    return np.array(
        [np.append(run, end.repeat(length - len(run))) for run, end in zip(runs, ends, strict=True)]
    )


def read_history(path: Path) -> History:
    """Rows of a JSON-lines file.

    Raises:
        InvalidInput: The file is missing, or a line is not a row.
    """
    try:
        return history_of(path.read_bytes(), path)
    except OSError as error:
        raise InvalidInput("history", str(path), f"a readable history ({error})") from error


def history_of(content: bytes, path: Path) -> History:
    """Rows of the content of a JSON-lines file at that path.

    Raises:
        InvalidInput: A line is not a row.
    """
    try:
        rows = decode_rows(content)
    except ValueError as error:
        raise InvalidInput("history", str(path), f"a readable history ({error})") from error
    for number, row in enumerate(rows, start=1):
        if not _is_row(row):
            raise InvalidInput("history", f"{path} line {number}", "a row that a run writes")
    return History(rows)


def _metric_names(task: str, columns: Sequence[str]) -> list[str]:
    """Of a task, by the columns that are there for both held-out sets."""
    start = f"{task}/val_"
    names = [column.removeprefix(start) for column in columns if column.startswith(start)]
    return [name for name in names if name != "loss"] or [ACCURACY.metric]


def _is_row(row: Any) -> bool:
    """Whether a line has the keys and types that reports rely on."""
    if not isinstance(row, dict) or not isinstance(row.get("arm"), str):
        return False
    if not isinstance(row.get("seed"), int):
        return False
    if row.get("event") == "recruitment":
        money = all(isinstance(row.get(key), int | float) for key in ("spend", "cost"))
        take_up = row.get("take_up")
        counts = isinstance(take_up, dict) and all(isinstance(n, int) for n in take_up.values())
        return money and counts and {"rule", "budget", "min_take_up"} <= row.keys()
    if row.get("event") == "incident":
        return {"reason", "task", "client", "server_round"} <= row.keys()
    if row.get("event") == "stop":
        return {"metric", "server_round"} <= row.keys()
    figures = [value for key, value in row.items() if key not in ("event", "arm")]
    numeric = all(value is None or isinstance(value, int | float) for value in figures)
    if row.get("event") == "account":
        return numeric and {"asked", "answered", "in_flight"} <= row.keys()
    across = {"min_task_acc", "min_task_score"} & row.keys()
    return row.get("event") == "round" and numeric and bool(across) and "server_round" in row


def finite_figures(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with None for what is not a finite number, since JSON knows no NaN.

    Example:
        >>> finite_figures({"loss": float("nan"), "acc": 0.5, "rule": "everyone"})
        {'loss': None, 'acc': 0.5, 'rule': 'everyone'}
    """
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def encode_row(row: Mapping[str, Any]) -> bytes:
    r"""One line of a history file; floats in their shortest exact form.

    Example:
        >>> encode_row({"seed": 0, "loss": 0.1})
        b'{"seed":0,"loss":0.1}\n'
    """
    return json.dumps(row, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def decode_rows(lines: bytes) -> list[dict[str, Any]]:
    r"""The rows of whole lines of a history file.

    Raises:
        ValueError: A line is no JSON.

    Example:
        >>> decode_rows(b'{"seed":0,"loss":0.1}\n')
        [{'seed': 0, 'loss': 0.1}]
    """
    return [json.loads(line) for line in lines.decode("utf-8").splitlines()]


def merge(histories: Iterable[tuple[str, History]]) -> History:
    """Several runs as one, with the arms named as `merged_names` says."""
    labelled = list(histories)
    names = merged_names((label, history.arms) for label, history in labelled)
    return History(
        [
            row | {"arm": names[label, row["arm"]]}
            for label, history in labelled
            for row in history.rows
        ]
    )


def merged_names(runs: Iterable[tuple[str, Sequence[str]]]) -> dict[tuple[str, str], str]:
    """What an arm of a run is called beside the arms of other runs.

    An arm is prefixed by its run's label where names would clash.

    Args:
        runs: Label and arms of each.

    Raises:
        InvalidInput: Two runs, or two arms with their prefixes, have one name.

    Example:
        >>> merged_names([("x", ["a", "b"]), ("y", ["a"])])
        {('x', 'a'): 'x:a', ('x', 'b'): 'b', ('y', 'a'): 'y:a'}
    """
    labelled = list(runs)
    labels = [label for label, _ in labelled]
    _refuse_repeated("DIR", labels, "folders that differ")
    counts = Counter(arm for _, arms in labelled for arm in arms)
    names = {
        (label, arm): f"{label}:{arm}" if counts[arm] > 1 else arm
        for label, arms in labelled
        for arm in arms
    }
    _refuse_repeated("arm", list(names.values()), "arms with different names")
    return names


def _refuse_repeated(argument: str, names: Sequence[str], requirement: str) -> None:
    """Raise where one name stands for two things."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InvalidInput(argument, repeated[0], requirement)
