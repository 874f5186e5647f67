"""The two ways a call can fail: the question was wrong, or the answer was not found."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from fractions import Fraction

import numpy as np


class FairoptError(Exception):
    """Base class of every error this library raises on purpose."""


class Unshown(Enum):
    """What stands for the value of an argument where there is none to show, with its sentence."""

    MISSING = "is missing: {requirement}"
    CHANGED = "has changed, but it must be {requirement}"
    ITSELF = "must be {requirement}"


class InvalidInput(FairoptError, ValueError):
    """An argument does not meet its requirement.

    Args:
        argument: Name of the argument as the caller spells it.
        value: What was passed, or the part of it that is wrong; one of `Unshown` where there is no
            value to show.
        requirement: What would have been accepted, in words.

    Example:
        >>> raise InvalidInput("alpha", -1.0, "a number in [0, inf]")
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: alpha = -1.0, but it must be a number in [0, inf]
        >>> print(InvalidInput("clients", Unshown.MISSING, "this key is required"))
        clients is missing: this key is required
    """

    def __init__(self, argument: str, value: object, requirement: str) -> None:
        self.argument = argument
        self.value = value
        self.requirement = requirement
        if isinstance(value, Unshown):
            super().__init__(f"{argument} {value.value.format(requirement=requirement)}")
        else:
            super().__init__(f"{argument} = {_shown(value)}, but it must be {requirement}")

    def __reduce__(self) -> tuple[type[InvalidInput], tuple[str, object, str]]:
        return type(self), (self.argument, self.value, self.requirement)


class NotSolved(FairoptError, RuntimeError):
    """`require()` was called on a result that is not an answer."""


def _shown(value: object) -> str:
    """A one-line picture of a value, cut where it is long."""
    text = " ".join(_plain(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def _plain(value: object) -> str:
    """A value as Python writes it; numbers without the names of their types."""
    if isinstance(value, np.generic):
        value = value.item()
    return str(value) if isinstance(value, Fraction | Decimal) else repr(value)
