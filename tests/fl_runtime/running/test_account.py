"""The account: every job that is sent comes to one end, whatever the configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from io import StringIO
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from fl_runtime.algorithms import ALGORITHMS, ByArrival
from fl_runtime.algorithms.base import ServerState
from fl_runtime.configuration.toml_files import check_config
from fl_runtime.history import History
from fl_runtime.reporting.accounts import account_of, account_table
from fl_runtime.reporting.report import print_tables
from fl_runtime.reporting.summary import summarise
from fl_runtime.running.account import EVENTS, Account, account_row, is_balanced
from fl_runtime.running.build import Parts, assemble
from fl_runtime.running.experiment import run
from fl_runtime.running.history_rows import RoundStats
from fl_runtime.running.loop import one_round
from fl_runtime.running.run_state import RunState
from fl_runtime.simulation.availability import Always, OnOff, Turns
from fl_runtime.simulation.clock import Timing
from fl_runtime.simulation.delays import Constant, DelayModel, Exponential, Pareto, Uniform
from fl_runtime.training.job import Job
from fl_runtime.training.task import Params
from tests.fl_runtime.driven import Instant, Told
from tests.fl_runtime.rounds import started

COUNT = 6
NAMES = ("a", "b")
TASKS = [{"name": name, "data": "wine", "model": "mlp", "hidden": [4, 4]} for name in NAMES]
LAWS: list[DelayModel] = [Constant(), Uniform(0.5, 1.5), Exponential(), Pareto()]
SLOWNESS = {"equal": np.ones(COUNT), "tied": np.repeat([0.5, 1.0], COUNT // 2)}
KEYS = {"server_round", "virtual_time", "num-dropped", "num-rejected"}


@dataclass(frozen=True)
class Case:
    """A run of a few rounds, and what goes wrong in it.

    Attributes:
        algorithm: Name in a configuration.
        own: Parameters of its own.
        law: Of the delays.
        speeds: Of the clients.
        dropout: Chance that a job is never answered.
        failures: Chance that a job is lost in training.
        over_selection: Clients per client needed, in rounds.
        comes_and_goes: Whether clients do.
        broken: Executor and models: one in so many jobs gets no answer, one in so many answers is
            not finite, one in so many aggregations ruins a model; 0 for none.
        recruited: Rounds between recruitments; 0 for none.
        reached: The round after which the first task has reached its target; 0 for never.
        limit: Virtual time of the run.
        seed: Of the run.
    """

    algorithm: str
    own: dict[str, Any] = field(default_factory=dict)
    law: DelayModel = LAWS[0]
    speeds: str = "equal"
    dropout: float = 0.0
    failures: float = 0.0
    over_selection: float = 1.0
    comes_and_goes: bool = False
    broken: int = 0
    recruited: int = 0
    reached: int = 0
    limit: float | None = None
    seed: int = 0


@cache
def assembled(algorithm: str) -> Parts:
    """The parts of an algorithm; everything else is replaced."""
    tree: dict[str, Any] = {
        "run": {"algorithm": algorithm, "num_server_rounds": 1},
        "task": TASKS,
        "clients": {"num_clients": COUNT, "fraction_train": 0.5},
    }
    return assemble(check_config(tree), 0)


def parts_of(case: Case) -> Parts:
    """What the loop needs for a case."""
    parts = assembled(case.algorithm)
    timing = Timing(case.law, SLOWNESS[case.speeds], dropout=case.dropout, failures=case.failures)
    return replace(
        parts,
        algorithm=replace(cast(Any, parts.algorithm), **case.own),
        federation=replace(parts.federation, over_selection=case.over_selection),
        timing=timing,
        availability=Turns(OnOff(on=1.0, off=1.0)) if case.comes_and_goes else Always(),
        executor=Instant(lambda job: trained(job, case.broken)),
        targets={NAMES[0]: 1.0} if case.reached else {},
    )


def trained(job: Job, broken: int) -> Params | None:
    """Some small difference, NaN, or no answer at all, by the seed of the job."""
    if broken and job.seed % broken == 0:
        return None
    size = float("nan") if broken and job.seed % broken == 1 else 1e-3
    return {key: torch.full_like(value, size) for key, value in job.payload.items()}


def states(case: Case, rounds: int) -> Iterator[tuple[RunState, RoundStats, dict[str, Any]]]:
    """Round by round, each taken up from a checkpoint of the one before."""
    parts = parts_of(case)
    current = started(parts)[0]
    kind = type(current.state)
    aggregations = Counter[str]()

    def ruins(state: ServerState) -> set[str]:
        aggregations["a"] += 1
        return {"a"} if case.broken and aggregations["a"] % (2 * case.broken) == 0 else set()

    judge = Told(NAMES, lambda state, _: float(0 < case.reached <= state.server_round), ruins)
    for server_round in range(rounds):
        if case.limit and current.now >= case.limit and not current.is_due:
            return
        if case.recruited and server_round % case.recruited == 0:
            some = np.random.default_rng([case.seed, server_round]).random((COUNT, 2)) < 0.6
            parts = replace(parts, federation=replace(parts.federation, eligible=some))
        current, stats, row = one_round(parts, current, judge, case.limit)
        yield current, stats, row
        current = RunState.from_tree(current.tree(), kind, torch.device("cpu"))


def row_of(current: RunState) -> dict[str, int]:
    """The account at that point."""
    assert current.account is not None
    return account_row(current.account, current.sent, current.pending)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any algorithm with any wait, delays, losses, availability and recruitment."""
    name = draw(st.sampled_from(sorted(ALGORITHMS)))
    kind, own, over = ALGORITHMS[name], cast(dict[str, Any], {}), 1.0
    if issubclass(kind, ByArrival):
        own["max_staleness"] = draw(st.sampled_from([None, 0, 2]))
        own["concurrency"] = draw(st.sampled_from([None, 3]))
        own |= {"buffer_size": draw(st.integers(1, 4))} if name == "fed-buff" else {}
    elif name == "fed-hca2":
        own["shared_layers"] = ("1",)
    elif name == "sync-st":
        own["first"] = draw(st.sampled_from([None, 1, 2]))
    else:
        over = draw(st.sampled_from([1.0, 1.4, 2.0]))
    shared = assembled(name).algorithm.shares_parts
    return Case(
        algorithm=name,
        own=own,
        law=draw(st.sampled_from(LAWS)),
        speeds=draw(st.sampled_from(sorted(SLOWNESS))),
        dropout=draw(st.sampled_from([0.0, 0.3, 0.7])),
        failures=draw(st.sampled_from([0.0, 0.3, 0.7])),
        over_selection=over,
        comes_and_goes=draw(st.booleans()),
        broken=draw(st.sampled_from([0, 3, 8])),
        recruited=draw(st.sampled_from([0, 2])),
        reached=0 if shared else draw(st.sampled_from([0, 2])),
        limit=draw(st.sampled_from([None, 2.0])),
        seed=draw(st.integers(0, 999)),
    )


