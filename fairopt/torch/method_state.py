"""What a method remembers between steps, as an object that can be saved and restored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fairopt import checks
from fairopt.arrays import Array
from fairopt.errors import InvalidInput


class MethodState:
    """Named arrays, and a random generator where the method draws.

    A method record is frozen; what changes from step to step is here and nowhere else. `state_dict`
    holds lists, numbers and strings only, so that JSON and `torch.save` (also with
    `weights_only=True`) take it. Copies of a record made by `dataclasses.replace` share the state.

    Attributes:
        arrays: What is remembered; empty before the first step.
        rng: The generator, or None.

    Example:
        >>> from fairopt.torch import Uncertainty
        >>> method = Uncertainty()
        >>> _ = method.weigh([4.0, 0.25])
        >>> saved = method.state.state_dict()
        >>> first = method.weigh([4.0, 0.25]).weights
        >>> method.state.load_state_dict(saved)
        >>> bool((method.weigh([4.0, 0.25]).weights == first).all())
        True
    """

    def __init__(self, rng: np.random.Generator | None = None) -> None:
        self.arrays: dict[str, Array] = {}
        self.rng = rng

    def get(
        self, name: str, shape: tuple[int, ...], start: float = 0.0, argument: str = "losses"
    ) -> Array:
        """The array of that name, which the first call fills with `start`.

        Raises:
            InvalidInput: for the argument if it is there in another shape: other tasks than before.
        """
        if name not in self.arrays:
            self.arrays[name] = np.full(shape, start)
        if self.arrays[name].shape != shape:
            known = f"of shape {self.arrays[name].shape} as before; `state.clear()` starts anew"
            raise InvalidInput(argument, f"array of shape {shape}", known)
        return self.arrays[name]

    def clear(self) -> None:
        """Forget everything but the place in the random sequence."""
        self.arrays.clear()

    def state_dict(self) -> dict[str, Any]:
        """All of it as lists, numbers and strings."""
        arrays = {name: array.tolist() for name, array in self.arrays.items()}
        rng = None if self.rng is None else _plain(self.rng.bit_generator.state)
        return {"arrays": arrays, "rng": rng}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            InvalidInput: for anything else, or the state of another kind of generator.
        """
        if not isinstance(saved, dict) or set(saved) != {"arrays", "rng"}:
            raise InvalidInput("saved", saved, "what `state_dict` returned")
        if (saved["rng"] is None) != (self.rng is None):
            raise InvalidInput(
                "saved", saved["rng"], "of a method with a generator, if this has one"
            )
        arrays = {name: np.array(rows, dtype=np.float64) for name, rows in saved["arrays"].items()}
        if self.rng is not None:
            try:
                self.rng.bit_generator.state = saved["rng"]
            except (ValueError, TypeError, KeyError):
                kind = type(self.rng.bit_generator).__name__
                raise InvalidInput("saved", saved["rng"], f"the state of a {kind}") from None
        self.arrays = arrays


def generator(rng: object) -> np.random.Generator:
    """A generator, or a new one from a seed."""
    if isinstance(rng, np.random.Generator):
        return rng
    return np.random.default_rng(checks.count("rng", rng, 0))


def _plain(value: Any) -> Any:
    """Arrays of a generator's state as lists."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


@contextmanager
def remembered(method: object) -> Iterator[Callable[[], None]]:
    """Inside, what a method remembers can be put back to what it was: by calling what this yields.

    Example:
        >>> from fairopt.torch import FAMO
        >>> method = FAMO()
        >>> with remembered(method) as forget:
        ...     _ = method.weigh([1.0, 2.0])
        ...     forget()
        >>> method.state.arrays
        {}
    """
    state = getattr(method, "state", None)
    if not isinstance(state, MethodState):
        yield lambda: None
        return
    arrays = {name: array.copy() for name, array in state.arrays.items()}
    place = None if state.rng is None else state.rng.bit_generator.state

    def forget() -> None:
        state.arrays.clear()
        state.arrays.update(arrays)
        if state.rng is not None and place is not None:
            state.rng.bit_generator.state = place

    yield forget
