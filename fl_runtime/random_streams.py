"""Named random streams: the same seed and the same name give the same draws, in any process.

A run never shares one generator between purposes. Every purpose has a stream of its own, addressed
by the seed and a few keys such as ``("dispatch", 12)`` for the twelfth round. Two arms with the
same seed therefore see the same data split, the same costs and the same active clients (common
random numbers, which is what makes their difference a paired difference), and a resumed run needs
no generator state: the round number finds the stream again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Key = str | int

STEP = np.uint64(0x9E3779B97F4A7C15)
"""Increment of SplitMix64, the odd number nearest to 2^64 over the golden ratio."""

PASS_BITS = np.uint64(40)
"""Positions within one pass are told apart by this many low bits of the counter."""


def stream(seed: int, *keys: Key) -> Generator:
    """The generator of one purpose.

    Args:
        seed: Seed of the run, a nonnegative integer.
        *keys: What the draws are for, words and nonnegative counters.

    Returns:
        A fresh PCG64 generator at the start of that stream, seeded by a 128-bit hash of seed and
        keys (a plain seed sequence would not tell ``("a",)`` from ``("a", 0)``).

    Example:
        >>> stream(0, "costs").random() == stream(0, "costs").random()
        True
        >>> stream(0, "costs").random() == stream(0, "split").random()
        False
    """
    return np.random.default_rng(stream_seed(seed, *keys))


def stream_seed(seed: int, *keys: Key) -> int:
    """The 128-bit integer that seeds a stream, for those who make their own generator.

    Example:
        >>> stream(0, "a").random() == np.random.default_rng(stream_seed(0, "a")).random()
        True
    """
    name = repr((int(seed), *(key if isinstance(key, str) else int(key) for key in keys)))
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16).digest(), "big")


def torch_seed(seed: int, *keys: Key) -> int:
    """A seed for PyTorch's own generator, 63 bits of the stream of that name.

    Example:
        >>> torch_seed(0, "initial model", "digits") == torch_seed(0, "initial model", "digits")
        True
    """
    return int(stream(seed, *keys).integers(2**63))


def shuffled_orders(seeds: Sequence[int], passes: int, count: int) -> NDArray[np.int64]:
    """Random orders of many clients' examples at once, without a generator for each client.

    Problem: for every seed and pass a permutation of 0 .. count - 1, all equally likely. Order
    (k, e) depends on nothing but seed k, e and count, so one client's orders are the same alone and
    among others; and those of fewer examples are the order of more with the surplus left out.

    Args:
        seeds: One nonnegative integer below 2^64 per client.
        passes: Orders per client.
        count: Number of examples.

    Returns:
        (clients, passes, count).

    Method: examples sorted by hashed counters (SplitMix64: Steele, Lea and Flood 2014).

    Example:
        >>> shuffled_orders([7], passes=2, count=5).tolist()
        [[[1, 0, 4, 3, 2], [2, 4, 3, 1, 0]]]
    """
    start = _mixed(np.array(seeds, dtype=np.uint64))[:, None, None]
    turn = np.arange(passes, dtype=np.uint64)[:, None] << PASS_BITS
    place = np.arange(1, count + 1, dtype=np.uint64)
    keys = _mixed(start + (turn + place) * STEP)
    return np.argsort(keys, axis=-1, kind="stable")


def _mixed(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function, modulo 2^64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
