"""What a check of laws finds, and how laws are tried without trusting what they are tried on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from fairopt.user_objects import said

Law = Callable[[], Iterable[str]]
"""Tries one law and yields a witness of every breach that it sees."""


@dataclass(frozen=True)
class Broken:
    """A law that does not hold.

    Attributes:
        law: Its name, a short sentence.
        witness: Where it was seen to fail.
    """

    law: str
    witness: str


def tried(laws: Mapping[str, Law]) -> list[Broken]:
    """The laws that do not hold, each with its first witness; one that raises is broken, too."""
    found = []
    for name, law in laws.items():
        witness = _first(law)
        if witness is not None:
            found.append(Broken(name, witness))
    return found


def _first(law: Law) -> str | None:
    """The first witness of a breach."""
    try:
        with other_dice(0):
            return next(iter(law()), None)
    except Exception as error:  # noqa: BLE001 - whatever the part under test does
        return said(error)


@contextmanager
def other_dice(seed: int) -> Iterator[None]:
    """Global generators in a state of that seed, and afterwards in the state before."""
    python, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)  # noqa: NPY002