@pytest.mark.slow
@settings(max_examples=250)
@given(case=cases())
def test_every_job_comes_to_one_end(case: Case) -> None:
    """After every round, and its rows add up to it."""
    counted: Counter[str] = Counter()
    for current, stats, row in states(case, 5):
        account = row_of(current)
        assert is_balanced(account)
        counted["answered"] += row.get("num-updates", row["num-clients"])
        counted["dropped"] += row["num-dropped"]
        counted["rejected"] += row["num-rejected"]
        counted["failed"] += len(stats.failures) - row["num-rejected"]
        counted["stale"] += row.get("num-stale", 0)
        counted["discarded"] += row.get("num-discarded", 0)
        assert {name: account[name] for name in EVENTS if name != "withdrawn"} == {
            name: counted[name] for name in EVENTS if name != "withdrawn"
        }


BUSY = [
    Case("fed-buff", {"max_staleness": 0, "buffer_size": 1}, broken=3, law=LAWS[2], reached=2),
    Case("random", over_selection=2.0, dropout=0.3, failures=0.3, law=LAWS[3]),
]
"""Two cases in which every end occurs."""


def test_a_lost_event_would_be_found() -> None:
    """The negative control: an account that lacks one job of one end is refused."""
    seen: set[str] = set()
    for case in BUSY:
        *_, (last, _, _) = states(case, 8)
        account = row_of(last)
        assert is_balanced(account)
        for name in (name for name in EVENTS if account[name]):
            seen.add(name)
            assert not is_balanced({**account, name: account[name] - 1})
    assert seen == set(EVENTS)


def test_losses_after_a_round_is_over_are_in_a_later_row() -> None:
    """Half of the selected clients are enough; whoever drops out later is not forgotten."""
    case = Case("random", over_selection=2.0, dropout=0.1, failures=0.2, law=Exponential())
    late = 0
    *rounds, (last, _, _) = states(case, 40)
    for _, stats, row in rounds:
        late += sum(
            f.reason == "failed" and f.version < row["server_round"] - 1 for f in stats.failures
        )
    assert late > 0
    too_late = [entry for entry in last.pending if entry.fate == "answers too late"]
    assert row_of(last)["in_flight"] == len(last.pending) - len(too_late)


