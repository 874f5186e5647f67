"""An override that nobody calls is refused by name; what is called is never refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from fairopt.errors import InvalidInput
from fl_runtime import check_algorithm
from fl_runtime.algorithms import (
    ALGORITHM,
    ALGORITHMS,
    Ditto,
    FairGradTraining,
    FedAST,
    FedAvg,
    FedBuff,
    Local,
)
from fl_runtime.algorithms.fed_per import FedPer
from fl_runtime.algorithms.hooks import ignored_hooks
from fl_runtime.algorithms.synchronous import Synchronous
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.conformance.stage import played
from fl_runtime.extensions import resolve
from fl_runtime.running.experiment import run
from fl_runtime.training.job import Update
from tests.fl_runtime.extension.test_conformance import OWN
from tests.fl_runtime.extension.test_own_parts import small
from tests.fl_runtime.representatives import REPRESENTATIVES

HERE = __name__
HOOKS = (
    "coefficients",
    "server_step",
    "job_options",
    "seed_name",
    "probabilities",
    "assignments",
)


def overriding(base: Any, called: set[str]) -> type:
    """A subclass that overrides all hooks, does what its base does, and notes who was called."""

    def hook(name: str) -> Any:
        before = getattr(base, name, None) or getattr(Synchronous, name)

        def noting(self: Any, *arguments: Any) -> Any:
            called.add(name)
            return before(self, *arguments)

        return noting

    fields = {name: hook(name) for name in HOOKS if callable(getattr(base, name, lambda: None))}
    return type("Overriding", (base,), {**fields, "__module__": HERE})


@pytest.mark.slow
@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_what_is_called_in_a_run_and_nothing_else_may_be_overridden(name: str) -> None:
    """The verdict is from the code alone; here the loop is played, and calls are counted."""
    called: set[str] = set()
    kind = overriding(ALGORITHMS[name], called)
    made = resolve(ALGORITHM, name, fields=OWN.get(name, {}))
    played(kind(**vars(made)), 4)
    ignored = {each.name for each in ignored_hooks(kind)}
    assert called == {key for key in vars(kind) if key in HOOKS} - ignored


@dataclass(frozen=True, kw_only=True)
class StepsOnATrunk(FairGradTraining):
    def server_step(self, mean: Any, memory: Any) -> Any:
        return mean, memory


@dataclass(frozen=True, kw_only=True)
class WeighsAlone(Local):
    def coefficients(self, updates: Sequence[Update]) -> list[float]:
        return [1.0] * len(updates)


@dataclass(frozen=True, kw_only=True)
class StepsOnABase(FedPer):
    def server_step(self, mean: Any, memory: Any) -> Any:
        return mean, memory


@dataclass(frozen=True, kw_only=True)
class WeighsGlobals(Ditto):
    def coefficients(self, updates: Sequence[Update]) -> list[float]:
        return [1.0 / len(updates)] * len(updates)


@dataclass(frozen=True)
class WeighsArrivals(FedBuff):
    def coefficients(self, updates: Sequence[Update]) -> list[float]:
        return [1.0] * len(updates)


@dataclass(frozen=True)
class StepsBehindAField(FedAST):
    def server_step(self, mean: Any, memory: Any) -> Any:  # type: ignore[override]
        return mean, memory


@dataclass(frozen=True, kw_only=True)
class TakesItsOwnSums(FedAvg):
    """Overrides the aggregation, and with it everything that only the old one called."""

    def aggregate(self, state: Any, updates: Sequence[Update]) -> Any:
        return replace(state, server_round=state.server_round + 1)

    def coefficients(self, updates: Sequence[Update]) -> list[float]:
        return [1.0] * len(updates)


@dataclass(frozen=True, kw_only=True)
class CallsItAgain(Local):
    """The same override as above, on a road that passes it."""

    def moved(self, state: Any, updates: Sequence[Update]) -> Any:
        assert self.coefficients(updates)
        return super().moved(state, updates)

    def coefficients(self, updates: Sequence[Update]) -> list[float]:
        return [1.0] * len(updates)


@dataclass(frozen=True, kw_only=True)
class CallsTheOldOne(FedAvg):
    """What the inherited aggregation calls is called where that is."""

    def aggregate(self, state: Any, updates: Sequence[Update]) -> Any:
        return super().aggregate(state, list(updates))

    def coefficients(self, updates: Sequence[Update]) -> list[float]:
        return [1.0 / len(updates)] * len(updates)


@dataclass(frozen=True, kw_only=True)
class ThroughAFunction(Local):
    """Called by a function beside the class."""

    def moved(self, state: Any, updates: Sequence[Update]) -> Any:
        weighed(self, updates)
        return super().moved(state, updates)

    def coefficients(self, updates: Sequence[Update]) -> list[float]:
        return [1.0] * len(updates)


def weighed(algorithm: Any, updates: Sequence[Update]) -> list[float]:
    """The coefficients."""
    found: list[float] = algorithm.coefficients(updates)
    return found


IGNORED = {
    StepsOnATrunk: ("server_step", "FairGradTraining, from which it inherits, never calls it"),
    WeighsAlone: ("coefficients", "Local, from which it inherits, never calls it"),
    StepsOnABase: ("server_step", "FedPer, from which it inherits, never calls it"),
    WeighsArrivals: ("coefficients", "FedBuff, from which it inherits, never calls it"),
    StepsBehindAField: ("server_step", "FedAST has a field of that name"),
    TakesItsOwnSums: ("coefficients", "FedAvg, from which it inherits, never calls it"),
}


@pytest.mark.parametrize("kind", IGNORED, ids=lambda kind: kind.__name__)
def test_an_ignored_override_is_refused_before_anything_is_written(
    kind: type, tmp_path: Any
) -> None:
    method, why = IGNORED[kind]
    config = check_config(small(run__algorithm=f"{HERE}:{kind.__name__}"))
    with pytest.raises(InvalidInput) as caught:
        run(config, out=tmp_path / "run")
    said = str(caught.value)
    assert f"'{HERE}:{kind.__name__}', but it must be without {method} (test_ignored_hooks" in said
    assert why in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", IGNORED, ids=lambda kind: kind.__name__)
def test_conformance_finds_it(kind: type) -> None:
    assert "what it overrides is called" in [each.law for each in check_algorithm(kind)]


@pytest.mark.parametrize(
    "kind",
    [WeighsGlobals, CallsItAgain, CallsTheOldOne, ThroughAFunction],
    ids=lambda kind: kind.__name__,
)
def test_what_is_called_is_not_refused(kind: type) -> None:
    assert ignored_hooks(kind) == []


def test_a_field_may_hold_a_function() -> None:
    @dataclass(frozen=True, kw_only=True)
    class WithAFunction(FedBuff):
        weighed: Callable[..., Any] = weighed

    assert ignored_hooks(WithAFunction) == []


def test_a_method_of_another_name_is_nobodys_business() -> None:
    @dataclass(frozen=True)
    class WithAHelper(FedBuff):
        def described(self) -> str:
            return "mine"

    assert ignored_hooks(WithAHelper) == []
