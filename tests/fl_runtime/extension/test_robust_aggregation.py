"""Median, trimmed mean and Krum: their guarantees, their symmetries, and what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fairopt.errors import InvalidInput
from fl_runtime import check_aggregation
from fl_runtime.algorithms import FedAvg, ServerState
from fl_runtime.algorithms.robust_aggregation import (
    ROBUST_RULES,
    Krum,
    Median,
    MultiKrum,
    TrimmedMean,
    krum_order,
)
from fl_runtime.algorithms.server_optimizers import FedAvgM, Server
from fl_runtime.configuration.toml_files import check_config, digest
from fl_runtime.running.build import assemble
from fl_runtime.running.experiment import run
from fl_runtime.running.loop import one_round
from fl_runtime.running.preflight import check_all_arms
from fl_runtime.running.run_state import RunState
from fl_runtime.simulation.clock import Timing
from fl_runtime.simulation.delays import Constant
from fl_runtime.training.job import Job, Update
from fl_runtime.training.stacks import Rows
from fl_runtime.training.task import Params
from tests.fl_runtime.driven import Instant, Told, parts_of
from tests.fl_runtime.extension.test_own_parts import small
from tests.fl_runtime.kills import assert_resumes

HERE = __name__
RULES = (
    Median(),
    TrimmedMean(fraction=0.3),
    Krum(num_byzantine=1),
    MultiKrum(num_byzantine=1),
    MultiKrum(num_byzantine=1, selected=2),
)
WHOLE = st.integers(-20, 20)
FLOATS = st.floats(-(2.0**126), 2.0**126, width=32)


def deltas_of(rows: Any) -> list[Params]:
    """Updates of two entries from rows of numbers."""
    table = torch.tensor(np.asarray(rows, dtype=np.float64))
    return [{"a": row[:1].clone(), "b": row[1:].reshape(1, -1).clone()} for row in table]


def flat(delta: Params) -> Tensor:
    return torch.cat([value.flatten() for value in delta.values()])


@st.composite
def tables(draw: Any, least: int = 5, most: int = 9) -> list[list[int]]:
    """Whole numbers: sums and products of theirs are exact in float64."""
    count = draw(st.integers(least, most))
    return draw(st.lists(st.lists(WHOLE, min_size=3, max_size=3), min_size=count, max_size=count))


@pytest.mark.parametrize("rule", RULES, ids=repr)
@given(table=tables(), factor=st.sampled_from([0.25, 2.0, 8.0]), shift=WHOLE)
def test_factors_and_shifts_of_all_updates_are_those_of_the_result(
    rule: Any, table: list[list[int]], factor: float, shift: int
) -> None:
    plain = flat(rule.combine(deltas_of(table)))
    moved = flat(rule.combine(deltas_of(factor * np.array(table) + shift)))
    assert torch.allclose(moved, factor * plain + shift, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", RULES[:2], ids=repr)
@given(table=tables(), factor=st.sampled_from([-1.0, -2.0]), seed=st.integers(0, 9))
def test_medians_and_trimmed_means_know_no_order_and_no_sign(
    rule: Any, table: list[list[int]], factor: float, seed: int
) -> None:
    plain = flat(rule.combine(deltas_of(table)))
    mixed = np.random.default_rng(seed).permutation(table)
    assert torch.equal(flat(rule.combine(deltas_of(mixed))), plain)
    turned = flat(rule.combine(deltas_of(factor * np.array(table))))
    assert torch.allclose(turned, factor * plain, rtol=1e-12, atol=1e-12)


@given(table=tables(), seed=st.integers(0, 9), faulty=st.integers(0, 1))
def test_krum_knows_no_order_where_scores_differ(
    table: list[list[int]], seed: int, faulty: int
) -> None:
    scores = brute_scores(table, faulty)
    if len(set(scores)) < len(scores):
        return
    order = np.random.default_rng(seed).permutation(len(table))
    plain, mixed = (krum_order(deltas_of(rows), faulty) for rows in (table, np.array(table)[order]))
    assert [int(order[index]) for index in mixed] == plain


def brute_scores(table: Sequence[Sequence[int]], faulty: int) -> list[Fraction]:
    """Scores of Krum over all sets of neighbours, as fractions."""
    found = []
    for i, mine in enumerate(table):
        apart = [
            sum((Fraction(x) - Fraction(y)) ** 2 for x, y in zip(mine, other, strict=True))
            for j, other in enumerate(table)
            if j != i
        ]
        near = len(table) - faulty - 2
        found.append(min(sum(some, Fraction(0)) for some in itertools.combinations(apart, near)))
    return found


@given(table=tables(most=7), faulty=st.integers(0, 1))
def test_krum_is_brute_force(table: list[list[int]], faulty: int) -> None:
    """Whole numbers, so ties are ties: they go to the first."""
    scores = brute_scores(table, faulty)
    expected = sorted(range(len(table)), key=lambda index: (scores[index], index))
    assert krum_order(deltas_of(table), faulty) == expected
    chosen = flat(Krum(num_byzantine=faulty).combine(deltas_of(table)))
    assert chosen.tolist() == table[expected[0]]
    count = len(table) - faulty - 2
    mean = np.array(table)[expected[:count]].mean(axis=0)
    several = flat(MultiKrum(num_byzantine=faulty).combine(deltas_of(table)))
    assert several.numpy() == pytest.approx(mean)


@given(
    honest=st.lists(FLOATS, min_size=2, max_size=6),
    lies=st.lists(FLOATS, max_size=5),
    fraction=st.floats(0.05, 0.45),
)
def test_within_the_honest_range(honest: list[float], lies: list[float], fraction: float) -> None:
    """Less than half are faulty, or as many as are trimmed, in any way."""
    lies = lies[: len(honest) - 1]
    rows = [{"w": torch.tensor([x])} for x in (*honest, *lies)]
    low, high = torch.tensor(honest).min(), torch.tensor(honest).max()
    assert low <= Median().combine(rows)["w"] <= high
    rule = TrimmedMean(fraction=fraction)
    while len(lies) > rule.trimmed(len(honest) + len(lies)):
        lies = lies[:-1]
    rows = [{"w": torch.tensor([x])} for x in (*honest, *lies)]
    if len(rows) >= rule.fewest:
        assert low <= rule.combine(rows)["w"] <= high


@given(
    honest=st.lists(st.lists(WHOLE, min_size=3, max_size=3), min_size=4, max_size=7),
    lies=st.lists(st.lists(st.integers(-1000, 1000), min_size=3, max_size=3), max_size=2),
)
def test_krum_is_near_an_honest_update(honest: list[list[int]], lies: list[list[int]]) -> None:
    faulty, count = len(lies), len(honest) + len(lies)
    if count < 2 * faulty + 3:
        return
    points = np.array(honest, dtype=float)
    widest = max(np.linalg.norm(a - b) for a in points for b in points)
    everybody = np.array([*lies, *honest], dtype=float)
    bound = widest * ((count - faulty - 2) / (count - 2 * faulty - 1)) ** 0.5
    order = krum_order(deltas_of(everybody), faulty)
    assert flat(Krum(num_byzantine=faulty).combine(deltas_of(everybody))).tolist() == list(
        everybody[order[0]]
    )
    for chosen in everybody[order[: count - faulty - 2]]:  # also those of multi-krum
        nearest = np.linalg.norm(points - chosen, axis=1).min()
        assert nearest <= bound * (1.0 + 1e-12)


@pytest.mark.parametrize("name", ROBUST_RULES)
def test_one_client_that_lies_does_not_matter_much(name: str) -> None:
    """An update of a thousand: the mean is ruined, the rule is not."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(9, 3))
    table[4] = 1000.0
    combined = flat(ROBUST_RULES[name]().combine(deltas_of(table)))
    assert float(combined.abs().max()) < 2.0
    assert np.abs(table.mean(axis=0)).max() > 100.0


