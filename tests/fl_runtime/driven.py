"""The runtime's loop without data: an executor that does not train, an evaluator that is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from fl_runtime.algorithms.base import Algorithm, ServerState
from fl_runtime.conformance.stage import Instant, answered
from fl_runtime.execution.executor import Executor
from fl_runtime.running.build import Parts
from fl_runtime.running.step import Held
from fl_runtime.simulation.availability import Always, Availability
from fl_runtime.simulation.clock import Timing
from fl_runtime.training.federation import Federation
from fl_runtime.training.task import Evaluation

__all__ = ["Instant", "Told", "answered", "parts_of"]


@dataclass(frozen=True)
class Told:
    """An evaluator that looks at no model: accuracies as they are set, losses of one."""

    names: tuple[str, ...]
    accuracy: Callable[[ServerState, str], float] = lambda state, task: 0.5
    ruins: Callable[[ServerState], set[str]] = lambda state: set()

    def validation(self, state: ServerState, held: Held) -> Mapping[str, Evaluation]:
        """Of every task."""
        return {
            name: Evaluation.of_accuracy(1.0, self.accuracy(state, name)) for name in self.names
        }

    def test(self, state: ServerState, held: Held) -> Mapping[str, Evaluation]:
        """The same."""
        return self.validation(state, held)

    def ruined(self, state: ServerState, held: Held) -> set[str]:
        """Nothing, unless it is told so."""
        return self.ruins(state)


def parts_of(
    algorithm: Algorithm,
    federation: Federation,
    timing: Timing,
    executor: Executor,
    availability: Availability = Always(),  # noqa: B008
) -> Parts:
    """What the loop needs; nobody is recruited."""
    nobody = cast(Any, None)
    return Parts(algorithm, federation, nobody, nobody, None, timing, availability, executor)
