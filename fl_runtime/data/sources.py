"""Data that are too large for memory: loaded client by client when they are needed.

A data function may return an object with the members of `Source` instead of arrays. Its clients are
the run's (``partition = "natural"``); their examples are kept as long as they fit into
``[run] shard-cache``, the least recently used ones go first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np

from fairopt.errors import InvalidInput, Unshown
from fairopt.user_objects import said
from fl_runtime.data.dataset import Data

HELD_OUT = ("validation", "test")
"""Parts that are loaded at once, and stay."""

Pair = tuple[Any, Any]
"""Inputs (n, ...), or such by name, and targets (n, ...)."""


@runtime_checkable
class Source(Protocol):
    """Examples of many clients.

    Attributes:
        sizes: (num_clients,) training examples of every client.
        outputs: What a model factory is told, as in `Data`.
        fingerprint: A text that is another one when the data are: a version, a hash. A run records
            it, and refuses to go on with data that have another one.
    """

    sizes: Any
    outputs: int | tuple[int, ...]
    fingerprint: str

    def load(self, client: int) -> Pair:
        """Inputs and targets of a client, the same at every call."""
        ...

    def held_out(self, part: str) -> Pair:
        """Those of `validation` and of `test`."""
        ...


def checked_source(source: Source, reference: str) -> Source:
    """The same, if it says what it should.

    Raises:
        InvalidInput: Sizes are not whole numbers >= 1, or the fingerprint is no text.
    """
    sizes = np.asarray(source.sizes)
    if sizes.ndim != 1 or sizes.dtype.kind not in "iu" or sizes.size == 0 or sizes.min() < 1:
        shown = f"{sizes.dtype} {sizes.shape}"
        raise InvalidInput(f"{reference} sizes", shown, "whole numbers >= 1, one per client")
    if not isinstance(source.fingerprint, str) or not source.fingerprint:
        requirement = "a text that is another one when the data are"
        raise InvalidInput(f"{reference} fingerprint", source.fingerprint, requirement)
    return source


def held_out_data(source: Source, part: str, reference: str) -> Data:
    """A held-out part, checked."""
    return _checked(partial(source.held_out, part), source, f"{reference} {part}")


def client_data(source: Source, client: int, reference: str) -> Data:
    """The examples of a client, checked.

    Raises:
        InvalidInput: They are no data, or not as many as `sizes` says.
    """
    found = _checked(partial(source.load, client), source, f"{reference} client {client}")
    size = int(np.asarray(source.sizes)[client])
    if len(found.targets) != size:
        requirement = f"{size} examples, as sizes says"
        raise InvalidInput(f"{reference} client {client}", len(found.targets), requirement)
    return found


def _checked(load: Callable[[], Pair], source: Source, name: str) -> Data:
    """Inputs and targets as data."""
    try:
        pair = load()
    except Exception as error:  # whatever the user's source does
        raise InvalidInput(name, Unshown.ITSELF, f"examples that load ({said(error)})") from error
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise InvalidInput(name, type(pair).__name__, "a pair of inputs and targets")
    return Data(*pair, outputs=source.outputs).checked(name)
