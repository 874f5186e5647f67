"""Named streams: independent of each other, the same in every process."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fl_runtime.streams import stream, torch_seed

KEYS = st.lists(st.one_of(st.text(max_size=8), st.integers(0, 2**31)), max_size=3)


@given(st.integers(0, 2**40), KEYS)
def test_same_name_same_draws(seed: int, keys: list[str | int]) -> None:
    assert np.array_equal(stream(seed, *keys).random(4), stream(seed, *keys).random(4))


def test_different_names_differ() -> None:
    names = [(), ("a",), ("b",), ("a", 0), ("a", 1), ("a", "b")]
    draws = {float(stream(0, *name).random()) for name in names}
    assert len(draws) == len(names)


def test_words_do_not_depend_on_the_process() -> None:
    code = "from fl_runtime.streams import torch_seed; print(torch_seed(3, 'local', 1, 'digits'))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == torch_seed(3, "local", 1, "digits")
