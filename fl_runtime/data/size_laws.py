r"""How many examples clients have: laws of unequal sizes.

A law draws a weight :math:`w_k > 0` per client; sizes are :math:`n w_k / \sum_j w_j` examples,
rounded to whole ones that add up to n, and no client has fewer than a given number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fairopt.choices import choose
from fairopt.errors import InvalidInput
from fl_runtime.validation_errors import check_positive, record_from_table

Vector = NDArray[np.float64]


class SizeLaw(Protocol):
    """Anything that can draw how large clients are beside each other."""

    def weights(self, num_clients: int, rng: Generator) -> Vector:
        """(num_clients,) finite numbers > 0."""
        ...


@dataclass(frozen=True)
class LogNormal:
    """The logarithm of a size is normal with standard deviation `sigma`."""

    sigma: float = 1.0

    def __post_init__(self) -> None:
        check_positive("sigma", self.sigma)

    def weights(self, num_clients: int, rng: Generator) -> Vector:
        """Relative to the largest one, so that nothing overflows."""
        logs = self.sigma * rng.standard_normal(num_clients)
        return np.asarray(np.exp(logs - logs.max()))


@dataclass(frozen=True)
class Pareto:
    """The share of clients that are larger than x falls as x to the power of minus `shape`."""

    shape: float = 1.5

    def __post_init__(self) -> None:
        check_positive("shape", self.shape)

    def weights(self, num_clients: int, rng: Generator) -> Vector:
        """From exponential logarithms, relative to the largest one."""
        logs = rng.standard_exponential(num_clients) / self.shape
        return np.asarray(np.exp(logs - logs.max()))


@dataclass(frozen=True)
class Zipf:
    """The k-th largest client has k to the power of minus `exponent` of the largest one."""

    exponent: float = 1.0

    def __post_init__(self) -> None:
        check_positive("exponent", self.exponent)

    def weights(self, num_clients: int, rng: Generator) -> Vector:
        """In an order that is drawn."""
        ranks = np.arange(1, num_clients + 1, dtype=np.float64)
        return rng.permutation(ranks**-self.exponent)


SIZE_LAWS: Mapping[str, Callable[..., SizeLaw]] = {
    "lognormal": LogNormal,
    "pareto": Pareto,
    "zipf": Zipf,
}
"""Names in a configuration."""


def size_law(key: str, table: Mapping[str, Any]) -> SizeLaw:
    """The law that a table names.

    Raises:
        InvalidInput: It has no `law`, an unknown one, or a parameter that the law does not have.

    Example:
        >>> size_law("sizes", {"law": "zipf", "exponent": 2.0})
        Zipf(exponent=2.0)
    """
    fields = {name: value for name, value in table.items() if name != "law"}
    if not isinstance(table.get("law"), str):
        raise InvalidInput(key, dict(table), f"a table with a law: {', '.join(SIZE_LAWS)}")
    kind = choose(f"{key}.law", table["law"], SIZE_LAWS)
    return record_from_table(key, kind, fields)


def drawn_sizes(
    law: SizeLaw, num_examples: int, num_clients: int, rng: Generator, *, least: int = 1
) -> NDArray[np.int64]:
    """Sizes by a law that add up.

    Who would have fewer than the least gets that, and the rest is shared again among the others by
    their weights; what is left by rounding down goes to the largest remainders.

    Raises:
        InvalidInput: There are too few examples for that many clients.

    Example:
        >>> sizes = drawn_sizes(Zipf(), 100, 5, np.random.default_rng(0), least=10)
        >>> sorted(sizes.tolist()), int(sizes.sum())
        ([10, 11, 14, 22, 43], 100)
    """
    if num_examples < least * num_clients:
        requirement = f"at most {num_examples // least}, for {least} or more examples each"
        raise InvalidInput("num-clients", num_clients, requirement)
    weights = law.weights(num_clients, rng)
    lifted = np.zeros(num_clients, dtype=np.bool_)
    while True:
        free = num_examples - least * int(lifted.sum())
        shares = np.where(lifted, 0.0, weights)
        exact = np.where(lifted, least, free * shares / max(shares.sum(), np.finfo(float).tiny))
        short = ~lifted & (exact < least)
        if not short.any():
            break
        lifted |= short
    sizes = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - sizes), kind="stable")
    sizes[order[: num_examples - int(sizes.sum())]] += 1
    return sizes
