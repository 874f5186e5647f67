"""Active clients with unequal chances: met by the draw, and what importance weights divide by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fairopt.errors import InvalidInput
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.running.build import assemble
from fl_runtime.running.experiment import run
from fl_runtime.running.preflight import check_all_arms
from fl_runtime.training.client_sampling import ByExamples, draw_with, inclusion_chances
from tests.fl_runtime.algorithms.test_inclusion import LIMIT, counted, parts_of
from tests.fl_runtime.extension.test_own_parts import small

HERE = __name__
ROUNDS = 400
DRAWS = 3000


@dataclass(frozen=True)
class Growing:
    """The higher a client's number the more often; the first one never."""

    def weights(self, examples: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.arange(len(examples)) ** 2.0


@dataclass(frozen=True)
class Negative:
    """No law."""

    def weights(self, examples: NDArray[np.int64]) -> NDArray[np.float64]:
        return -np.ones(len(examples))


def test_every_pair_is_drawn_together_at_times() -> None:
    """A walk along a fixed order never takes two neighbours of it."""
    rng = np.random.default_rng(0)
    pairs = {tuple(draw_with(np.full(4, 0.5), rng).tolist()) for _ in range(200)}
    assert pairs == {(a, b) for b in range(4) for a in range(b)}


WEIGHT = st.just(0.0) | st.floats(1e-6, 100.0)


@given(st.lists(WEIGHT, min_size=1, max_size=9), st.integers(1, 9))
def test_chances_are_proportional_and_add_up(weights: list[float], count: int) -> None:
    x = np.array(weights)
    chances = inclusion_chances(x, count)
    able = int((x > 0.0).sum())
    assert chances.sum() == pytest.approx(min(count, able))
    assert (chances <= 1.0).all()
    assert ((chances > 0.0) == (x > 0.0)).all()
    free = (chances > 0.0) & (chances < 1.0)
    if free.any():
        ratio = chances[free] / x[free]
        assert ratio == pytest.approx(ratio[0])
        assert (x[chances == 1.0] * ratio[0] >= 1.0 - 1e-9).all()


def test_a_draw_meets_its_chances() -> None:
    chances = inclusion_chances(np.array([1.0, 2.0, 3.0, 9.0, 0.0, 5.0]), 3)
    rng = np.random.default_rng(0)
    times = np.zeros(6)
    for _ in range(DRAWS):
        drawn = draw_with(chances, rng)
        assert len(set(drawn.tolist())) == drawn.size == 3
        times[drawn] += 1
    spread = np.sqrt(chances * (1.0 - chances) / DRAWS)
    assert (np.abs(times / DRAWS - chances) <= LIMIT * spread).all()


@pytest.mark.slow
@pytest.mark.parametrize("law", [ByExamples(), ByExamples(2.0), Growing()], ids=repr)
@pytest.mark.parametrize("algorithm", ["random", "fed-avg"])
def test_importance_weights_follow_the_chances(algorithm: str, law: Any) -> None:
    """Expected answers are right; weights of clients that can be drawn add up to one on average."""
    parts = parts_of(algorithm, {"dropout": 0.2}, {"aggregation": "importance"}, "max-min-fair")
    parts = replace(parts, federation=replace(parts.federation, sampling=law))
    seen = counted(parts, ROUNDS)
    assert seen.worst < LIMIT
    error = (seen.sums - seen.askable).std(axis=0) / ROUNDS**0.5
    assert (np.abs(seen.sums.mean(axis=0) - seen.askable.mean(axis=0)) <= LIMIT * error).all()


def test_equal_chances_keep_every_byte() -> None:
    plain, same = (
        run(check_config(small(clients__fraction_train=0.5, **own))).rows
        for own in ({}, {"clients__sampling": "uniform"})
    )
    assert plain == same


def test_a_client_of_weight_zero_is_never_asked() -> None:
    tree = small(clients__fraction_train=0.5, clients__sampling=f"{HERE}:Growing")
    parts = assemble(check_config(tree), 0)
    chance = parts.federation.selection_chance
    assert chance[0] == 0.0
    assert chance.sum() == pytest.approx(2.0)
    for seed in range(20):
        drawn = parts.federation.draw_active(np.random.default_rng(seed)).tolist()
        assert len(drawn) == 2
        assert 0 not in drawn


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clients__sampling": "by-example"}, "did you mean by-examples"),
        ({"clients__sampling": {"name": "by-examples", "powr": 2.0}}, "did you mean power"),
        ({"clients__sampling": f"{HERE}:Negative"}, "finite weights >= 0"),
        ({"clients__sampling": "by-examples", "clients__over_selection": 1.5}, "first answers"),
        ({"clients__sampling": "by-examples", "run__algorithm": "sync-st"}, "by itself"),
        ({"clients__sampling": "by-examples", "run__algorithm": "fed-buff"}, "by itself"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=f"clients.sampling.*{said}"):
        check_all_arms(check_config(small(**changes)))
