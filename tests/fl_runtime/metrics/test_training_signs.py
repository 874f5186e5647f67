"""Signs that training is off: each speaks on runs broken in its way, and none on healthy ones."""

from typing import Any

import numpy as np
import pytest

from fl_runtime.configuration.toml_files import check_config
from fl_runtime.history import History
from fl_runtime.metrics.algorithm_metrics import signs
from fl_runtime.metrics.training_signs import rejections, training_signs
from fl_runtime.running.experiment import run
from tests.fl_runtime import small

ROUNDS = 40
FALLING = 0.6 + 1.7 * np.exp(-np.arange(ROUNDS) / 8.0)


def history(loss: Any, *, acc: Any = None, reached: tuple[str, ...] = (), seed: int = 0) -> History:
    """A run of two tasks, ten answers per round; "a" has that loss, "b" is healthy."""
    acc = np.linspace(0.1, 0.8, ROUNDS) if acc is None else acc
    rows: list[dict[str, Any]] = [{"event": "recruitment", "take_up": {"a": 4, "b": 4}}]
    rows += [
        {"event": "round", "server_round": n + 1, "num-updates": 10}
        | {"a/eval_loss": float(loss[n]), "a/eval_acc": float(acc[n])}
        | {"b/eval_loss": float(FALLING[n]), "b/eval_acc": 0.1 + 0.01 * n}
        for n in range(ROUNDS)
    ]
    rows.append({"event": "stop", "reached": list(reached)})
    return History([{"arm": "mine", "seed": seed, **row} for row in rows])


def said(*runs: History) -> list[str]:
    """The signs of these runs together."""
    return list(training_signs(History([row for each in runs for row in each.rows]), "mine"))


WAVES = np.where(np.arange(ROUNDS) // 4 % 2, 2.0, 1.0)
STARVED = np.where(np.arange(ROUNDS) < 10, FALLING, FALLING[10])
RISING = np.linspace(2.3, 9.2, ROUNDS)
CREEPING = np.linspace(2.3, 2.2, ROUNDS)
NOISE = np.random.default_rng(0).normal(0.0, 0.05, ROUNDS)
LEVEL = np.full(ROUNDS, 0.1)


@pytest.mark.parametrize(
    ("loss", "acc", "words"),
    [
        (WAVES, None, "swung by over a quarter of its first value 4 times"),
        (STARVED, None, "starved: its model stayed as it was for 72% of all answers"),
        (RISING, LEVEL, "ended at 3.88 times its first value"),
        (CREEPING, None, "fell by 4% in all, as fast at the end as at first"),
    ],
)
def test_every_sign_names_its_task_and_speaks_alone(loss: Any, acc: Any, words: str) -> None:
    broken = history(loss, acc=acc)
    (sign,) = said(broken)
    assert words in sign
    assert "a was starved" in sign or "of a " in sign
    assert said(history(FALLING, seed=1), history(FALLING, seed=2), broken) == []
    assert said(history(FALLING, seed=1), broken) == [sign]


@pytest.mark.parametrize(
    ("loss", "acc"),
    [
        (FALLING, None),
        (FALLING + NOISE, None),
        (np.linspace(0.5, 2.9, ROUNDS), None),  # overfitted: the score is better than at first
        (np.linspace(2.3, 1.2, ROUNDS), None),
        (np.repeat(FALLING[::4], 4), None),  # every fourth aggregation is of this task
    ],
)
def test_healthy_curves_have_no_sign(loss: Any, acc: Any) -> None:
    assert said(history(loss, acc=acc)) == []


def test_a_finished_task_is_neither_starved_nor_slow() -> None:
    assert said(history(STARVED, reached=("a",))) == []
    assert said(history(CREEPING, reached=("a",))) == []


def test_a_task_that_nobody_holds_is_not_starved() -> None:
    idle = history(np.ones(ROUNDS))
    assert "starved" in said(idle)[0]
    idle.rows[0]["take_up"] = {"a": 0, "b": 4}
    assert said(idle) == []


def test_only_the_last_stage_counts() -> None:
    """Models that are trained after others stay as they were until then."""
    late = history(np.concatenate([np.full(25, 2.3), FALLING[:15]]))
    assert "starved" in said(late)[0]
    for row in late.rows[1:-1]:
        row["stage"] = float(row["server_round"] > 25)
    assert said(late) == []


def test_what_was_not_evaluated_is_passed_over() -> None:
    rows = history(WAVES).rows
    for row in rows[2::2]:
        row.update({"a/eval_loss": None, "a/eval_acc": None})
    assert "4 times" in next(training_signs(History(rows), "mine"))


def test_rejected_updates_name_the_rate_also_where_nothing_was_trained() -> None:
    rows = history(np.ones(ROUNDS)).rows
    lost = {"event": "incident", "arm": "mine", "seed": 0, "task": "a", "server_round": 0}
    many = [{**lost, "reason": "ruins model"} for _ in range(120)]
    for row in rows[1:-1]:
        row |= {"a/num-clients": 0, "b/num-clients": 10}
        row["b/eval_loss"] = 1.0
    rows[1]["a/num-clients"] = 5
    found = [each["sign"] for each in signs(History([*rows, *many]))]
    assert found[0].startswith("120 of 125 updates of a were rejected")
    assert "learning rate" in found[0]
    assert found[-1].startswith("no model that is reported has changed")
    few = [{**lost, "task": "b", "reason": why} for why in ("not finite", *["failed"] * 60)]
    assert list(rejections(History([*rows, *few]), "mine")) == []


def test_a_short_run_that_has_diverged_is_told() -> None:
    assert "ended at 1e+09 times" in said(history([*FALLING[:3], *[2.3e9] * 37], acc=LEVEL))[-1]
    short = history(RISING * 1e6, acc=LEVEL).rows
    del short[6:-1]
    assert said(History(short)) == []
    short[5]["a/eval_loss"] = 1e12
    (sign,) = said(History(short))
    assert "too high" in sign


def asynchronous(ratio: float, rate: float) -> History:
    """Two small tasks under FedAST."""
    whole = small.tree(
        run={"algorithm": "fed-ast", "seeds": [0], "num_server_rounds": 60},
        clients={"delay": {"model": "exponential"}},
    )
    whole["algorithm"] = {"ratio": ratio, "server_learning_rate": rate, "concurrency": 8}
    del whole["arm"], whole["recruitment"]
    return run(check_config(whole))


def test_real_runs_speak_at_extreme_rates_only() -> None:
    assert signs(asynchronous(4.0, 0.5)) == []
    assert any("too low" in each["sign"] for each in signs(asynchronous(4.0, 1e-3)))
    loud = " ".join(each["sign"] for each in signs(asynchronous(8.0, 30.0)))
    assert "too high" in loud
