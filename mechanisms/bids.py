"""Reading bids and budgets: the one place where an auction's input is checked.

A table of bids is either float64, and then computed fast, or an object array of `Fraction`,
`Decimal` and integers, and then computed exactly. In both cases a decision is the one that exact
arithmetic takes on the numbers given: a float is its exact binary value.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairopt.errors import InvalidInput
from mechanisms.price_unit import FLOATS, PriceUnit, as_written

BID = "at least 0, or inf for a client that does not bid"
NUMBERS = "a real number: an integer, a float, a Fraction or a Decimal"
LARGEST_INTEGER = 2**53
"""Integers above it need not be float64 numbers, so they are refused rather than rounded."""
DECIMAL_EXPONENTS = 1000
"""Powers of ten up to which a decimal is multiplied out."""
SMALLEST_UNIT = Fraction(2) ** -1022
"""Floats below it have fewer digits."""
MOST_UNITS = 2**50
"""In a budget whose multiples are floats: rounding, 2^-53 of the payments and as much of the
budget, is less than half a unit then."""
PLAIN = (int, float, Fraction)
"""Types of cells about which there is nothing to ask."""


@dataclass(frozen=True, eq=False)
class Auction:
    """Checked input of an auction.

    Args:
        bids: (N, S) float64, or object array of exact numbers; `inf` = does not bid, which is
            also what a bid above the reserve price becomes.
        budget: A float, or a Fraction where the bids are exact.
        outside: (S,) price of the outside seller of each task; `inf` where there is none.
        unit: What prices are rounded down to multiples of; None where they are not.
    """

    bids: NDArray[Any]
    budget: Any
    outside: NDArray[Any]
    unit: PriceUnit | None = None

    @property
    def exact(self) -> bool:
        """Whether to compute in exact numbers."""
        return self.bids.dtype == object

    @property
    def num_clients(self) -> int:
        """N."""
        return int(self.bids.shape[0])

    @property
    def num_tasks(self) -> int:
        """S."""
        return int(self.bids.shape[1])


def read_auction(bids: ArrayLike, budget: Any, reserve: Any = None, unit: Any = None) -> Auction:
    """Check an auction's input once and bring it into one form.

    Args:
        bids: (N, S) reported cost of client i for task s, >= 0; `inf` = does not bid.
        budget: Money available, finite and > 0.
        reserve: Price of an inexhaustible outside seller, a scalar or (S,); bids above it are
            ignored. `None`: no such seller.
        unit: What payments are multiples of, > 0 and at most the budget. `None`: any amount.

    Raises:
        InvalidInput: Names the argument (with client and task for a bid), the value and the
            requirement.

    Example:
        >>> read_auction([[1.0, float("inf")], [2.0, 0.5]], 3).num_clients
        2
        >>> read_auction([[1.0, -2.0]], 3)
        Traceback (most recent call last):
        ...
        fairopt.errors.InvalidInput: bids[client 0, task 1] = -2.0, but it must be at least 0, ...
    """
    table = checked_bids(bids)
    exact = table.dtype == object
    outside = _checked_reserve(reserve, table.shape[1], exact)
    if reserve is not None:
        table = np.where(table > outside, math.inf, table)
    money = checked_budget(budget, exact=exact)
    return Auction(table, money, outside, checked_unit(unit, budget, exact=exact))


def in_fractions(auction: Auction) -> Auction:
    """The same auction in exact numbers."""
    if auction.exact:
        return auction
    budget = checked_budget(auction.budget, exact=True)
    return Auction(exactly(auction.bids), budget, exactly(auction.outside))


def checked_bids(bids: ArrayLike) -> NDArray[Any]:
    """Bids as a C-contiguous (N, S) table of float64 or of exact numbers."""
    try:
        table = _as_array("bids", bids)
        if table.ndim != 2 or 0 in table.shape:
            requirement = "a table (clients, tasks) with at least one client and one task"
            raise InvalidInput("bids", table.shape, requirement)
        return _nonnegative("bids", table, BID)
    except InvalidInput as error:
        hint = _way_to_a_table(bids)
        if not hint:
            raise
        if hasattr(bids, "bids"):
            kind = type(bids).__name__
            raise InvalidInput("bids", kind, f"a table (clients, tasks); {hint}") from None
        raise InvalidInput(error.argument, error.value, f"{error.requirement}; {hint}") from None


def _way_to_a_table(bids: Any) -> str:
    """How to make a table of what has bids and names; empty for everything else."""
    if hasattr(bids, "bids"):
        return "of what read_bids returns, give the attribute bids"
    if hasattr(bids, "columns") or hasattr(bids, "column_names"):
        return "a data frame with names is read by read_bids(frame), whose attribute bids is one"
    return ""


def checked_budget(budget: Any, *, exact: bool) -> Any:
    """The budget as a float, or as a Fraction for an exact auction."""
    requirement = "a finite number > 0: an integer, a float, a Fraction or a Decimal"
    value = _exact_real("budget", budget, requirement)
    if not 0 < value < math.inf:
        raise InvalidInput("budget", budget, requirement)
    if exact:
        return value
    return _representable("budget", value, budget)


def checked_unit(unit: Any, budget: Any, *, exact: bool) -> PriceUnit | None:
    """The unit that payments are multiples of; None stays.

    Args:
        unit: A real number. Floats are read as their shortest decimal text.
        budget: As it was given.
        exact: Whether the bids are exact numbers.

    Raises:
        InvalidInput: It is not in (0, budget], or so fine beside the budget that sums of its
            multiples as floats mean nothing.
    """
    if unit is None:
        return None
    requirement = "a number > 0, at most the budget: an integer, a float, a Fraction or a Decimal"
    value = _exact_real("unit", unit, requirement)
    if not 0 < value < math.inf:
        raise InvalidInput("unit", unit, requirement)
    if not exact:
        _representable("unit", value, unit)
    limit = _exact_real("budget", budget, requirement)
    size, money = as_written(unit, value), as_written(budget, limit)
    if not (value <= limit or size <= money):  # the same decimal may be below its own float
        raise InvalidInput("unit", unit, requirement)
    binary = not exact or isinstance(unit, FLOATS)
    if binary and not max(money / MOST_UNITS, SMALLEST_UNIT) <= size:
        requirement = "at least 2^-50 of the budget and 2^-1022, unless bids and unit are exact"
        raise InvalidInput("unit", unit, requirement)
    exponent = int(unit.as_tuple().exponent) if exact and isinstance(unit, Decimal) else None
    return PriceUnit(size, binary, exponent)


def checked_count(argument: str, value: Any, least: int) -> int:
    """An integer that is large enough; floats and booleans are refused."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InvalidInput(argument, value, f"an integer >= {least}")
    return int(value)


