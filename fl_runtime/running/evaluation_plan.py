"""Which rounds evaluate models: all of them, or the first, every k-th and the last.

Evaluating the held-out sets can take longer than training a few clients. With
``evaluate-every = k`` the test sets are evaluated in every k-th round only, and the validation sets
in all rounds only where something reads them. Rows of other rounds have null for what was not
measured, and say so (`evaluated`). In a run with ``evaluate-every = 1`` nothing is different.
"""

from __future__ import annotations

from dataclasses import dataclass

from fl_runtime.algorithms import ALGORITHMS, Algorithm
from fl_runtime.configuration.schema import Config, EarlyStopTable


@dataclass(frozen=True)
class Measured:
    """What is evaluated after a round.

    Attributes:
        test: Whether the sets are that are only reported.
        validation: Whether those are that decisions are made by.
    """

    test: bool = True
    validation: bool = True


EVERYTHING = Measured()


@dataclass(frozen=True)
class EvaluationPlan:
    """What is evaluated when.

    Attributes:
        every: Rounds from one evaluation to the next.
        validates: Whether validation sets are evaluated in all rounds.

    Example:
        >>> plan = EvaluationPlan(3, validates=False)
        >>> [n for n in range(1, 8) if plan.at(n) == EVERYTHING]
        [1, 3, 6]
    """

    every: int = 1
    validates: bool = True

    def at(self, server_round: int) -> Measured:
        """After that round, if it is not the last: then everything is."""
        due = server_round == 1 or server_round % self.every == 0
        return Measured(due, due or self.validates)


def evaluation_plan(
    config: Config, algorithm: Algorithm, rule: EarlyStopTable | None
) -> EvaluationPlan:
    """The plan of an arm.

    Args:
        config: Of the arm.
        algorithm: Of the arm.
        rule: When it stops early.
    """
    stops = rule is not None and "/val_" in rule.metric
    best = config.run.keep_models == "last+best"
    return EvaluationPlan(
        config.run.evaluate_every, validates=stops or best or reads_validation(algorithm)
    )


def reads_validation(algorithm: Algorithm) -> bool:
    """Whether an algorithm decides by validation figures; a user's own may.

    Example:
        >>> [name for name in ("fed-avg", "fed-fair-mmfl") if reads_validation(ALGORITHMS[name]())]
        ['fed-fair-mmfl']
    """
    return type(algorithm) not in ALGORITHMS.values() or hasattr(algorithm, "signal")
