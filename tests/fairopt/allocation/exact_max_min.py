"""Max-min fair rates over several paths in fractions: by definition, with a textbook simplex."""

from fractions import Fraction

import numpy as np


def largest(cost, rows, right):
    """Max cost'x over rows x <= right, x >= 0, and multipliers: two phases, Bland's rule."""
    m, n = len(rows), len(cost)
    table = [
        [Fraction(v) for v in row] + [Fraction(int(k == j)) for j in range(m)] + [Fraction(-1), b]
        for k, (row, b) in enumerate(zip(rows, right, strict=True))
    ]
    basis = list(range(n, n + m))
    lowest = min(range(m), key=lambda k: table[k][-1])
    if table[lowest][-1] < 0:
        _pivot(table, basis, lowest, n + m)
        spare = [Fraction(0)] * (n + m) + [Fraction(-1), Fraction(0)]
        _climb(_reduced(spare, table, basis), table, basis)
        if n + m in basis:
            row = basis.index(n + m)
            assert table[row][-1] == 0, "infeasible"
            _pivot(table, basis, row, next(j for j in range(n + m) if table[row][j] != 0))
    for row in table:
        row[n + m] = Fraction(0)
    objective = [Fraction(v) for v in cost] + [Fraction(0)] * (m + 2)
    objective = _climb(_reduced(objective, table, basis), table, basis)
    return -objective[-1], [-objective[n + k] for k in range(m)]


def _reduced(objective, table, basis):
    for row, j in zip(table, basis, strict=True):
        if objective[j] != 0:
            factor = objective[j]
            objective = [a - factor * b for a, b in zip(objective, row, strict=True)]
    return objective


def _climb(objective, table, basis):
    while True:
        enter = next((j for j in range(len(objective) - 1) if objective[j] > 0), None)
        if enter is None:
            return objective
        ratios = [
            (row[-1] / row[enter], basis[k], k) for k, row in enumerate(table) if row[enter] > 0
        ]
        _pivot(table, basis, min(ratios)[2], enter)
        objective = _reduced(objective, table, basis)


def _pivot(table, basis, row, column):
    divisor = table[row][column]
    table[row] = [a / divisor for a in table[row]]
    for k, other in enumerate(table):
        if k != row and other[column] != 0:
            factor = other[column]
            table[k] = [a - factor * b for a, b in zip(other, table[row], strict=True)]
    basis[row] = column


def max_min_rates(R, owner, capacity, upper, weights):
    """Exact rates: the smallest x / w as large as it can be, then the next, and so on."""
    flows, paths = int(max(owner)) + 1, len(owner)
    exact = [[Fraction(float(v)) for v in row] for row in np.asarray(R)]
    limited = [
        (row, Fraction(float(c))) for row, c in zip(exact, capacity, strict=True) if c < np.inf
    ]
    sums = [[Fraction(int(k == i)) for k in owner] for i in range(flows)]
    limited += [(sums[i], Fraction(float(d))) for i, d in enumerate(upper) if d < np.inf]
    w, rates = [Fraction(float(v)) for v in weights], [None] * flows
    while None in rates:
        rows = [[*row, Fraction(0)] for row, _ in limited]
        right = [limit for _, limit in limited]
        for i, rate in enumerate(rates):
            rows.append([*(-v for v in sums[i]), w[i] if rate is None else Fraction(0)])
            right.append(Fraction(0) if rate is None else -rate)
        cost = [Fraction(0)] * paths + [Fraction(1)]
        level, multipliers = largest(cost, rows, right)
        for i, multiplier in enumerate(multipliers[len(limited) :]):
            if rates[i] is None and multiplier > 0:
                rates[i] = w[i] * level
    return rates
