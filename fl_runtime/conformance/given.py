"""What a check is given: an object, or what a configuration would say of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fl_runtime.extensions import Kind, resolve


def made_of(kind: Kind, given: Any) -> Any:
    """An object as it is; of a name, ``package.module:object`` or table what it stands for.

    Raises:
        InvalidInput: There is no such object, or it refuses these fields.

    Example:
        >>> from fl_runtime.simulation.delays import DELAY, Pareto
        >>> made_of(DELAY, Pareto()) == made_of(DELAY, "pareto")
        True
    """
    if isinstance(given, str | Mapping):
        return resolve(kind, given if isinstance(given, str) else dict(given))
    return given