def test_rows_of_a_stack_are_as_good_as_tensors() -> None:
    table = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    rows: Any = Rows({"w": table}).split()
    for rule in RULES:
        one, other = rule.combine(rows), rule.combine([{"w": row} for row in table])
        assert torch.equal(one["w"], other["w"])


def test_the_result_shares_no_memory_with_an_update() -> None:
    table = torch.randn(6, 4)
    rows: Any = Rows({"w": table.clone()}).split()
    found = Krum().combine(rows)
    found["w"].zero_()
    assert torch.equal(rows[0].rows.stack["w"], table)


STATE = ServerState(0, 0, {"a": {"w": torch.zeros(1)}, "b": {"w": torch.zeros(1)}}, {}, {})


def updates(*values: float, task: str = "a", examples: int = 1) -> list[Update]:
    return [
        Update(task, client, 0, {"w": torch.tensor([value])}, examples + 10 * client)
        for client, value in enumerate(values)
    ]


def test_weights_play_no_part_and_order_neither() -> None:
    algorithm = FedAvg(server=Server(rule=Krum(num_byzantine=0)))
    some = updates(1.0, 2.0, 9.0)  # 1 and 2 have one score: the first client's it is
    for order in itertools.permutations(some):
        assert float(algorithm.aggregate(STATE, order).models["a"]["w"]) == 1.0
    median = FedAvg(server=Server(rule=Median()))
    assert float(median.aggregate(STATE, some).models["a"]["w"]) == 2.0


