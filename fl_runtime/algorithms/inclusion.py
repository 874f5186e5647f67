r"""By what chance a client's answer counts: what importance weights divide by.

Everything here is given who could be asked when a round's jobs were sent: clients that are there
and idle. Chances of clients that a server cannot ask are zero, and no client's chance depends on
what it will be later.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.stats import binom, hypergeom

from fl_runtime.training.federation import Federation


@lru_cache(maxsize=4096)
def counted_chance(first: int, asked: int, able: int, population: int, answers: float) -> float:
    r"""Chance that the answer of a client that was asked is one of the first so many.

    Problem: of `population` clients, `able` of which can answer at all, `asked` are drawn, all
    equally likely, and each able one answers with chance `answers`. Answers come in an order of
    which all permutations are equally likely. Given that a client was drawn, is able and answers,

    .. math:: E \min(1, first / (1 + X)),

    where X, the number of others that answer, is binomial over a hypergeometric number.

    Args:
        first: Answers that count, >= 1.
        asked: Clients that are asked, >= 1.
        able: Clients that can answer, >= 1, the one in question among them.
        population: Clients that could be asked.
        answers: In (0, 1].

    Example:
        >>> counted_chance(2, 4, 10, 10, 1.0), counted_chance(4, 4, 10, 10, 0.5)
        (0.5, 1.0)
    """
    if first >= min(asked, able):
        return 1.0
    others = np.arange(asked)
    law = hypergeom.pmf(others, population - 1, able - 1, asked - 1)
    if answers < 1.0:
        law = np.array([law @ binom.pmf(x, others, answers) for x in others])
    return float(law @ np.minimum(1.0, first / (1.0 + others)))


def why_unknown(federation: Federation, *, takes_first: bool, jobs_per_client: int | None) -> str:
    """Why nobody can say how likely an answer counts; empty where the chance is known.

    Args:
        federation: Clients and what is known about their delays.
        takes_first: Whether only the first answers count, of all clients.
        jobs_per_client: Jobs that an active client gets, None for as many as it has tasks.

    Where all answers count, delays do not matter. Where the first ones do, the chance is that of a
    draw if all clients answer after times of one law.
    """
    if not takes_first:
        return ""
    if jobs_per_client is None:
        return "clients with several jobs answer the sooner the fewer of them they have"
    if not federation.equal_speeds:
        return "the first answers are those of fast clients"
    return "" if federation.equal_tasks else "the first answers are those of quick tasks"