def limited(algorithm: str, **own: Any) -> list[dict[str, Any]]:
    """Rows of equal clients with constant delays up to time 2."""
    case = Case(algorithm, own, limit=2.0)
    *_, (last, _, _) = found = list(states(case, 99))
    assert all(entry.finish > 2.0 for entry in last.pending)
    return [{**row, **row_of(current)} for current, _, row in found]


@pytest.mark.parametrize(
    ("algorithm", "own", "expected"),
    [
        ("fed-async", {}, 2 * COUNT),
        ("fed-buff", {"buffer_size": 3}, 2 * COUNT),
        ("fed-buff", {"buffer_size": 5}, 2 * COUNT),
        ("random", {}, COUNT),
    ],
)
def test_what_is_due_at_the_time_limit_counts(
    algorithm: str, own: dict[str, Any], expected: int
) -> None:
    """Both moments count whole in every arm; what fills no buffer is in a last row of its own.

    All clients but for the arm in rounds, where half are active.
    """
    rows = limited(algorithm, **own)
    assert rows[-1]["virtual_time"] == max(row["virtual_time"] for row in rows) == 2.0
    counts = [row.get("num-updates", row["num-clients"]) for row in rows]
    assert rows[-1]["answered"] == sum(counts) == expected


def test_a_history_ends_with_an_account_and_reports_show_it() -> None:
    tree: dict[str, Any] = {
        "run": {"algorithm": "random", "num_server_rounds": 4, "seeds": [0, 1]},
        "task": TASKS,
        "clients": {
            "num_clients": COUNT,
            "fraction_train": 0.5,
            "over_selection": 2.0,
            "failures": 0.3,
            "delay": {"model": "exponential"},
        },
        "arm": [
            {"name": "in rounds"},
            {"name": "by arrival", "run.algorithm": "fed-async", "clients.over_selection": 1.0},
        ],
    }
    with pytest.warns(UserWarning, match='"by arrival" is one aggregation of 1 answer'):
        history = run(check_config(tree))
    (pair,) = summarise(history, targets={})["differences"]
    assert pair["unlike_work"]["jobs"][0] == 4.0
    assert "unlike work: by arrival 4 answered jobs" in printed(history)
    for arm in history.arms:
        accounts = [history.account(arm, seed) for seed in (0, 1)]
        assert all(account is not None and is_balanced(account) for account in accounts)
        total = account_of(history, arm)
        assert total is not None
        assert total["asked"] == sum(account["asked"] for account in accounts if account)
        rows = [row for seed in (0, 1) for row in history.rounds(arm, seed)]
        assert total["failed"] == sum(row["num-failed"] for row in rows)
    assert [row["event"] for row in history.rows][-1] == "account"
    table = account_table(
        {"arms": {arm: {"account": account_of(history, arm)} for arm in history.arms}}
    )
    assert table is not None
    assert [column.header for column in table.columns][:3] == ["arm", "asked", "answered"]
    older = History([row for row in history.rows if row["event"] != "account"])
    assert account_of(older, "in rounds") is None
    assert account_table({"arms": {"in rounds": {"account": None}}}) is None


def printed(history: History) -> str:
    """The tables of a history."""
    console = Console(width=300, file=StringIO())
    print_tables(summarise(history, targets={}), console)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_arms_in_the_same_time_are_comparable_whatever_they_did_in_it() -> None:
    tree: dict[str, Any] = {
        "run": {"algorithm": "random", "time_limit": 6.0},
        "task": TASKS,
        "clients": {
            "num_clients": COUNT,
            "fraction_train": 0.5,
            "delay": {"model": "uniform", "low": 0.5, "high": 1.5},
        },
        "arm": [{"name": "in rounds"}, {"name": "by arrival", "run.algorithm": "fed-async"}],
    }
    history = run(check_config(tree))
    (pair,) = summarise(history, targets={})["differences"]
    assert "unlike_work" not in pair
    assert "unlike work" not in printed(history)


def test_a_table_of_jobs_that_were_all_answered_is_not_shown() -> None:
    row = account_row(Account(answered=4), 4, ())
    assert account_table({"arms": {"a": {"account": row}}}) is None
    lost = account_row(Account(answered=3, dropped=1), 4, ())
    assert account_table({"arms": {"a": {"account": row}, "b": {"account": lost}}}) is not None


def test_accounts_add_up() -> None:
    one = Account(answered=1, failed=2)
    assert one + Account(failed=3, withdrawn=1) == Account(answered=1, failed=5, withdrawn=1)
