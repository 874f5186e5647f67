"""Figures of several tasks against each alone, on tables of scores that are drawn."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fl_runtime.metrics.multi_task import mean_change, mean_ranks, percent_worse

scores = arrays(np.float64, (3, 2), elements=st.floats(0.1, 10.0))
signs = arrays(np.float64, 3, elements=st.sampled_from([-1.0, 1.0]))


@settings(max_examples=25)
@given(mine=scores, alone=scores, signs=signs, unit=st.floats(1e-3, 1e3))
def test_per_cent_worse_is_the_definition_of_the_literature_in_any_unit(
    mine: np.ndarray, alone: np.ndarray, signs: np.ndarray, unit: float
) -> None:
    by_hand = [
        100.0
        / 3
        * sum(
            (-1) ** int(signs[s] > 0) * (mine[s, k] - alone[s, k]) / alone[s, k] for s in range(3)
        )
        for k in range(2)
    ]
    np.testing.assert_allclose(percent_worse(mine, alone, signs), by_hand, rtol=1e-9, atol=1e-9)
    units = np.array([[unit], [1.0], [1.0]])
    scaled = percent_worse(mine * units, alone * units, signs)
    np.testing.assert_allclose(scaled, by_hand, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(percent_worse(mine, mine, signs), 0.0)


def test_a_task_that_scores_nothing_alone_has_no_figure() -> None:
    assert np.isnan(mean_change([[0.5, 0.5]], [[0.0, 1.0]], [1.0])).tolist() == [True, False]


@settings(max_examples=25)
@given(table=arrays(np.float64, (4, 3, 2), elements=st.floats(0.1, 10.0)), signs=signs)
def test_ranks_share_what_there_is_and_the_best_of_all_tasks_is_first(
    table: np.ndarray, signs: np.ndarray
) -> None:
    ranks = mean_ranks(table, signs)
    np.testing.assert_allclose(ranks.sum(axis=0), 10.0)
    best = np.where(signs[:, None] > 0, table.max(axis=0), table.min(axis=0))
    ahead = best + signs[:, None]
    np.testing.assert_array_equal(mean_ranks([*table, ahead], signs)[-1], 1.0)
    np.testing.assert_allclose(mean_ranks(table, -signs) + ranks, 5.0)
