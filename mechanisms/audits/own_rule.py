"""Rules that users bring: what goes wrong in one is told in a line, with the place in the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fairopt.errors import FairoptError, InvalidInput
from fairopt.user_objects import said


@contextmanager
def blamed(rule: str, hint: str = "") -> Iterator[None]:
    """Turn what a user's rule raises, or what is wrong with its answer, into one error about it.

    Args:
        rule: What the user calls it.
        hint: What to do about a rule that raises.

    Raises:
        InvalidInput: The rule failed. Errors about anything else pass unchanged.

    Example:
        >>> with blamed("mine:rule"):
        ...     [][0]
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: rule = 'mine:rule', but it must be a rule that runs on all bids
        (IndexError: list index out of range)
    """
    try:
        yield
    except Exception as error:
        notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
        if isinstance(error, FairoptError) and not _is_of_rule(error, notes):
            raise
        if isinstance(error, InvalidInput) and not notes:
            raise InvalidInput("rule", rule, f"a rule whose answer is sound ({error})") from error
        requirement = f"a rule that runs on all bids ({said(error)}{notes}){hint}"
        raise InvalidInput("rule", rule, requirement) from error


def _is_of_rule(error: FairoptError, notes: str) -> bool:
    """Whether an error was raised by a rule, or is about what it returned; else by an option."""
    about = error.argument if isinstance(error, InvalidInput) else ""
    return bool(notes) or about.partition(".")[0] == "outcome"
