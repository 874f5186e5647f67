"""What the records of all allocations share: a status with its sentence, equality, one screen."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, Self

import numpy as np

from fairopt.errors import NotSolved
from fairopt.solution import GOOD, Status

NARROWEST = 10
"""Letters of the column of names: `iterations` stands in all records."""


class Answer:
    """Base of the records, which are frozen dataclasses.

    Attributes:
        status: What came of the problem.
        residual: Of the point as returned.
        iterations: Steps of all methods together.
        detail: What the sentence adds for this problem.
    """

    status: Status
    residual: float
    iterations: int
    detail: str

    @property
    def ok(self) -> bool:
        """Whether this is an answer: OPTIMAL or ROUNDING_LIMITED."""
        return self.status in GOOD

    @property
    def sentence(self) -> str:
        """The status in plain words, with what is particular to this problem."""
        return self.status.sentence + self.detail

    def require(self) -> Self:
        """This allocation if it is an answer.

        Raises:
            NotSolved: with the sentence and the residual.
        """
        if self.ok:
            return self
        left = f" (residual {self.residual:.2g})" if math.isfinite(self.residual) else ""
        raise NotSolved(f"{self.sentence}{left}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        record: Any = self
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(record))
        return all(
            np.array_equal(a, b) if isinstance(a, np.ndarray) else a is b or a == b
            for a, b in pairs
        )

    __hash__ = None  # type: ignore[assignment]  # holds arrays

    def _screen(self, title: str, *names: str) -> str:
        """The sentence and some arrays, long ones shortened, in two columns."""
        width = max(NARROWEST, *map(len, names))
        rows = [f"{title}: {self.sentence}"]
        with np.printoptions(threshold=24, edgeitems=3):
            for name in names:
                text = str(getattr(self, name)).replace("\n", "\n" + (width + 3) * " ")
                rows.append(f"  {name:<{width}} {text}")
        rows.append(f"  {'residual':<{width}} {self.residual:.3g}")
        return "\n".join([*rows, f"  {'iterations':<{width}} {self.iterations}"])
