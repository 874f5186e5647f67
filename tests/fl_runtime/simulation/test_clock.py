"""Virtual time: delay laws, speeds, queues, losses, and what barriers and arrivals let through."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fairopt import InvalidInput
from fl_runtime.random_streams import stream
from fl_runtime.simulation.clock import (
    Fate,
    PendingJob,
    PendingJobs,
    SpeedChange,
    Timing,
    queue,
    withdraw,
)
from fl_runtime.simulation.delays import (
    Constant,
    DelayModel,
    Exponential,
    Lognormal,
    Pareto,
    ShiftedExponential,
    Uniform,
    dealt_speeds,
)
from fl_runtime.simulation.sync_policies import Barrier, NextArrival
from fl_runtime.training.job import Job

LAWS = [
    Constant(2.0),
    ShiftedExponential(0.5, 1.5),
    Exponential(1.5),
    Uniform(0.5, 2.5),
    Lognormal(1.5, 0.5),
    Pareto(1.5, 4.0),
]


def jobs(*clients: int, task: str = "a") -> list[Job]:
    return [Job(task, client, 0, 0.0, {}, seed=0) for client in clients]


def launched(
    timing: Timing, *clients: int, now: float = 0.0, pending: PendingJobs = ()
) -> PendingJobs:
    return timing.launch(jobs(*clients), pending, seed=0, dispatch_index=0, number=0, now=now)


def in_flight(
    finish: float, number: int, fate: Fate = "answers", dispatch_index: int = 0
) -> PendingJob:
    return PendingJob(finish, number, dispatch_index, fate, jobs(number)[0])


@pytest.mark.parametrize("law", LAWS)
def test_delays_have_their_mean(law: DelayModel) -> None:
    """Within 5 standard errors of 40000 draws."""
    draws = law.draw(np.random.default_rng(0), 40000)
    assert (draws >= 0.0).all()
    assert abs(draws.mean() - law.mean) <= 5.0 * draws.std() / 200.0


@pytest.mark.parametrize("law", LAWS)
def test_many_draws_are_single_draws_in_a_row(law: DelayModel) -> None:
    one = np.random.default_rng(1)
    singles = [float(law.draw(one, 1)[0]) for _ in range(5)]
    assert law.draw(np.random.default_rng(1), 5).tolist() == singles


def test_the_pareto_tail_has_its_index() -> None:
    law = Pareto(mean=3.0, index=1.5)
    draws = law.draw(np.random.default_rng(2), 4000)
    found = stats.kstest(draws, stats.pareto(1.5, scale=1.0).cdf)
    assert found.pvalue > 1e-3


@given(
    st.lists(st.tuples(st.floats(0.05, 1.0), st.floats(0.1, 5.0)), min_size=1, max_size=5),
    st.integers(1, 60),
)
def test_speed_classes_have_their_shares(classes: list[tuple[float, float]], count: int) -> None:
    shares = [share for share, _ in classes]
    factors = [float(k) for k in range(len(classes))]
    dealt = dealt_speeds(shares, factors, count, np.random.default_rng(0))
    sizes = np.array([(dealt == k).sum() for k in factors])
    assert dealt.size == count
    assert (np.abs(sizes - np.array(shares) / sum(shares) * count) < 1.0 + 1e-9).all()


def test_a_client_works_on_its_jobs_one_after_the_other() -> None:
    timing = Timing(Constant(1.0), np.array([1.0, 2.0]), {"a": 3.0})
    first = launched(timing, 0, 1, 0)
    found = sorted((f.number, f.job.client, f.finish) for f in first)
    assert found == [(0, 0, 3.0), (1, 1, 6.0), (2, 0, 6.0)]
    later = timing.launch(jobs(0, 1), first, seed=0, dispatch_index=1, number=3, now=5.0)
    assert [f.finish for f in later if f.dispatch_index == 1] == [9.0, 12.0]
    assert sorted(f.number for f in later) == [0, 1, 2, 3, 4]


def test_a_job_has_the_speed_of_the_moment_it_begins() -> None:
    """Not of the moment it was sent, and a job that is under way keeps its own."""
    changes = (SpeedChange(2.0, np.array([10.0, 0.5])), SpeedChange(4.0, np.array([1.0, 1.0])))
    timing = Timing(Constant(1.0), np.array([1.0, 3.0]), changes=changes)
    found = {(f.job.client, f.begin): f.finish for f in launched(timing, 0, 0, 0, 1, 1, 1)}
    assert found == {
        **{(0, 0.0): 1.0, (0, 1.0): 2.0, (0, 2.0): 12.0},
        **{(1, 0.0): 3.0, (1, 3.0): 3.5, (1, 3.5): 4.0},
    }
    assert (timing.mean, timing.longest) == (0.5, 10.0)
    assert not timing.equal_speeds
    assert timing.slowness_at(4.0).tolist() == [1.0, 1.0]
    assert timing.later(3.0, 0, 0) == 13.0


def test_jobs_of_one_dispatch_have_delays_of_their_own() -> None:
    timing = Timing(Exponential(1.0), np.ones(2))
    first, second = launched(timing, 0, 0)
    assert first.finish != second.finish - first.finish
    assert launched(timing, 0)[0].finish == first.finish


def test_arms_that_select_different_clients_share_delays() -> None:
    timing = Timing(Exponential(1.0), np.ones(4))
    few, many = launched(timing, 2), launched(timing, 0, 1, 2, 3)
    assert few[0].finish in [f.finish for f in many if f.job.client == 2]


def test_failures_happen_during_the_work_and_dropouts_at_its_end() -> None:
    count = 2000
    timing = Timing(Constant(1.0), np.ones(count), dropout=0.3, failures=0.5)
    pending = launched(timing, *range(count))
    times = {fate: [f.finish for f in pending if f.fate == fate] for fate in Fate.__args__}
    assert set(times["answers"]) == set(times["drops out"]) == {1.0}
    assert stats.kstest(times["fails"], "uniform").pvalue > 1e-3
    assert len(times["drops out"]) == pytest.approx(0.3 * count, rel=0.15)
    assert len(times["fails"]) == pytest.approx(0.35 * count, rel=0.15)


def test_failures_do_not_change_who_drops_out_or_how_long_work_takes() -> None:
    plain = Timing(Exponential(1.0), np.ones(50), dropout=0.3)
    risky = Timing(Exponential(1.0), np.ones(50), dropout=0.3, failures=0.5)
    before = {f.job.client: f for f in launched(plain, *range(50))}
    for after in launched(risky, *range(50)):
        if after.fate == "fails":
            assert after.finish < before[after.job.client].finish
        else:
            assert after.finish == before[after.job.client].finish


def test_a_barrier_waits_for_all_of_its_dispatch() -> None:
    pending = queue([in_flight(3.0, 0), in_flight(1.0, 1), in_flight(2.0, 2, "drops out")])
    seen = Barrier().collect(pending, 0, 9.0)
    assert (seen.time, [f.number for f in seen.answered]) == (3.0, [0, 1])
    assert [f.number for f in seen.lost] == [2]
    assert (seen.left, seen.discarded, seen.over) == ((), 0, True)


def test_a_barrier_for_the_first_answers_leaves_stragglers_in_flight() -> None:
    pending = queue(
        [
            in_flight(3.0, 0),
            in_flight(1.0, 1),
            in_flight(2.0, 2),
            in_flight(0.5, 3, "fails"),
            in_flight(2.0, 4),
        ]
    )
    seen = Barrier(first=2).collect(pending, 0, 9.0)
    assert (seen.time, [f.number for f in seen.answered]) == (2.0, [1, 2])
    assert (seen.discarded, [f.number for f in seen.lost]) == (2, [3])
    assert [(f.number, f.fate) for f in seen.left] == [(0, "answers too late")]
    later = Barrier(first=2).collect(
        queue([*seen.left, in_flight(2.5, 5, dispatch_index=1)]), 1, 9.0
    )
    assert (later.time, [f.number for f in later.answered]) == (2.5, [5])
    assert (later.discarded, [f.number for f in later.left]) == (0, [0])


def test_a_barrier_notices_the_losses_of_earlier_rounds() -> None:
    """They end while it waits; what is lost later still is left for the next one."""
    pending = queue(
        [
            in_flight(1.0, 0, "fails"),
            in_flight(2.0, 1, "drops out"),
            in_flight(1.5, 2, "answers too late"),
            in_flight(9.0, 3, "drops out"),
            in_flight(3.0, 4, dispatch_index=1),
        ]
    )
    seen = Barrier(first=1).collect(pending, 1, 99.0)
    assert ([f.number for f in seen.answered], seen.discarded) == ([4], 0)
    assert [f.number for f in seen.lost] == [0, 1]
    assert [f.number for f in seen.left] == [3]


def test_the_first_among_equals_are_drawn() -> None:
    """Clients 0 to 3 end together, with ties .4, .1, .3, .2; answers are handed on as sent."""
    ties = (0.4, 0.1, 0.3, 0.2)
    pending = queue([replace(in_flight(1.0, n), tie=tie) for n, tie in enumerate(ties)])
    assert [f.number for f in pending] == [1, 3, 2, 0]
    for first, numbers in [(1, [1]), (2, [1, 3]), (3, [1, 2, 3])]:
        seen = Barrier(first=first).collect(pending, 0, 9.0)
        assert [f.number for f in seen.answered] == numbers
        assert (seen.discarded, seen.left) == (4 - first, ())


def test_draws_of_ties_are_one_per_client_and_dispatch() -> None:
    timing = Timing(Constant(), np.ones(4))
    pending = launched(timing, 2, 0, 2)
    draws = stream(0, "ties", 0).random(4)
    assert {(f.job.client, f.tie) for f in pending} == {(2, draws[2]), (0, draws[0])}
    later = timing.launch(jobs(2), (), seed=0, dispatch_index=1, number=3, now=5.0)
    assert later[0].tie == stream(0, "ties", 1).random(4)[2] != draws[2]


def test_a_barrier_opens_when_too_few_can_answer() -> None:
    pending = queue([in_flight(3.0, 0, "drops out"), in_flight(1.0, 1)])
    seen = Barrier(first=2).collect(pending, 0, 9.0)
    assert (seen.time, [f.number for f in seen.answered]) == (3.0, [1])


def test_nobody_to_wait_for_lets_time_pass() -> None:
    for policy in (Barrier(), Barrier(3), NextArrival()):
        seen = policy.collect((), 0, 9.0)
        assert (seen.time, seen.answered, seen.over) == (9.0, (), True)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.5])), min_size=1, max_size=20))
def test_arrivals_come_in_order_and_ties_as_drawn_then_as_sent(
    ends: list[tuple[float, float]],
) -> None:
    pending = queue([replace(in_flight(e, n), tie=t) for n, (e, t) in enumerate(ends)])
    seen = []
    while pending:
        arrivals = NextArrival().collect(pending, 0, 99.0)
        seen += [(arrivals.time, f.number) for f in arrivals.answered]
        pending = arrivals.left
    order = sorted((end, tie, n) for n, (end, tie) in enumerate(ends))
    assert seen == [(end, n) for end, _, n in order]


def test_time_that_cannot_move_is_refused() -> None:
    timing = Timing(Constant(1e-17), np.ones(1))
    with pytest.raises(InvalidInput, match=r"clients\.delay"):
        timing.later(1.0, 0, 0)


def test_streams_of_delays_are_as_before_there_were_several_laws() -> None:
    """Runs of earlier versions repeat: one draw per client, then who drops out."""
    rng = stream(3, "delays", 5)
    lengths = [0.5 + float(rng.exponential(0.5)) for _ in range(4)]
    dropped = rng.random(4) < 0.5
    timing = Timing(ShiftedExponential(0.5, 1.0), np.ones(4), dropout=0.5)
    pending = timing.launch(jobs(0, 1, 2, 3), (), seed=3, dispatch_index=5, number=0, now=0.0)
    found = sorted((f.job.client, f.finish, f.fate == "drops out") for f in pending)
    assert found == [(c, lengths[c], bool(dropped[c])) for c in range(4)]


def test_a_barrier_per_task_waits_for_the_slowest_of_them() -> None:
    """Task a has its two answers at 2, b at 5; a's answer at 4 is discarded, b's at 6 in entry."""
    times = {"a": (1.0, 2.0, 4.0), "b": (3.0, 5.0, 6.0)}
    pending = queue(
        [
            replace(in_flight(time, number), job=jobs(number, task=task)[0])
            for number, (task, time) in enumerate(
                (task, time) for task, each in times.items() for time in each
            )
        ]
    )
    found = Barrier(2, per_task=True).collect(pending, 0, 9.0)
    assert (found.time, found.discarded) == (5.0, 2)
    assert [each.finish for each in found.answered] == [1.0, 2.0, 3.0, 5.0]
    assert [each.finish for each in found.left] == [6.0]


def test_withdrawn_jobs_make_room_for_those_behind_them() -> None:
    """A client with a (0-2), b (2-4), a (4-6), b (6-8); at time 1 it drops task a."""
    timing = Timing(Constant(2.0), np.ones(2))
    orders = [*jobs(0, task="a"), *jobs(0, task="b"), *jobs(0, task="a"), *jobs(0, 1, task="b")]
    pending = timing.launch(orders, (), seed=0, dispatch_index=0, number=0, now=0.0)
    left = withdraw(pending, {"a"}, 1.0)
    mine = [(each.begin, each.finish) for each in left if each.job.client == 0]
    assert mine == [(1.0, 3.0), (3.0, 5.0)]
    assert [each for each in left if each.job.client == 1] == [
        each for each in pending if each.job.client == 1
    ]
    assert withdraw(pending, set(), 1.0) == pending