def test_updates_are_shortened_before_and_steps_are_made_after() -> None:
    server = Server(rule=Median(), clip_update=1.0, optimizer=FedAvgM(rate=0.5, momentum=0.5))
    algorithm, state = FedAvg(server=server), STATE
    for _ in range(2):
        state = algorithm.aggregate(state, updates(0.25, 100.0, 200.0))
    assert float(state.models["a"]["w"]) == pytest.approx(0.5 * 1.0 + 0.5 * 1.5, rel=1e-5)


def test_a_task_with_too_few_updates_keeps_its_model() -> None:
    algorithm = FedAvg(server=Server(rule=Krum(num_byzantine=1)))
    few = [*updates(1.0, 1.0, 1.0, 1.0), *updates(1.0, 2.0, 3.0, 4.0, 50.0, task="b")]
    after = algorithm.aggregate(STATE, few)
    assert float(after.models["a"]["w"]) == 0.0
    assert float(after.models["b"]["w"]) in (2.0, 3.0)
    assert after.figures == {"num-withheld": 1}
    assert algorithm.own_figures(["a", "b"]) == ("num-withheld",)
    assert algorithm.aggregate(after, []).figures == {"num-withheld": 0}


def test_updates_that_are_not_finite_are_rejected_before() -> None:
    """One NaN of seven: it counts as missing, the median is that of the other six."""
    tree = small(clients__num_clients=7, server__aggregation="median", run__algorithm="fed-avg")
    parts = assemble(check_config(tree), 0)
    task = parts.federation.tasks[0]

    def train(job: Job) -> Params:
        value = float("nan") if job.client == 3 else float(job.client)
        return {key: torch.full_like(entry, value) for key, entry in job.payload.items()}

    timing = Timing(Constant(1.0), np.ones(7), {})
    driven = parts_of(parts.algorithm, parts.federation, timing, Instant(train))
    current = RunState(parts.algorithm.init(parts.federation, 0))
    current, stats, _ = one_round(driven, current, Told((task.name,)))
    key = next(iter(task.initial))
    moved = current.state.models[task.name][key] - task.initial[key]
    assert moved.flatten()[0] == pytest.approx((2.0 + 4.0) / 2.0, rel=1e-6)
    assert [failure.reason for failure in stats.failures] == ["not finite"]


@dataclass(frozen=True)
class Largest:
    """A rule of the user's own: the greatest of every coordinate."""

    fewest: int = 2

    def combine(self, deltas: Sequence[Params]) -> Params:
        return {key: torch.stack([d[key] for d in deltas]).amax(dim=0) for key in deltas[0]}


