"""Rules that never return, or hardly ever: they are stopped, named, and nothing goes on ringing."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from typing import Any

import pytest

from fairopt import InvalidInput
from mechanisms import audit, max_min_fair
from mechanisms.audits.time_limit import stopped_after
from tests.mechanisms.audits.zoo import ONE, second_price


def waits(bids: Any, budget: Any) -> Any:
    while True:
        pass


def waits_and_catches(bids: Any, budget: Any) -> Any:
    while True:
        with suppress(Exception):
            while True:
                pass


def waits_for_low_asks(bids: Any, budget: Any) -> Any:
    """Returns on the true costs, and for no ask below two."""
    while min(bids.flat) < 2:
        pass
    return second_price(bids, budget)


def waits_for_traces(bids: Any, budget: Any) -> Any:
    """Honest, but for asks that are neither floats nor fractions."""
    while not all(isinstance(x, int | float) or hasattr(x, "numerator") for x in bids.flat):
        pass
    return second_price(bids, budget)


@pytest.mark.parametrize("rule", [waits, waits_and_catches, waits_for_low_asks])
@pytest.mark.parametrize("method", ["auto", "exact", "search"])
def test_a_rule_that_never_returns_is_named(rule: Any, method: Any) -> None:
    with pytest.raises(InvalidInput, match=f"a run of {rule.__name__} takes") as caught:
        audit(rule, ONE, 20, method=method, time_limit=0.2)
    assert caught.value.argument == "time_limit"
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_one_that_waits_only_where_it_is_traced_is_searched() -> None:
    report = audit(waits_for_traces, ONE, 20, time_limit=0.2, samples=200)
    assert report.method == "search"
    assert report.truthful is None


def test_an_alarm_of_the_user_rings_after_all() -> None:
    rung = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with stopped_after(0.4):
            pass
        assert 0.0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 0.5
        while not rung:
            time.sleep(0.01)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def test_without_a_limit_and_with_known_rules_nothing_rings() -> None:
    assert audit(second_price, ONE, 20, time_limit=None).truthful is True
    assert audit(max_min_fair, ONE, 20, time_limit=1e-9).truthful is True


@pytest.mark.parametrize("bad", [0, -1.0, float("nan"), True, "soon"])
def test_what_is_no_limit_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidInput, match="seconds above 0, or None"):
        audit(second_price, ONE, 20, time_limit=bad)
