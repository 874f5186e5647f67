"""Every rule of the zoo gets the verdict that it must get, from audits and from conformance."""

from __future__ import annotations

import numpy as np
import pytest

from fairopt import InvalidInput
from mechanisms import audit
from mechanisms.audits.random_reports import random_reports
from mechanisms.audits.violation import TRUTHFUL
from tests.mechanisms.audits.zoo import ONE, ZOO, Learning, Moody


@pytest.mark.parametrize("name", ZOO)
def test_the_verdict(name: str) -> None:
    """And every witness shows again when it is run."""
    kept = ZOO[name]
    report = audit(kept.rule, kept.bids, kept.budget, samples=2000, refusals=kept.refusals)
    assert report.truthful is kept.truthful, report.scope
    broken = {each.law for each in report.violations}
    assert set(kept.laws) <= broken
    assert (TRUTHFUL in broken) == (kept.truthful is False)
    for each in report.violations[:3]:
        assert each.replay(kept.rule) > 0


def test_there_are_forty_rules_and_more() -> None:
    assert len(ZOO) + 2 >= 48
    counts = [sum(kept.truthful is verdict for kept in ZOO.values()) for verdict in (True, False)]
    assert min(counts) >= 12


@pytest.mark.parametrize("kind", [Moody, Learning])
@pytest.mark.parametrize("method", ["auto", "exact", "search"])
def test_what_remembers_is_refused(kind: type, method: str) -> None:
    with pytest.raises(InvalidInput, match="a function of bids and budget alone"):
        audit(kind(), ONE, 20, method=method)


def test_what_differs_on_floats_or_plain_numbers_is_refused_where_exactness_is_asked_for() -> None:
    for name, why in (
        ("floats pay as bid", "the given floats"),
        ("floats pay more", "the given floats"),
        ("swallowed", "plain numbers"),
        ("typed", "plain numbers"),
    ):
        kept = ZOO[name]
        with pytest.raises(InvalidInput, match=why):
            audit(kept.rule, kept.bids, kept.budget, method="exact", joint=None)


def test_single_asks_of_a_client_with_two_are_complete_where_that_is_asked_for() -> None:
    kept = ZOO["both low"]
    single = audit(kept.rule, kept.bids, kept.budget, joint=False)
    assert single.truthful is True
    assert "single bid" in single.scope
    assert audit(kept.rule, kept.bids, kept.budget).truthful is False


def test_an_error_that_is_no_refusal_is_the_users() -> None:
    kept = ZOO["capped"]
    with pytest.raises(ValueError, match="asks go up to 20"):
        audit(kept.rule, kept.bids, kept.budget)
    with pytest.raises(InvalidInput, match="an Exception class"):
        audit(kept.rule, kept.bids, kept.budget, refusals="ValueError")  # type: ignore[arg-type]


def test_random_reports_try_prices_and_common_factors() -> None:
    bids = np.array([[1.0, 2.0], [5.0, 6.0]])
    reports = random_reports(bids, 0, 3000, True, np.random.default_rng(0), [17.0])
    assert any(report[0] == 17.0 for report in reports)
    assert any(17.0 < report[1] < 17.1 for report in reports)
    assert any(report[1] == 2.0 * report[0] != 2.0 for report in reports)
    assert any(report[0] == 0.0 for report in reports)
