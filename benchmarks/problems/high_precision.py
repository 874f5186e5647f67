"""Rates with 50 digits: Newton's method in mpmath on the links that given prices call full."""

from __future__ import annotations

import mpmath
import numpy as np

DIGITS = 50  # of single-path rates
NEWTON_STEPS = 8  # from 13 digits to 50, with reserve
PATH_DIGITS = 400  # prices over several paths differ by a hundred decades
GAP = 1e-16  # of the price of the cheapest flow


def exact_rates(R, c, alpha, priority, prices):
    """Rates at which the full links are exactly full, from prices near the optimum."""
    full = np.flatnonzero(prices > 0.0)
    columns = [np.flatnonzero(R[full, i]) for i in range(R.shape[1])]
    with mpmath.workdps(DIGITS):
        w = [mpmath.mpf(float(p)) for p in priority]
        lam = [mpmath.mpf(float(prices[l])) for l in full]
        limit = [mpmath.mpf(float(c[l])) for l in full]
        A = [[mpmath.mpf(float(R[full[l], i])) for l in column] for i, column in enumerate(columns)]
        a = mpmath.mpf(float(alpha))
        for _ in range(NEWTON_STEPS):
            x, load, H = _response(A, columns, w, lam, a)
            delta = _solve(H, [u - v for u, v in zip(load, limit, strict=True)])
            lam = [old + delta[k] for k, old in enumerate(lam)]
        x, load, _ = _response(A, columns, w, lam, a)
        worst = max(abs(u / v - 1) for u, v in zip(load, limit, strict=True))
        assert worst < mpmath.mpf(10) ** (-DIGITS // 2)
        return x


def _response(A, columns, w, lam, a):
    m = len(lam)
    load, H, x = [mpmath.mpf(0)] * m, mpmath.zeros(m, m), []
    for entries, column, p in zip(A, columns, w, strict=True):
        q = sum((e * lam[l] for e, l in zip(entries, column, strict=True)), mpmath.mpf(0))
        rate = (p / q) ** (1 / a)
        x.append(rate)
        for e, l in zip(entries, column, strict=True):
            load[l] += e * rate
            for f, k in zip(entries, column, strict=True):
                H[l, k] += e * f * rate / (a * q)
    return x, load, H


def _solve(H, right):
    """Scaled to a unit diagonal: prices of one problem differ by many decades."""
    m = len(right)
    unit = [1 / mpmath.sqrt(H[k, k]) for k in range(m)]
    scaled = mpmath.matrix([[unit[k] * H[k, l] * unit[l] for l in range(m)] for k in range(m)])
    found = mpmath.lu_solve(
        scaled, mpmath.matrix([u * r for u, r in zip(unit, right, strict=True)])
    )
    return [u * f for u, f in zip(unit, found, strict=True)]


def path_rates(R, owner, c, alpha, priority=None):
    """Flow rates over several paths: a logarithmic barrier lowered decade by decade.

    Minimises -sum of utilities - tau (sum of log z + sum of log slack) until tau is GAP of what
    the cheapest flow pays. Slow: a reference implementation.
    """
    R, owner = np.asarray(R), np.asarray(owner)
    flows = int(owner.max()) + 1
    with mpmath.workdps(PATH_DIGITS):
        A = [[mpmath.mpf(float(entry)) for entry in row] for row in R]
        limit = [mpmath.mpf(float(v)) for v in c]
        z = [min(limit[l] / A[l][p] for l in range(len(A)) if A[l][p]) for p in range(len(owner))]
        z = [rate / (2 * len(owner)) for rate in z]
        a, tau = mpmath.mpf(float(alpha)), None
        w = [mpmath.mpf(1 if priority is None else float(priority[i])) for i in range(flows)]
        while True:
            x = _flow_rates(owner, z)
            pays = [p * rate ** (1 - a) for p, rate in zip(w, x, strict=True)]
            if tau is not None and tau <= GAP * min(pays):
                z = _centred(A, owner, limit, w, a, tau, z, GAP)
                return np.array([float(rate) for rate in _flow_rates(owner, z)])
            tau = max(pays) if tau is None else tau / 10
            z = _centred(A, owner, limit, w, a, tau, z, 1e-3)


def _flow_rates(owner, z):
    return [mpmath.fsum(z[p] for p in np.flatnonzero(owner == i)) for i in range(max(owner) + 1)]


def _centred(A, owner, limit, w, a, tau, z, small):
    """Newton's method with steps that keep rates positive and prices within a factor of e."""
    paths, links = range(len(owner)), range(len(A))
    while True:
        x = _flow_rates(owner, z)
        slack = [limit[l] - mpmath.fsum(A[l][p] * z[p] for p in paths) for l in links]
        g = [w[owner[p]] * x[owner[p]] ** -a + tau / z[p] for p in paths]
        g = [g[p] - tau * mpmath.fsum(A[l][p] / slack[l] for l in links) for p in paths]
        H = mpmath.zeros(len(owner), len(owner))
        for p in paths:
            for q in paths:
                H[p, q] = tau * mpmath.fsum(A[l][p] * A[l][q] / slack[l] ** 2 for l in links)
                if owner[p] == owner[q]:
                    H[p, q] += w[owner[p]] * a * x[owner[p]] ** (-a - 1)
            H[p, p] += tau / z[p] ** 2
        d = _solve(H, g)
        dx = _flow_rates(owner, d)
        filled = [mpmath.fsum(A[l][p] * d[p] for p in paths) / slack[l] for l in links]
        fastest = max(
            *(-2 * d[p] / z[p] for p in paths),
            *(2 * part for part in filled),
            *(a * abs(dx[i]) / x[i] for i in range(len(x))),
            1,
        )
        z = [z[p] + d[p] / fastest for p in paths]
        if max(abs(d[p]) / z[p] for p in paths) < small:
            return z


KKT_DIGITS = 60
PROXIMAL = mpmath.mpf(10) ** -12  # splits and prices need not be unique: the nearest are taken
KKT_STEPS = 30
SIGNS = mpmath.mpf(10) ** -40  # relative: conditions that hold up to it hold


def exact_path_rates(R, owner, c, alpha, path_rates, prices, priority=None, digits=KKT_DIGITS):
    """Flow rates over several paths with so many digits, or None.

    Newton's method on the paths that carry something and the links that have a price. Whether that
    guess was right does not matter: the solution is returned only if it meets all conditions of
    optimality, which are sufficient.
    """
    R, owner = np.asarray(R), np.asarray(owner)
    flows = int(owner.max()) + 1
    x = np.bincount(owner, path_rates)
    used = np.flatnonzero((path_rates > 1e-11 * x[owner]) & (path_rates > 0.0))
    full = np.flatnonzero((prices > 0.0) & np.isfinite(prices))
    with mpmath.workdps(digits):
        problem = _Exact(R, owner, c, alpha, np.ones(flows) if priority is None else priority)
        z = {p: mpmath.mpf(float(path_rates[p])) for p in used}
        lam = {l: mpmath.mpf(float(prices[l])) for l in full}
        for _ in range(KKT_STEPS):
            change = problem.newton(z, lam)
            if change is None:
                return None
            for known, parts in ((z, change[0]), (lam, change[1])):
                for k in known:
                    known[k] += parts[k]
            if problem.violation(z, lam) < SIGNS:
                return problem.rates(z)
        return None


class _Exact:
    """A problem in mpmath numbers, with its conditions of optimality."""

    def __init__(self, R, owner, c, alpha, priority):
        self.columns = [
            [(int(l), mpmath.mpf(float(R[l, p]))) for l in np.flatnonzero(R[:, p])]
            for p in range(R.shape[1])
        ]
        self.owner, self.links = owner, R.shape[0]
        self.limit = [mpmath.mpf(float(v)) for v in c]
        self.a = mpmath.mpf(float(alpha))
        self.weight = [mpmath.mpf(float(p)) for p in priority]

    def rates(self, z):
        """Sums over paths; zero for flows that carry nothing."""
        x = [mpmath.mpf(0)] * len(self.weight)
        for p, rate in z.items():
            x[self.owner[p]] += rate
        return x

    def _prices(self, x):
        pairs = zip(self.weight, x, strict=True)
        return [w * rate**-self.a if rate > 0 else None for w, rate in pairs]

    def _cost(self, p, lam):
        return mpmath.fsum(entry * lam[l] for l, entry in self.columns[p] if l in lam)

    def _loads(self, z):
        load = [mpmath.mpf(0)] * self.links
        for p, rate in z.items():
            for l, entry in self.columns[p]:
                load[l] += entry * rate
        return load

    def newton(self, z, lam):
        """Changes of path rates and prices; None where a rate is not positive."""
        paths, links = list(z), list(lam)
        x = self.rates(z)
        if not paths or any(x[self.owner[p]] <= 0 for p in paths):
            return None
        q, load = self._prices(x), self._loads(z)
        n, size = len(paths), len(paths) + len(links)
        H, right = mpmath.zeros(size, size), mpmath.zeros(size, 1)
        place = {l: n + k for k, l in enumerate(links)}
        for k, p in enumerate(paths):
            i = self.owner[p]
            stiff = q[i] / x[i]
            for other, r in enumerate(paths):
                if self.owner[r] == i:
                    H[k, other] = self.a * stiff
            H[k, k] += PROXIMAL * stiff
            for l, entry in self.columns[p]:
                if l in place:
                    H[k, place[l]], H[place[l], k] = entry, entry
            right[k] = q[i] - self._cost(p, lam)
        for l in links:
            pays = lam[l] / self.limit[l]
            H[place[l], place[l]] = -PROXIMAL / pays
            right[place[l]] = self.limit[l] - load[l]
        try:
            found = mpmath.lu_solve(H, right)
        except ZeroDivisionError:
            return None
        return dict(zip(paths, found[:n], strict=True)), dict(zip(links, found[n:], strict=True))

    def violation(self, z, lam):
        """The largest relative violation of any condition."""
        x = self.rates(z)
        q, load = self._prices(x), self._loads(z)
        off = [-rate / x[self.owner[p]] for p, rate in z.items()]
        off += [-price * self.limit[l] for l, price in lam.items()]
        for l, limit in enumerate(self.limit):
            if limit == 0 or limit == mpmath.inf:
                continue
            over = load[l] / limit - 1
            off.append(abs(over) if lam.get(l, 0) != 0 else over)
        for p, column in enumerate(self.columns):
            price = q[self.owner[p]]
            closed = any(self.limit[l] == 0 for l, _ in column)
            if price is None or closed:
                continue
            extra = self._cost(p, lam) / price - 1
            off.append(abs(extra) if p in z else -extra)
        return max(off)
