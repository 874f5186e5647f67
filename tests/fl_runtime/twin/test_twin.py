"""The runtime and its twin agree, and the comparison would tell if they did not."""

from __future__ import annotations

import pytest

from fl_runtime.algorithms import ALGORITHMS
from fl_runtime.configuration.toml_files import check_config
from tests.fl_runtime.twin.agreement import compared
from tests.fl_runtime.twin.algorithms import TWINS
from tests.fl_runtime.twin.draws import NAMES, drawn
from tests.fl_runtime.twin.wrong import MISTAKES, Mistake

EACH = 3
"""Configurations of every algorithm; there are more in `python -m tests.fl_runtime.twin.many`."""


def test_every_algorithm_has_a_twin() -> None:
    assert TWINS.keys() == ALGORITHMS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", NAMES)
def test_the_runtime_agrees_with_its_twin(algorithm: str) -> None:
    first = NAMES.index(algorithm)
    for number in range(first, EACH * len(NAMES), len(NAMES)):
        found = compared(check_config(drawn(number)))
        assert found.agrees or found.close_call, f"configuration {number}: {found.where}"


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_a_mistake_in_the_twin_is_told(mistake: Mistake) -> None:
    config = check_config(mistake.tree)
    assert compared(config).agrees
    with mistake.made():
        assert not compared(config).agrees
