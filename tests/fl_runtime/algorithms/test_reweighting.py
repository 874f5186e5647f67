"""FedRAM's vectors: every worked value to six digits, and laws under absence."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairopt import InvalidInput, multiplicative_weights
from fl_runtime.algorithms import reweighting as r

SIX_DIGITS = {"abs": 6e-7}
PROXY, REFERENCE = (1.2, 0.9, 0.4), (0.7, 1.0, 0.3)
FIRST = (0.5, 0.3, 0.2)
SMOOTHED = (0.511380, 0.292010, 0.196610)


def test_task_weights_by_hand() -> None:
    excess = r.excess_losses(PROXY, REFERENCE)
    assert excess == pytest.approx([0.5, 0.0, 0.1])
    plain = r.task_weights(FIRST, excess, 0.1)
    assert plain == pytest.approx([0.511495, 0.291929, 0.196576], **SIX_DIGITS)
    smoothed = r.task_weights(FIRST, excess, 0.1, smoothing=0.01)
    assert smoothed == pytest.approx(SMOOTHED, **SIX_DIGITS)


def test_the_clip_and_the_target_of_smoothing_matter() -> None:
    """What a careless reading would compute has other values."""
    gap = np.subtract(PROXY, REFERENCE)
    unclipped = r.task_weights(FIRST, gap, 0.1, smoothing=0.01)
    assert unclipped == pytest.approx([0.512855, 0.289968, 0.197177], **SIX_DIGITS)
    excess = r.excess_losses(PROXY, REFERENCE)
    uniform = multiplicative_weights(FIRST, excess, 0.1, smoothing=0.01, smooth_towards="uniform")
    assert uniform == pytest.approx([0.509713, 0.292343, 0.197943], **SIX_DIGITS)


def test_the_local_gradient_by_hand() -> None:
    gradients, excess = np.array([2.0, 5.0, -3.0]), r.excess_losses(PROXY, REFERENCE)
    alpha = r.task_weights(FIRST, excess, 0.1, smoothing=0.01)
    literal = r.loss_coefficients(alpha, excess) @ gradients
    assert literal == pytest.approx(0.432931, **SIX_DIGITS)
    whole = r.loss_coefficients(alpha, excess, clip=False) @ gradients
    assert whole == pytest.approx(1.892981, **SIX_DIGITS)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (0.1, (0.321222, 0.337692, 0.341086)),
        (-0.1, (0.345663, 0.328804, 0.325533)),
        (1.0, (0.223672, 0.368772, 0.407556)),
    ],
)
def test_client_weights_by_hand(rate: float, expected: tuple[float, ...]) -> None:
    local, common = (0.4, 0.6, 0.9), (1.0, 0.7, 0.9)
    d = [r.differential_loss([a], [b], [1]) for a, b in zip(local, common, strict=True)]
    assert d == pytest.approx([-0.6, -0.1, 0.0])
    assert r.client_weights([1 / 3] * 3, d, rate) == pytest.approx(expected, **SIX_DIGITS)


@pytest.mark.parametrize(
    ("absent", "expected"),
    [
        ("frozen", (0.388486, 0.306303, 0.2, 0.105211)),
        ("renormalise", (0.386072, 0.304399, 0.204972, 0.104557)),
    ],
)
def test_an_absent_client_by_hand(absent: r.Absent, expected: tuple[float, ...]) -> None:
    here = np.array([True, True, False, True])
    d = [-0.6, -0.1, math.nan, 0.2]
    w = r.client_weights([0.4, 0.3, 0.2, 0.1], d, 0.1, present=here, absent=absent)
    assert w == pytest.approx(expected, **SIX_DIGITS)
    shares = w[here] / w[here].sum()
    assert shares == pytest.approx([0.485608, 0.382879, 0.131513], **SIX_DIGITS)
    assert shares @ [1, -2, 4] == pytest.approx(0.245902, abs=2e-6)


def test_resampling_by_hand() -> None:
    assert r.resampled_counts(SMOOTHED, 200).tolist() == [102, 59, 39]


def test_the_bound_of_a_rate_by_hand() -> None:
    assert r.rate_bound(7, 2.3) == pytest.approx(0.846, abs=5e-4)
    assert r.rate_bound(10, 2.3) == pytest.approx(1.001, abs=5e-4)
    with pytest.raises(InvalidInput, match="largest_loss"):
        r.rate_bound(7, 0.0)


def test_parents_by_hand() -> None:
    """Group DRO and DoReMi, by the same update."""
    dro = multiplicative_weights([0.5, 0.5], [1, 2], 0.01)
    assert dro == pytest.approx([0.497500, 0.502500], **SIX_DIGITS)
    excess = r.excess_losses([0.3, 0.0], [0.0, 0.2])
    assert r.task_weights([0.5, 0.5], excess, 1.0) == pytest.approx(
        [0.574443, 0.425557], **SIX_DIGITS
    )
    mixed = multiplicative_weights(
        [0.5, 0.5], excess, 1.0, smoothing=1e-3, smooth_towards="uniform"
    )
    assert mixed == pytest.approx([0.574368, 0.425632], **SIX_DIGITS)


def test_inside_and_outside_by_hand() -> None:
    accuracies, sizes = [0.9, 0.6, 0.5, 0.7], [300, 100, 50, 150]
    held = [True, True, False, False]
    inside, outside = r.accuracy_inside_and_outside(accuracies, sizes, held)
    assert (inside, outside) == pytest.approx((0.825, 0.65))
    assert math.isnan(r.accuracy_inside_and_outside(accuracies, sizes, [True] * 4)[1])


def test_a_differential_loss_weighs_tasks_by_their_examples() -> None:
    assert r.differential_loss([1.0, 2.0], [2.0, 2.0], [3, 1]) == pytest.approx(-0.75)


def test_a_rate_that_makes_weights_vanish_is_refused_with_a_bound() -> None:
    with pytest.raises(InvalidInput, match=r"task-rate.*at most 0\.549"):
        r.task_weights([0.5, 0.25, 0.25], [2.0, 0.0, 1.0], 1e6)
    with pytest.raises(InvalidInput, match=r"client-rate.*weights vanish"):
        r.client_weights([0.5, 0.5], [2.0, 0.0], -1e6)


def test_one_task_and_one_client_keep_their_weight() -> None:
    assert r.task_weights([1.0], [3.0], 0.5, smoothing=0.01) == pytest.approx([1.0])
    assert r.client_weights([1.0], [-3.0], 0.5) == pytest.approx([1.0])
    assert r.resampled_counts([1.0], 7).tolist() == [7]


LOSSES = st.floats(-5.0, 5.0)


@given(st.data())
def test_weights_stay_positive_and_sum_to_one_under_dropout(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    rounds = data.draw(st.integers(1, 6))
    rate = data.draw(st.floats(-2.0, 2.0))
    absent = data.draw(st.sampled_from(["frozen", "renormalise"]))
    w = np.full(count, 1.0 / count)
    for _ in range(rounds):
        here = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
        d = np.array(data.draw(st.lists(LOSSES, min_size=count, max_size=count)))
        d[~here] = math.nan
        after = r.client_weights(w, d, rate, present=here, absent=absent)
        assert (after > 0.0).all()
        assert after.sum() == pytest.approx(1.0)
        if absent == "frozen":
            assert (after[~here] == w[~here]).all()
        w = after


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=7), st.integers(0, 500))
def test_resampling_is_exact_in_total_and_within_one_of_the_quota(
    raw: list[float], total: int
) -> None:
    alpha = np.array(raw) / sum(raw)
    counts = r.resampled_counts(alpha, total)
    assert counts.sum() == total
    assert (np.abs(counts - alpha * total) < 1.0 + 1e-6).all()


@given(st.lists(st.integers(1, 400), min_size=1, max_size=7))
def test_weights_in_proportion_to_sizes_draw_every_example(sizes: list[int]) -> None:
    total = sum(sizes)
    assert r.resampled_counts(np.array(sizes) / total, total).tolist() == sizes


@given(st.lists(st.floats(0.0, 5.0), min_size=3, max_size=3), st.floats(-1.0, 1.0))
def test_equal_gains_a_rate_of_zero_and_a_common_constant_change_nothing(
    gains: list[float], shift: float
) -> None:
    assert r.task_weights(FIRST, gains, 0.0) == pytest.approx(FIRST)
    assert r.task_weights(FIRST, [gains[0]] * 3, 0.7) == pytest.approx(FIRST)
    moved = r.client_weights(FIRST, np.add(gains, shift), 0.3)
    assert moved == pytest.approx(r.client_weights(FIRST, gains, 0.3))