@pytest.mark.parametrize(
    "entry",
    [
        "median",
        {"name": "trimmed-mean", "fraction": 0.2},
        {"name": "krum", "num_byzantine": 1},
        {"name": "multi-krum", "num_byzantine": 1, "selected": 2},
        f"{HERE}:Largest",
    ],
    ids=str,
)
def test_every_rule_runs_and_resumes_to_equal_bytes(entry: Any, tmp_path: Path) -> None:
    tree = small(
        server__aggregation=entry,
        run__algorithm="fed-avg",
        run__num_server_rounds=3,
        clients__num_clients=6,
        clients__dropout=0.2,
    )
    config = check_config(tree)
    assert_resumes(config, tmp_path, after=2)
    assert any("num-withheld" in row for row in run(config).rows)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"server__aggregation": "medain"}, "did you mean median"),
        ({"server__aggregation": {"name": "krum", "num_byzantin": 1}}, "did you mean num-byz"),
        ({"server__aggregation": {"name": "krum", "num_byzantine": -1}}, "an integer >= 0"),
        ({"server__aggregation": {"name": "trimmed-mean", "fraction": 0.5}}, r"in \(0, 1/2\)"),
        ({"server__aggregation": {"name": "multi-krum", "selected": 0}}, "an integer >= 1"),
        ({"server__aggregation": {"name": "krum", "num_byzantine": 2}}, "at most 6 .* needs 7"),
        ({"clients__fraction_train": 0.4}, "at most 2 updates of task wine.*needs 5"),
        ({"run__algorithm": "q-ffl"}, "weights of its own, which it would ignore"),
        ({"run__algorithm": "sync-st"}, "weights of its own, which it would ignore"),
        ({"algorithm__aggregation": "importance"}, "aggregation = importance, whose weights"),
        ({"run__algorithm": "local"}, "its own sums"),
        ({"run__algorithm": "fair-grad", "task__model": "mlp"}, "its own sums"),
        ({"run__algorithm": "fed-buff"}, "its own sums"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], said: str) -> None:
    plain = {"server__aggregation": "krum", "clients__num_clients": 6, "run__algorithm": "random"}
    tree = small(**{**plain, **changes})
    if tree["task"][0]["model"] == "mlp":
        tree["task"][0]["hidden"] = [3]
    with pytest.raises(InvalidInput, match=rf"(?s)server\.aggregation.*{said}") as caught:
        check_all_arms(check_config(tree))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rule", [*ROBUST_RULES, *RULES, Largest()], ids=str)
def test_sound_rules_keep_all_laws(rule: Any) -> None:
    assert check_aggregation(rule) == []


@dataclass
class Wrong:
    fault: str
    fewest: int = 2
    calls: int = 0

    def combine(self, deltas: Sequence[Params]) -> Any:
        self.calls += 1
        if self.fault == "first":
            return dict(deltas[0])
        mean = {key: torch.stack([d[key] for d in deltas]).mean(dim=0) for key in deltas[0]}
        if self.fault == "sum":
            return {key: len(deltas) * value for key, value in mean.items()}
        if self.fault == "cut":
            return {key: value.clamp(-0.5, 0.5) for key, value in mean.items()}
        if self.fault == "flat":
            return {key: value.flatten() for key, value in mean.items()}
        if self.fault == "counts":
            return {key: value * self.calls for key, value in mean.items()}
        if self.fault == "changes":
            deltas[0]["a"].add_(1.0)
        if self.fault == "root":
            return {key: value.log() for key, value in mean.items()}
        return mean


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        ("first", "in any order"),
        ("sum", "equal updates give that update"),
        ("cut", "factors and shifts are those of the result"),
        ("flat", "a difference like the updates"),
        ("root", "a difference like the updates"),
        ("counts", "a function of the updates"),
        ("changes", "a function of the updates"),
    ],
)
def test_a_planted_fault_is_caught_by_its_law(fault: str, law: str) -> None:
    assert law in [each.law for each in check_aggregation(Wrong(fault))]
    assert check_aggregation(Wrong("")) == []


def test_histories_of_servers_without_it_keep_their_fingerprint() -> None:
    server: dict[str, Any] = {"clip_update": 1.0, "optimizer": {"name": "adam", "rate": 0.01}}
    tree = {**small(run__algorithm="fed-avg", run__num_server_rounds=2), "server": server}
    assert digest(check_config(tree)) == DIGEST
    server["aggregation"] = "median"
    assert digest(check_config(tree)) != DIGEST


DIGEST = "3be1f4572ce00ddbe5943532fd551d78ae42226ce480e4e93c2d6c489ea7a312"
