"""Named streams: independent of each other, the same in every process."""

import subprocess
import sys
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fl_runtime.random_streams import shuffled_orders, stream, stream_seed, torch_seed

KEYS = st.lists(st.one_of(st.text(max_size=8), st.integers(0, 2**31)), max_size=3)


@given(st.integers(0, 2**40), KEYS)
def test_same_name_same_draws(seed: int, keys: list[str | int]) -> None:
    assert np.array_equal(stream(seed, *keys).random(4), stream(seed, *keys).random(4))


def test_different_names_differ() -> None:
    names = [(), ("a",), ("b",), ("a", 0), ("a", 1), ("a", "b")]
    draws = {float(stream(0, *name).random()) for name in names}
    assert len(draws) == len(names)


def test_words_do_not_depend_on_the_process() -> None:
    code = (
        "from fl_runtime.random_streams import torch_seed;"
        "print(torch_seed(3, 'local', 1, 'digits'))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == torch_seed(3, "local", 1, "digits")


SEEDS = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=6)


@given(SEEDS, st.integers(1, 4), st.integers(1, 30))
def test_orders_are_permutations_and_do_not_depend_on_company(
    seeds: list[int], passes: int, count: int
) -> None:
    orders = shuffled_orders(seeds, passes, count)
    assert np.array_equal(np.sort(orders, axis=-1), np.broadcast_to(range(count), orders.shape))
    for seed, mine in zip(seeds, orders, strict=True):
        assert np.array_equal(mine, shuffled_orders([seed], passes, count)[0])
        assert np.array_equal(mine[:1], shuffled_orders([seed], 1, count)[0])


@given(st.integers(0, 2**63 - 1), st.integers(1, 30), st.integers(1, 30))
def test_a_shorter_order_is_the_longer_one_without_the_surplus(seed: int, a: int, b: int) -> None:
    short, long = sorted((a, b))
    (whole,) = shuffled_orders([seed], 1, long)[0]
    assert np.array_equal(whole[whole < short], shuffled_orders([seed], 1, short)[0][0])


def test_all_orders_are_equally_likely() -> None:
    """Consecutive seeds, passes and places: each of 24 orders within five standard deviations."""
    draws = shuffled_orders(range(6000), passes=4, count=4).reshape(-1, 4)
    found = Counter(map(tuple, draws.tolist()))
    expected = len(draws) / 24
    spread = (expected * (1 - 1 / 24)) ** 0.5
    assert len(found) == 24
    assert all(abs(number - expected) < 5 * spread for number in found.values())
    pairs = Counter(map(tuple, np.stack([draws[:-1, 0], draws[1:, 0]], axis=1).tolist()))
    assert all(abs(n - len(draws) / 16) < 5 * (len(draws) / 16) ** 0.5 for n in pairs.values())


@given(
    one=st.tuples(st.integers(0, 5), st.sampled_from(["a", "b"]), st.integers(0, 5)),
    two=st.tuples(st.integers(0, 5), st.sampled_from(["a", "b"]), st.integers(0, 5)),
)
def test_streams_are_one_iff_seed_and_keys_are(
    one: tuple[int, str, int], two: tuple[int, str, int]
) -> None:
    assert (stream_seed(*one) == stream_seed(*two)) == (one == two)
    assert (stream(*one).random() == stream(*two).random()) == (one == two)
    assert (torch_seed(*one) == torch_seed(*two)) == (one == two)
