"""What happened: one row per recruitment and per round, in memory and as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairopt.errors import InvalidInput

Series = NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """All rows of a run, in the order they happened.

    A row of event `recruitment` holds `take_up` per task, `spend` and `cost`; a row of event
    `round` holds the metrics after that many server rounds. Both name their `arm` and `seed`.

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

    def seeds(self, arm: str) -> list[int]:
        """Seeds of an arm, in order."""
        return list(dict.fromkeys(row["seed"] for row in self.rows if row["arm"] == arm))

    def rounds(self, arm: str, seed: int) -> list[dict[str, Any]]:
        """Rows of one run, round by round."""
        return [
            row
            for row in self.rows
            if row["event"] == "round" and row["arm"] == arm and row["seed"] == seed
        ]

    def recruitment(self, arm: str, seed: int) -> dict[str, Any]:
        """The recruitment row of one run."""
        for row in self.rows:
            if row["event"] == "recruitment" and row["arm"] == arm and row["seed"] == seed:
                return row
        raise KeyError((arm, seed))

    def series(self, arm: str, metric: str) -> Series:
        """A metric over rounds, (seeds, rounds), cut to the shortest seed; NaN where it is None."""
        runs = [[row[metric] for row in self.rounds(arm, seed)] for seed in self.seeds(arm)]
        length = min(map(len, runs))
        return np.array([run[:length] for run in runs], dtype=np.float64)

    def final(self, arm: str, metric: str, last: int = 1) -> Series:
        """A metric averaged over the `last` rounds, one value per seed."""
        return np.asarray(self.series(arm, metric)[:, -last:].mean(axis=1))


def read_history(path: Path) -> History:
    """Rows of a JSON-lines file.

    Raises:
        InvalidInput: The file is missing, or a line is not a row.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise InvalidInput("history", str(path), f"a readable history ({error})") from error
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not {"event", "arm", "seed"} <= row.keys():
            raise InvalidInput("history", f"{path} line {number}", "a row with event, arm and seed")
    return History(rows)


def encode_row(row: Mapping[str, Any]) -> bytes:
    r"""One line of a history file; floats in their shortest exact form.

    Example:
        >>> encode_row({"seed": 0, "loss": 0.1})
        b'{"seed":0,"loss":0.1}\n'
    """
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def merge(histories: Iterable[tuple[str, History]]) -> History:
    """Several runs as one; an arm is prefixed by its run's label where names would clash."""
    labelled = list(histories)
    names = [arm for _, history in labelled for arm in history.arms]
    rows = [
        row | {"arm": f"{label}:{row['arm']}" if names.count(row["arm"]) > 1 else row["arm"]}
        for label, history in labelled
        for row in history.rows
    ]
    return History(rows)
