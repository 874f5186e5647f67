"""The runtime and its twin agree, and the comparison would tell if they did not."""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fl_runtime.configuration.toml_files import check_config
from tests.fl_runtime.representatives import REPRESENTATIVES
from tests.fl_runtime.twin.agreement import compared
from tests.fl_runtime.twin.algorithms import TWINS
from tests.fl_runtime.twin.draws import NAMES, Tree, drawn
from tests.fl_runtime.twin.wrong import LOST, MISTAKES, PERSIST, Mistake, tree

EACH = 4
"""Configurations of every algorithm; there are more in `python -m tests.fl_runtime.twin.many`."""


def test_every_algorithm_has_a_twin() -> None:
    assert TWINS.keys() == set(REPRESENTATIVES)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", NAMES)
@settings(max_examples=EACH, phases=[Phase.explicit, Phase.generate])
@given(turn=st.integers(0, 10**6))
def test_the_runtime_agrees_with_its_twin(algorithm: str, turn: int) -> None:
    number = turn * len(NAMES) + NAMES.index(algorithm)
    found = compared(check_config(drawn(number)))
    assert found.agrees or found.close_call, f"configuration {number}: {found.where}"


LATE = {"task_delays": [1.0, 3.0], "delay": {"model": "uniform", "low": 0.5, "high": 1.5}}


def _towards_targets() -> Tree:
    """A proxy that reaches its target while stragglers train it."""
    found = tree(
        "fed-ram",
        run={"stop_at_targets": True, "seeds": [8], "num_server_rounds": 8},
        algorithm={"agent": False, "reference_rounds": 1},
        clients={
            "num_clients": 8,
            "fraction_train": 0.4,
            "over_selection": 1.5,
            "dropout": 0.2,
            "delay": {"model": "pareto", "index": 1.5},
        },
    )
    for task in found["task"]:
        task["target_accuracy"] = 0.5
    return found


ONCE_APART = {
    "task-delays and the global models of ditto": tree("ditto", clients=LATE),
    "task-delays and the proxies of fed-ram": tree("fed-ram", clients=LATE),
    "jobs in flight on the proxy of a finished task": _towards_targets(),
    "a trunk that clients reconcile, one of their answers lost": tree(
        "cagrad", algorithm={"where": "client"}, clients=LOST, settings=PERSIST
    ),
}
"""Configurations in which the runtime and its twin once differed, beside those of `wrong`."""


@pytest.mark.slow
@pytest.mark.parametrize("once", ONCE_APART)
def test_where_they_differed_once_they_agree(once: str) -> None:
    found = compared(check_config(ONCE_APART[once]))
    assert found.agrees, found.where


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_a_mistake_in_the_twin_is_told(mistake: Mistake) -> None:
    config = check_config(mistake.tree)
    assert compared(config).agrees
    with mistake.made():
        assert not compared(config).agrees
