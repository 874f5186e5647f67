"""Named random streams: the same seed and the same name give the same draws, in any process.

A run never shares one generator between purposes. Every purpose has a stream of its own, addressed
by the seed and a few keys such as ``("dispatch", 12)`` for the twelfth round. Two arms with the
same seed therefore see the same data split, the same costs and the same active clients (common
random numbers, which is what makes their difference a paired difference), and a resumed run needs
no generator state: the round number finds the stream again.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.random import Generator

Key = str | int


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
