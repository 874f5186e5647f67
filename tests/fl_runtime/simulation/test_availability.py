"""When clients can be asked: on and off at random, from files, and what a run makes of it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairopt import InvalidInput
from fl_runtime.running.experiment import run
from fl_runtime.running.preflight import check_all_arms
from fl_runtime.simulation.availability import OnOff, Turns, availability
from tests.fl_runtime.small import config


def test_clients_are_on_for_their_share_of_the_time() -> None:
    """Within 5 standard errors of independent looks: 2000 clients at one time each."""
    for now in (0.0, 7.3, 40.0):
        on = Turns(OnOff(3.0, 1.0)).present(0, 2000, now)
        assert abs(on.mean() - 0.75) < 5.0 * np.sqrt(0.75 * 0.25 / 2000)


def test_answers_do_not_depend_on_what_was_asked_before() -> None:
    times = [5.0, 0.5, 9.0, 3.0, 5.0]
    one = Turns(OnOff(1.0, 0.5))
    asked = [one.present(4, 30, now) for now in times]
    for now, answer in zip(times, asked, strict=True):
        assert (Turns(OnOff(1.0, 0.5)).present(4, 30, now) == answer).all()
    assert (asked[0] == asked[4]).all()
    assert not (asked[0] == asked[2]).all()


def test_turns_have_their_mean_length() -> None:
    """Looks every 0.05: changes per unit of time are 2 / (on + off), less what the looks miss."""
    walk = Turns(OnOff(3.0, 1.0))
    seen = np.array([walk.present(1, 1, now)[0] for now in np.arange(0.0, 4000.0, 0.05)])
    changes = int((seen[1:] != seen[:-1]).sum())
    assert changes == pytest.approx(2.0 * 4000.0 / 4.0, rel=0.12)


def written(folder: Path, text: str) -> dict[str, object]:
    (folder / "trace.csv").write_text(text)
    return {"file": str(folder / "trace.csv")}


def test_traces_of_a_file(tmp_path: Path) -> None:
    table = written(tmp_path, "0,0,2\n0,3,4\n2,1,5\n")
    once, again = availability(table, 3), availability({**table, "period": 5.0}, 3)
    seen = [once.present(0, 3, now).tolist() for now in (0.0, 1.5, 2.0, 3.5, 5.5)]
    assert seen == [
        [True, False, False],
        [True, False, True],
        [False, False, True],
        [True, False, True],
        [False, False, False],
    ]
    assert again.present(0, 3, 5.5).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0,0\n", "a CSV file of client, from, until"),
        ("a,0,1\n", "a CSV file of client, from, until"),
        ("8,0,1\n", "client in 0 .. 7"),
        ("0,2,1\n", "0 <= from < until"),
        ("0,nan,1\n", "0 <= from < until"),
    ],
)
def test_bad_traces_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_all_arms(config(clients={"availability": written(tmp_path, text)}))
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("window", "reason"),
    [
        ("22,26", "line 2 = (0, 22.0, 26.0), but it must be until <= period = 24; over its end"),
        ("22,26", "two lines: 0,22,24 and 0,0,2"),
        ("22,46", "two lines: 0,22,24 and 0,0,22"),
        ("1,25.5", "counted from the beginning of each period"),
        ("30,40", "counted from the beginning of each period"),
        ("30,inf", "counted from the beginning of each period"),
    ],
)
def test_no_hour_of_a_trace_gets_lost_beyond_its_period(
    tmp_path: Path, window: str, reason: str
) -> None:
    table = written(tmp_path, f"1,0,24\n0,{window}\n")
    availability(table, 2)  # without a period that is when it says
    with pytest.raises(InvalidInput) as caught:
        availability({**table, "period": 24.0}, 2)
    assert reason in str(caught.value)


@given(
    st.lists(st.tuples(st.integers(0, 23), st.integers(1, 24)), max_size=4),
    st.floats(0.0, 1e4),
)
def test_a_trace_with_a_period_is_on_for_the_same_hours_every_day(
    hours: list[tuple[int, int]], now: float
) -> None:
    windows = tuple((begin, min(begin + length, 24)) for begin, length in hours)
    with TemporaryDirectory() as folder:
        text = "".join(f"0,{begin},{end}\n" for begin, end in windows)
        daily = availability({**written(Path(folder), text), "period": 24.0}, 1)
    on = {hour for begin, end in windows for hour in range(begin, end)}
    assert bool(daily.present(0, 1, now)[0]) == (int(now % 24.0) in on)


def test_only_clients_that_are_on_are_asked_and_empty_rounds_pass(tmp_path: Path) -> None:
    table = written(tmp_path, "1,0,1.5\n3,0,1.5\n")
    settings = config(
        run={"seeds": [0], "num_server_rounds": 4},
        clients={
            "availability": table,
            "fraction_train": 1.0,
            "delay": {"model": "uniform", "low": 0.9, "high": 1.1},
        },
        recruitment={"rule": "everyone"},
    )
    for algorithm in ("fed-fair-mmfl", "fed-buff"):
        changed = settings.model_copy(
            update={
                "run": settings.run.model_copy(update={"algorithm": algorithm}),
                "algorithm": {},
                "arm": (),
            }
        )
        rows = run(changed).rounds(algorithm, 0)
        assert [row["num-clients"] for row in rows][-1] == 0
        assert rows[-1]["wine/eval_acc"] == rows[-2]["wine/eval_acc"]
        assert [row["server_round"] for row in rows] == [1, 2, 3, 4]


def test_a_changed_trace_is_noticed(tmp_path: Path) -> None:
    from fl_runtime.configuration.input_hashes import check_inputs
    from fl_runtime.running.experiment import resolved

    recorded = resolved(config(clients={"availability": written(tmp_path, "0,0,2\n")}))
    check_inputs(recorded)
    written(tmp_path, "0,0,3\n")
    with pytest.raises(InvalidInput, match="the data that the run began with"):
        check_inputs(recorded)
