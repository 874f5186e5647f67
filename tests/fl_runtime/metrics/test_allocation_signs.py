"""Clients that are shared out to no purpose, and clients that are no image of all: seen or not."""

import math
from typing import Any

import numpy as np
import pytest

from fl_runtime.history import History
from fl_runtime.metrics.algorithm_metrics import signs
from fl_runtime.metrics.allocation_signs import biased_selection, persistent_gaps
from fl_runtime.metrics.selection_skew import selection_skew
from fl_runtime.running.experiment import run
from tests.fl_runtime import small

ROUNDS = 24


def history(*seeds: dict[str, list[Any]]) -> History:
    """Rows of one arm with two tasks: per seed, columns of rounds."""
    rows: list[dict[str, Any]] = []
    for seed, columns in enumerate(seeds):
        where = {"arm": "one", "seed": seed}
        rows.append({"event": "recruitment", **where, "take_up": {"a": 9, "b": 9}, "rule": "x"})
        rows += [
            {"event": "round", **where, "server_round": k + 1}
            | {key: values[k] for key, values in columns.items()}
            for k in range(ROUNDS)
        ]
    return History(rows)


def told(share: float, score: np.ndarray) -> dict[str, list[Any]]:
    """Task b has that share of 20 clients, and those scores."""
    return {
        "a/num-clients": [round(20 * (1 - share))] * ROUNDS,
        "b/num-clients": [round(20 * share)] * ROUNDS,
        "a/eval_acc": [0.9] * ROUNDS,
        "b/eval_acc": score.tolist(),
    }


NOISE = 0.01 * np.random.default_rng(7).standard_normal((3, ROUNDS))
LEARNT = 1.0 - 0.8 * np.arange(1, ROUNDS + 1) ** -0.5


def test_a_task_that_swallows_clients_and_learns_nothing_is_named() -> None:
    (sign,) = persistent_gaps(history(*(told(0.9, 0.1 + noise) for noise in NOISE)), "one")
    assert sign.startswith("task b had 90% of the clients in the last half, and its acc has not")


def test_a_hard_task_that_still_learns_is_not() -> None:
    assert persistent_gaps(history(*(told(0.9, LEARNT + noise) for noise in NOISE)), "one") == []


def test_nor_is_one_that_has_its_share_or_too_few_rounds() -> None:
    assert persistent_gaps(history(told(0.5, 0.1 + NOISE[0])), "one") == []
    rare = told(0.9, 0.1 + NOISE[0])
    rare["b/eval_acc"] = [x if k % 4 == 0 else None for k, x in enumerate(rare["b/eval_acc"])]
    assert persistent_gaps(history(rare), "one") == []


def skews(draw: Any) -> History:
    """Two tasks, forty clients of two kinds, four of them a round, as `draw` chooses."""
    kinds = np.repeat(np.eye(2), 20, axis=0)
    rng = np.random.default_rng(1)
    seeds = (
        {
            **told(0.5, LEARNT),
            "a/selection_skew": [selection_skew(kinds, draw(rng)) for _ in range(ROUNDS)],
            "b/selection_skew": [None, math.nan] * (ROUNDS // 2),
        }
        for _ in range(5)
    )
    return history(*seeds)


def test_recruits_of_another_mixture_are_told_from_a_random_choice() -> None:
    (sign,) = biased_selection(skews(lambda rng: rng.choice(24, 4, replace=False)), "one")
    assert sign.startswith("clients that trained task a had another mixture")
    assert biased_selection(skews(lambda rng: rng.choice(40, 4, replace=False)), "one") == []


def test_the_mean_skew_of_a_random_choice_is_one() -> None:
    rng = np.random.default_rng(2)
    shares = rng.dirichlet(np.ones(3), size=9)
    shares[8] = math.nan
    drawn = [selection_skew(shares, rng.choice(8, 3, replace=False)) for _ in range(4000)]
    assert np.mean(drawn) == pytest.approx(1.0, abs=4.0 * np.std(drawn) / math.sqrt(4000))
    assert selection_skew(shares, [0, 0, 1]) == selection_skew(shares, {0, 1, 8})
    for who in ((), (8,), range(8)):
        assert math.isnan(selection_skew(shares, who))
    assert math.isnan(selection_skew(np.full((3, 2), 0.5), {0}))


def test_runs_have_the_column_and_a_healthy_one_has_no_sign() -> None:
    ran = run(small.config(run={"seeds": [0], "client_metrics": True, "num_server_rounds": 8}))
    row = ran.rounds("fair", 0)[-1]
    assert {"wine/selection_skew", "iris/selection_skew"} <= row.keys()
    assert signs(ran.keep(lambda arm, seed: arm == "random")) == []