def checked_generator(rng: Any) -> np.random.Generator:
    """The source of randomness, which nothing else can stand for."""
    if not isinstance(rng, np.random.Generator):
        raise InvalidInput("rng", rng, "a numpy.random.Generator")
    return rng


def checked_prices(prices: ArrayLike, auction: Auction) -> NDArray[Any]:
    """(N, S) posted prices in the number type of an auction, from (S,), then one row in memory."""
    array = _as_array("prices", prices)
    shape = auction.bids.shape
    if array.shape not in (shape, shape[1:]):
        raise InvalidInput("prices", array.shape, f"prices of shape {shape[1:]} or {shape}")
    table = _in_numbers_of("prices", array, auction.exact, "finite and at least 0")
    for flat in np.flatnonzero(table == math.inf):
        raise InvalidInput(_cell("prices", int(flat), array), math.inf, "finite and at least 0")
    return table if table.shape == shape else np.broadcast_to(table, shape)


def checked_direction(
    direction: ArrayLike, fee: Any, num_tasks: int
) -> tuple[tuple[Fraction, ...], Fraction]:
    """A price direction (S,) > 0 and a fee in [0, sum of it), both exact."""
    array = _as_array("direction", direction)
    if array.shape != (num_tasks,):
        raise InvalidInput("direction", array.shape, f"{num_tasks} numbers, one per task")
    weights = _exact_nonnegative("direction", array.astype(object), "finite and > 0")
    for task, weight in enumerate(weights):
        if not 0 < weight < math.inf:
            raise InvalidInput(f"direction[task {task}]", weight, "finite and > 0")
    total = sum(weights)
    charge = _exact_real("fee", fee, "a number >= 0")
    if not 0 <= charge < total:
        raise InvalidInput("fee", fee, f">= 0 and below the sum of the direction, {total}")
    return tuple(weights), charge


