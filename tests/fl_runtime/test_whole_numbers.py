"""Counts from shares and ratios are those of the decimals as written."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fl_runtime.algorithms.fed_ast import LARGEST_RATIO, FedAST
from fl_runtime.data.partitions import MissingClasses
from fl_runtime.metrics.client_metrics import bottom_mean
from fl_runtime.simulation.delays import dealt_speeds
from fl_runtime.training.federation import active_count
from fl_runtime.whole_numbers import largest_remainders, whole_down, whole_up

SHARES = st.integers(1, 10_000).map(lambda parts: Fraction(parts, 10_000))
COUNTS = st.integers(1, 100_000)


@given(SHARES, COUNTS)
@example(Fraction(29, 100), 100)
@example(Fraction(58, 100), 50)
def test_shares_of_a_count_are_rounded_as_decimals(share: Fraction, count: int) -> None:
    assert whole_down(float(share) * count) == math.floor(share * count)
    assert whole_up(float(share) * count) == math.ceil(share * count)
    assert active_count(count, float(share)) == max(1, math.floor(share * count))


@given(st.integers(1, int(1000 * LARGEST_RATIO)), COUNTS)
@example(700, 21)
def test_buffers_are_rounded_as_decimals(thousandths: int, active: int) -> None:
    ratio = Fraction(thousandths, 1000)
    assert FedAST(ratio=float(ratio)).capacity(active) == math.ceil(active / ratio)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6), st.integers(0, 200))
@example([7, 1, 2], 15)
@example([7, 1, 2], 2)
def test_largest_remainders_are_those_of_the_decimals(parts: list[int], count: int) -> None:
    exact = [Fraction(part * count, sum(parts)) for part in parts]
    found = largest_remainders([part / 1000 for part in parts], count)
    assert sum(found) == count
    rest = {k: exact[k] - math.floor(exact[k]) for k in range(len(parts))}
    up = [n > math.floor(share) for n, share in zip(found, exact, strict=True)]
    assert all(0 <= n - math.floor(share) <= 1 for n, share in zip(found, exact, strict=True))
    for a in range(len(parts)):
        for b in range(len(parts)):
            if up[a] and not up[b]:
                assert (-rest[a], a) < (-rest[b], b)


def test_speed_classes_are_rounded_as_decimals() -> None:
    dealt = dealt_speeds((0.7, 0.1, 0.2), (1.0, 2.0, 3.0), 15, np.random.default_rng(0))
    assert [(dealt == factor).sum() for factor in (1.0, 2.0, 3.0)] == [11, 1, 3]


@given(st.integers(1, 50), st.integers(1, 10**6))
def test_ratios_that_no_decimal_gives_are_rounded_too(parts: int, count: int) -> None:
    """A third, as Python computes it."""
    assert whole_up(count / (1 / parts)) == count * parts
    assert whole_down(1 / parts * (count * parts)) == count


@pytest.mark.parametrize(("ratio", "held"), [(0.58, 29), (0.29, 14), (0.14, 7), (1.0, 50)])
def test_clients_hold_the_written_share_of_the_classes(ratio: float, held: int) -> None:
    labels = np.repeat(np.arange(50), 60)
    shards = MissingClasses(ratio).split(labels, 10, np.random.default_rng(0))
    assert len(set(labels[shards[0]])) == held


def test_a_tenth_of_the_clients_is_a_tenth() -> None:
    for clients in range(10, 1000, 10):
        values = np.arange(float(clients))
        assert bottom_mean(values) == np.arange(float(clients // 10)).mean()
