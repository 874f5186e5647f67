"""What a user can correct ends a command with one line, whichever command it is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from fairopt.errors import FairoptError


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Errors that a user can correct, in one line and with exit status 2; warnings as lines too."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _warning_printer()
            yield
    except (FairoptError, OSError) as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from None


def _warning_printer() -> Callable[..., None]:
    """A hook that prints each warning once, as a line on standard error."""
    shown: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            typer.echo(f"warning: {message}", err=True)

    return show