def checked_values(values: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """(N, S) what the work of each client is worth, in whole numbers.

    Args:
        values: (N,) or (N, S), finite and > 0.
        shape: (N, S).

    Returns:
        Object array of integers with the same ratios: a common factor of all values moves no
        auction, and sums of integers are compared quickly.

    Example:
        >>> checked_values([0.5, 2.0], (2, 1)).tolist()
        [[1], [4]]
    """
    array = _as_array("values", values)
    if array.shape not in (shape, shape[:1]):
        raise InvalidInput("values", array.shape, f"values of shape {shape[:1]} or {shape}")
    return np.array(np.broadcast_to(_positive("values", array).reshape(len(array), -1), shape))


def checked_cover(
    covers: ArrayLike, weights: ArrayLike | None, shape: tuple[int, ...]
) -> tuple[NDArray[np.bool_], list[int]]:
    """What every client covers for every task, and what each region is worth in whole numbers.

    Args:
        covers: (N, R) for all tasks alike, or (S, N, R), bool.
        weights: (R,), finite and > 0; None for regions that are worth the same.
        shape: (N, S).

    Returns:
        (covers (S, N, R), weights (R,)).
    """
    clients, tasks = shape
    array = _rectangular("covers", covers)
    if array.dtype != np.bool_ or array.ndim not in (2, 3):
        found = f"{array.dtype} of shape {array.shape}"
        raise InvalidInput("covers", found, "a boolean table (clients, regions), or one per task")
    regions = array.shape[-1]
    if array.shape[-2] != clients or array.shape[:-2] not in ((), (tasks,)) or regions == 0:
        requirement = f"of shape ({clients}, regions) or ({tasks}, {clients}, regions)"
        raise InvalidInput("covers", array.shape, requirement)
    worth = _as_array("weights", np.ones(regions) if weights is None else weights)
    if worth.shape != (regions,):
        raise InvalidInput("weights", worth.shape, f"{regions} numbers, one per region")
    table = np.array(np.broadcast_to(array, (tasks, clients, regions)))
    return table, _positive("weights", worth).tolist()


def checked_quotas(quotas: ArrayLike | None, num_tasks: int) -> list[float]:
    """(S,) most recruits of each task, `inf` for no limit."""
    if quotas is None:
        return [math.inf] * num_tasks
    array = _rectangular("quotas", quotas)
    if array.shape != (num_tasks,):
        raise InvalidInput("quotas", array.shape, f"{num_tasks} integers, one per task")
    return [checked_count(f"quotas[task {task}]", each, 1) for task, each in enumerate(array)]


def checked_share(argument: str, value: Any) -> Fraction:
    """A number strictly between 0 and 1, exact."""
    requirement = "a number above 0 and below 1"
    share = _exact_real(argument, value, requirement)
    if not 0 < share < 1:
        raise InvalidInput(argument, value, requirement)
    return Fraction(share)


def exactly(table: ArrayLike) -> NDArray[Any]:
    """The same numbers as an object array of Fractions (`inf` stays), so that rules are exact.

    Example:
        >>> exactly([[0.5, float("inf")]])
        array([[Fraction(1, 2), inf]], dtype=object)
    """
    array = np.asarray(table)
    out = np.empty(array.shape, dtype=object)
    for flat, value in enumerate(array.flat):
        out.flat[flat] = exact_number(value)
    return out


def exact_number(value: Any) -> Any:
    """A number without rounding: Fraction, `inf`, or another ordered field's own element.

    Raises:
        TypeError: Not a real number.
    """
    if isinstance(value, Fraction):
        return value
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            return float(value)
        return Fraction(*value.as_integer_ratio())  # of a wide float, too, every bit
    if isinstance(value, (int, np.integer)):
        return Fraction(int(value))
    if isinstance(value, Decimal):
        return Fraction(value) if value.is_finite() else float(value)
    if isinstance(value, numbers.Real):
        return value
    raise TypeError(f"{value!r} is not a real number")


def _exact_real(argument: str, value: Any, requirement: str) -> Any:
    """A real number without rounding; booleans and text are none, nor are endless decimals.

    Raises:
        InvalidInput: Something else, or a decimal whose digits would fill the memory.
    """
    real = isinstance(value, numbers.Real | Decimal) and not isinstance(value, bool | np.bool_)
    if not real:
        raise InvalidInput(argument, value, requirement)
    if isinstance(value, Decimal) and value.is_snan():
        raise InvalidInput(argument, value, requirement)
    if isinstance(value, Decimal) and value.is_finite():
        exponents = value.adjusted(), int(value.as_tuple().exponent)
        if value and max(map(abs, exponents)) > DECIMAL_EXPONENTS:
            raise InvalidInput(argument, value, f"within 10 to the power of {DECIMAL_EXPONENTS}")
    return exact_number(value)


def _representable(argument: str, value: Fraction, given: Any = None) -> float:
    """A number as float, refused where that would round it; errors show it as it was given."""
    try:
        rounded = float(value)
    except OverflowError:
        rounded = math.inf
    if not math.isfinite(rounded) or Fraction(rounded) != value:
        requirement = "a float such as 0.01, unless the bids are exact numbers too"
        raise InvalidInput(argument, value if given is None else given, requirement)
    return rounded


def _as_array(argument: str, values: ArrayLike) -> NDArray[Any]:
    """An array of floats or objects; text, complex numbers and booleans are refused."""
    if np.ma.is_masked(values):
        raise InvalidInput(argument, values, "without masked cells; write inf for no bid")
    array = _rectangular(argument, values)
    if array.dtype.kind not in "iufO" or array.dtype.itemsize > 8:
        raise InvalidInput(argument, array.dtype, "real numbers: float64, integers or Fractions")
    return array


def _rectangular(argument: str, values: ArrayLike) -> NDArray[Any]:
    """An array of whatever it holds; rows of unlike length are refused."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InvalidInput(argument, values, "a rectangular table of numbers") from error


def _nonnegative(argument: str, array: NDArray[Any], requirement: str) -> NDArray[Any]:
    """Floats or exact numbers >= 0, or the first cell that is not, by name."""
    if array.dtype == object:
        return _exact_nonnegative(argument, array, requirement)
    if array.dtype.kind in "iu" and np.abs(array).max() > LARGEST_INTEGER:
        flat = int(np.argmax(np.abs(array)))
        value, most = int(array.flat[flat]), "at most 2^53, or use an object array"
        needed = most if value > 0 else requirement
        raise InvalidInput(_cell(argument, flat, array), value, needed)
    table = np.require(array, np.float64, ["C", "A", "W"])  # what compiled kernels take
    if not table.min() >= 0:  # NaN propagates through min and fails the comparison
        flat = int(np.argmax(~(table >= 0)))
        raise InvalidInput(_cell(argument, flat, table), float(table.flat[flat]), requirement)
    return table


def _exact_nonnegative(argument: str, array: NDArray[Any], requirement: str) -> NDArray[Any]:
    """The cells of an object array as exact numbers >= 0."""
    out = np.empty(array.shape, dtype=object)
    for flat, value in enumerate(array.flat):
        if type(value) in PLAIN:
            number = exact_number(value)
        else:
            number = _exact_real(_cell(argument, flat, array), value, NUMBERS)
        if not number >= 0:
            raise InvalidInput(_cell(argument, flat, array), value, requirement)
        out.flat[flat] = number
    return out


def _cell(argument: str, flat: int, array: NDArray[Any]) -> str:
    """Name of one cell: client and task for a table, task for a row."""
    where = np.unravel_index(flat, array.shape)
    words = ("client", "task")[-len(where) :]
    return f"{argument}[{', '.join(f'{w} {int(i)}' for w, i in zip(words, where, strict=True))}]"


def _checked_reserve(reserve: Any, num_tasks: int, exact: bool) -> NDArray[Any]:
    """(S,) outside prices, `inf` where there is no outside seller."""
    if reserve is None:
        return np.full(num_tasks, math.inf, dtype=object if exact else np.float64)
    array = _as_array("reserve", reserve)
    if array.shape not in ((), (num_tasks,)):
        raise InvalidInput(
            "reserve", array.shape, f"one price, or one for each of {num_tasks} tasks"
        )
    prices = np.array(np.broadcast_to(array, (num_tasks,)))
    requirement = "at least 0, or inf for no outside seller"
    return _in_numbers_of("reserve", prices, exact, requirement)


def _in_numbers_of(
    argument: str, array: NDArray[Any], exact: bool, requirement: str
) -> NDArray[Any]:
    """Prices >= 0 as exact numbers for an exact auction and as floats otherwise."""
    if exact or array.dtype == object:
        table = _exact_nonnegative(argument, array.astype(object), requirement)
        return table if exact else _rounded_nowhere(argument, table)
    return _nonnegative(argument, array, requirement)


def _positive(argument: str, array: NDArray[Any]) -> NDArray[Any]:
    """Finite numbers > 0 as integers with the same ratios, or the first cell that is not one."""
    words = ("region",) if argument == "weights" else ("client", "task")[: array.ndim]
    exact = []
    for place, value in zip(np.ndindex(array.shape), array.flat, strict=True):
        where = f"{argument}[{', '.join(f'{w} {i}' for w, i in zip(words, place, strict=True))}]"
        number = _exact_real(where, value, NUMBERS)
        if not 0 < number < math.inf:
            raise InvalidInput(where, value, "finite and > 0")
        exact.append(number)
    factor = math.lcm(*(number.denominator for number in exact))
    out = np.empty(array.shape, dtype=object)
    out.ravel()[:] = [number.numerator * (factor // number.denominator) for number in exact]
    return out


def _rounded_nowhere(argument: str, table: NDArray[Any]) -> NDArray[np.float64]:
    """Exact prices as floats, refused where that would round one."""
    cells = [x if isinstance(x, float) else _representable(argument, x) for x in table.flat]
    return np.array(cells, dtype=np.float64).reshape(table.shape)
