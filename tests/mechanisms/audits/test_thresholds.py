"""Searches find where decisions change, and so what a lie gains at most."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from mechanisms import audit
from mechanisms.audits.thresholds import threshold_reports
from tests.mechanisms.audits.zoo import Table, nobody, outcome


def roots(bids: Table, budget: Any) -> Any:
    """Pays the ask of whoever asks for less than the root of the product of the others' asks."""
    winners, payments = nobody(bids)
    for i, ask in enumerate(bids[:, 0]):
        others = float(np.prod([float(x) for k, x in enumerate(bids[:, 0]) if k != i]))
        if float(ask) ** (len(bids) - 1) < others and ask <= budget / len(bids):
            winners[i, 0], payments[i, 0] = True, float(ask)
    return outcome(winners, payments)


def sliver(bids: Table, budget: Any) -> Any:
    """A fixed price, and twice as much for asks a millionth below it: no ask is drawn there."""
    winners, payments = nobody(bids)
    price = float(budget) / (2 * len(bids)) * 1.0000137
    for i, ask in enumerate(bids[:, 0]):
        if float(ask) ** 2 <= price**2:
            near = float(ask) > price * (1.0 - 1e-3)
            winners[i, 0], payments[i, 0] = True, price * (2 if near else 1)
    return outcome(winners, payments)


def test_the_gain_at_a_threshold_is_found_to_four_digits() -> None:
    bids = [[1.0], [3.0], [7.0]]
    report = audit(roots, bids, 100.0, method="search", samples=300)
    gains = {each.client: float(each.gain) for each in report.violations}
    assert gains[0] == pytest.approx(21**0.5 - 1.0, rel=1e-4)


def test_a_sliver_below_a_threshold_is_found_by_bisection_alone() -> None:
    bids = [[1.0], [2.0], [2.5]]
    report = audit(sliver, bids, 30.0, method="search", samples=300)
    assert report.truthful is False


@pytest.mark.parametrize("exact", [False, True])
def test_all_bids_together_cross_a_threshold_of_their_sum(exact: bool) -> None:
    number = Fraction if exact else float
    bids = np.array(
        [[number(3), number(4)], [number(5), number(6)]], dtype=object if exact else None
    )
    reports, spent = threshold_reports(
        lambda row: bool(sum(row) <= 10), bids, number(20), 0, True, 10_000
    )
    together = [row for row in reports if row[0] != 3 and row[1] != 4]
    assert len(together) == 2
    assert sum(together[0]) == pytest.approx(10, abs=1e-2)
    assert spent <= 6 * (5 + 16)
    assert all(isinstance(x, number | np.floating) for row in reports for x in row)


def test_it_keeps_to_its_runs() -> None:
    bids = np.array([[1.0, 2.0], [3.0, 4.0]])
    for runs in (0, 17, 40, 60):
        assert threshold_reports(lambda row: row[0] < 3, bids, 4.0, 0, True, runs)[1] <= runs
