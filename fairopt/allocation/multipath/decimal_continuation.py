"""From an alpha that float64 solves to a large one, by doubling, in decimals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fairopt.allocation.multipath.decimal_certificate import decimal_rate_errors
from fairopt.allocation.multipath.decimal_form import DecimalForm, decimals
from fairopt.allocation.multipath.decimal_polish import (
    at_twice_alpha,
    decades,
    digits_for,
    exact_point,
    guessed,
)
from fairopt.allocation.multipath.problem import PathProblem
from fairopt.arrays import Array, Ints

EASY = 5.0  # alpha from which float64 knows most sides
STARTS = 3  # from that alpha, half and a quarter of it
FEWEST_STEPS = 10  # at one alpha: with fewer it is not tried
MOST_DECADES = 600  # of prices: float64 could not return more


class LongAnswer(NamedTuple):
    """Path rates, link prices, certified errors of flow rates, and the steps."""

    z: Array
    prices: Array
    error: Array
    steps: int


class Part(NamedTuple):
    """What of a stated problem is solved: paths, links, and their (renumbered) flows."""

    paths: Ints
    links: Ints
    flows: Ints
    owner: Ints


def solve_in_decimals(
    problem: PathProblem,
    part: Part,
    solve_roughly: Callable[[PathProblem], tuple[Array, Array]],
    most_work: float,
) -> LongAnswer | None:
    """The optimum of a part of a problem; None where it takes too much work or is not found.

    Args:
        problem: Finite alpha > 0.
        part: All paths that are not closed, and all links with a finite capacity that they use.
        solve_roughly: Path rates and link prices of all of a problem, by float64.
        most_work: Steps, each times the third power of the number of priced links; 1e7 are some
            seconds at 40 decades.
    """
    doublings = max(0, int(np.ceil(np.log2(problem.by_path.alpha / EASY))))
    for k in range(doublings, doublings + STARTS):
        try:
            found = _by_doubling(problem, part, solve_roughly, k, most_work)
        except ArithmeticError:  # a start with a rate or a price of zero
            continue
        if found is not None:
            return found
    return None


def _by_doubling(
    problem: PathProblem,
    part: Part,
    solve_roughly: Callable[[PathProblem], tuple[Array, Array]],
    doublings: int,
    most_work: float,
) -> LongAnswer | None:
    """The same from an alpha that is doubled so often."""
    z, prices = solve_roughly(_at_share(problem, 0.5**doublings))
    rows = problem.by_path.by_flow[part.paths][:, part.links]
    form = _form(problem, part, rows, 0.5**doublings)
    point, steps = guessed(form, z[part.paths], prices[part.links]), 0
    for k in range(doublings, -1, -1):
        form = _form(problem, part, rows, 0.5**k)
        of_step = 1.0 + float(point.sides.priced.sum()) ** 3
        if decades(form, point.z) > MOST_DECADES or most_work < FEWEST_STEPS * of_step:
            return None
        start = point if k == doublings else at_twice_alpha(form, point)
        found, used = exact_point(form, start, most_work / of_step)
        if found is None:
            return None
        point, steps, most_work = found, steps + used, most_work - used * of_step
    digits = digits_for(decades(form, point.z))
    error = decimal_rate_errors(form, point.z, point.prices, digits)
    return LongAnswer(point.z.astype(float), point.prices.astype(float), error, steps)


def _at_share(problem: PathProblem, share: float) -> PathProblem:
    """The problem at a share of its alpha, whose prices are nearly powers of the prices there."""
    by_path = replace(problem.by_path, alpha=share * problem.by_path.alpha)
    return PathProblem(by_path, problem.owner, problem.priority**share)


def _form(problem: PathProblem, part: Part, rows: Any, share: float) -> DecimalForm:
    """The same for a part, in decimals."""
    priority = decimals(problem.priority[part.flows] ** share)
    capacity = problem.by_path.capacity[part.links]
    return DecimalForm(rows, part.owner, capacity, priority, share * problem.by_path.alpha)
