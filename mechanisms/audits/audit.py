"""Is an auction truthful? One call that answers for any rule, and says how far it looked."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairopt.errors import InvalidInput
from fairopt.user_objects import said
from mechanisms.auctions.exact.integer_scaling import in_integers
from mechanisms.audits import properties
from mechanisms.audits.best_response import (
    best_response_of,
    known_rule,
    rankings_of,
    stays_within,
)
from mechanisms.audits.capacity import WithinCapacity
from mechanisms.audits.checks import BestReport, Polish, SearchReports, TraceBids, Truthful
from mechanisms.audits.job import AuditJob, checked_clients
from mechanisms.audits.refusals import Refusing, checked_refusals
from mechanisms.audits.report import AuditReport
from mechanisms.audits.run_rule import check_repeats, checked_mechanism, run_mechanism
from mechanisms.audits.time_limit import SECONDS, limited
from mechanisms.audits.violation import (
    CAPACITY,
    CRITICAL,
    LAWS,
    MENU,
    MONOTONE,
    RATIONAL,
    TRUTHFUL,
    WITHIN_BUDGET,
    Violation,
    rounding_error,
)
from mechanisms.bids import (
    checked_bids,
    checked_budget,
    checked_count,
    checked_generator,
    exact_number,
    read_auction,
)
from mechanisms.integers import checked_capacity
from mechanisms.outcome import Mechanism
from mechanisms.parallel import Work, checked_jobs
from mechanisms.reading.headings import NamedBids

Method = Literal["auto", "exact", "search", "smt"]
METHODS = get_args(Method)
SAMPLES = 10_000
"""Misreports that a search tries in all, unless told otherwise."""
AUTO_SIZE = 10_000
"""Clients times bids up to which "auto" traces a mechanism: a few runs for each such pair."""
TRACED = (MONOTONE, CRITICAL, MENU)
"""Laws about a single bid that come with tracing it."""
TRACED_CELLS = 40
"""Bids in an auction up to which they are traced beside a joint audit: about a second."""
REPLAYED = 3
"""Misreports that an audit by structure runs again: in a large auction each takes as long as the
rest."""
POLISHED, LEAST = 2, 200
"""One run for each so many samples goes into polishing the largest gains, and at least so many into
the largest of all."""
NOTHING = Fraction(0)
SEED = 0
"""Of the search, when no generator is given: an audit repeats."""


def audit(
    mechanism: Mechanism,
    bids: ArrayLike | NamedBids,
    budget: Any,
    *,
    clients: int | Iterable[int] | None = None,
    joint: bool | None = None,
    method: Method = "auto",
    samples: int = SAMPLES,
    rng: np.random.Generator | None = None,
    jobs: int | None = None,
    progress: bool = False,
    backend: str | None = None,
    journal: str | Path | None = None,
    refusals: type[Exception] | tuple[type[Exception], ...] = (),
    time_limit: float | None = SECONDS,
    capacity: int | ArrayLike | None = None,
) -> AuditReport:
    """Look for profitable misreports, and for the other failures of an auction.

    Bids are taken as the true costs. Beside truthfulness, the payments on these bids are checked
    (individual rationality, budget), and, where single bids are traced, monotonicity, critical
    payments and independence of the menu.

    Args:
        mechanism: Callable `(bids, budget) -> Outcome`: a rule of this package (with a reserve as
            or a unit as `functools.partial(rule, reserve=..., unit=...)`) or your own.
        bids: (N, S) true costs; `inf` = does not bid, and stays out. Decimals reach the mechanism
            as fractions, and so does a budget. Or what `read_bids` returns: then the report's
            sentences have the names of clients and tasks.
        budget: Money available.
        clients: Who may misreport: an index, several, or everybody.
        joint: Vary all bids of a client together. By default whatever is complete.
        method: "exact" traces every bid, and for `budget_fair`, `max_min_fair`,
            `leave_one_out_level`, `level_max_min` and `capacity_max_min` covers all joint
            misreports by their structure; other mechanisms must add, scale and compare only, and
            get exact numbers.
            Every traced piece is run again on plain numbers, and the bids themselves as they were
            given: a mechanism that decides otherwise there is searched instead ("auto") or refused.
            A client with several asks may also gain by moving them together, which tracing does
            not show for mechanisms of unknown structure: then joint misreports are sampled as well,
            and `truthful` is None where nothing is found (with `joint=False` it is True).
            "search" tries joint misreports in the mechanism's own arithmetic: at thresholds of the
            client's own bids, found by bisection, and random ones near asks and prices; the
            largest gains are polished by bisection, with half as many runs again. "smt"
            proves it for all real bids of this shape, for rules that `mechanisms.audits.smt.prove`
            knows.
            "auto" is exact where that is possible within minutes and a search otherwise.
        samples: Misreports tried by a search, over all clients.
        rng: Source of the search; a fixed seed by default.
        jobs: Processes that share the clients, as joblib's `n_jobs`: -1 is every core. None
            follows a surrounding `joblib.parallel_config`, so a registered backend such as Dask
            or Ray takes over unchanged; without one it is a single process. The report is the
            same for any number. Proofs by "smt" are not divided.
        progress: Show a bar on the error stream.
        backend: Whose processes: `loky` for this machine's, or the address of a cluster,
            `dask://HOST:PORT` or `ray://HOST:PORT`, all of which works where `jobs` is None.
        journal: File that keeps what is found, a second's work at a time: an audit that is killed
            goes on from it to the same report. Any number of audits may share one.
        refusals: Kinds of errors by which the mechanism refuses an auction (a cap on bids, say):
            then nobody is recruited, and the audit goes on.
        time_limit: Seconds for one run of the mechanism; None waits for it. Rules of this package
            are not timed, compiled code ends its call first, and outside the main thread of a
            process there is no limit.
        capacity: Most tasks that a client can do, 1..S; or (N,) one for each client. None: all.
            That no client gets more becomes a law; one that gets more can do none of them and is
            paid nothing, so a rule for clients that do everything is no truthful one for them.

    Raises:
        InvalidInput: Bad input; an exact joint audit of a mechanism of unknown structure, for
            which `joint=False` or `method="search"` is the way; a mechanism that decides
            differently when run again, or whose outcome has payments that are not finite, or
            that go to clients that are not recruited; one that does not return in time.
        Exception: What else the mechanism raises, with a note that names the bids.

    Example:
        >>> from mechanisms import level_max_min, max_min_fair
        >>> costs = [[1, 5], [2, 1], [4, 3]]
        >>> audit(max_min_fair, costs, 15).truthful
        True
        >>> report = audit(level_max_min, costs, 15)
        >>> report.truthful, report.violations[0].gain, report.violations[0].replay(level_max_min)
        (False, Fraction(2, 1), Fraction(2, 1))
    """
    if method not in METHODS:
        raise InvalidInput("method", method, f"one of {', '.join(METHODS)}")
    checked_mechanism(mechanism)
    names = bids if isinstance(bids, NamedBids) else None
    table = checked_bids(bids.bids if isinstance(bids, NamedBids) else bids)
    money = checked_budget(budget, exact=table.dtype == object)
    budget = money if isinstance(budget, Decimal) else budget
    chosen = checked_clients(clients, len(table))
    kinds = checked_refusals(refusals)
    mechanism = Refusing(mechanism, kinds) if kinds else mechanism
    mechanism = limited(mechanism, None if method == "smt" else time_limit)
    limits = None if capacity is None else tuple(checked_capacity(capacity, table.shape))
    if limits is not None and not stays_within(mechanism, limits, table.shape[1]):
        mechanism = WithinCapacity(mechanism, limits)
    work = Work(checked_jobs(jobs), progress, backend, journal)
    job = AuditJob(mechanism, table, budget, chosen, work, limits)
    report = _by_method(job, method, joint, samples, rng)
    return report if names is None else report.named(names)


def _by_method(
    job: AuditJob,
    method: Method,
    joint: bool | None,
    samples: int,
    rng: np.random.Generator | None,
) -> AuditReport:
    """The audit by the method asked for, or by the best that is possible within minutes."""
    if method == "smt":
        return _by_smt(job, joint)
    reason = _why_sampled(job) if method == "auto" else ""
    if method == "search" or reason:
        return _by_search(job, joint, samples, rng, reason)
    try:
        return _exactly(job, joint, samples, rng)
    except InvalidInput as error:
        if method == "exact" or error.argument not in ("mechanism", "time_limit"):
            raise
    reason = "sampled since tracing works for some of its bids only"  # it was traceable at first
    return _by_search(job, joint, samples, rng, reason)


def _exactly(
    job: AuditJob, joint: bool | None, samples: int, rng: np.random.Generator | None
) -> AuditReport:
    """Complete methods."""
    _check_as_given(job)
    known = best_response_of(job.mechanism) is not None
    if joint and not known:
        requirement = (
            'joint=False or method="search": exact joint misreports are known for budget_fair, '
            "max_min_fair, leave_one_out_level, level_max_min and capacity_max_min only"
        )
        raise InvalidInput("joint", joint, requirement)
    if known and joint is not False:
        return _by_structure(job)
    return _by_tracing(job, joint, samples, rng)


def _check_as_given(job: AuditJob) -> None:
    """Refuse a mechanism that decides otherwise on the given numbers than on exact ones.

    Payments may differ by rounding.

    Raises:
        InvalidInput: What is shown for exact numbers would not be about it.
    """
    if job.bids.dtype == object:
        return
    given, exact = run_mechanism(job.mechanism, job.bids, job.budget), job.honest
    slack = rounding_error(job.bids, job.budget)
    pairs = zip(given.payments.flat, exact.payments.flat, strict=True)
    alike = all(abs(exact_number(a) - exact_number(b)) <= slack for a, b in pairs)
    if not (alike and np.array_equal(given.winners, exact.winners)):
        requirement = (
            "one that decides on the given floats as on the same numbers in fractions; "
            'or use method="search"'
        )
        raise InvalidInput("mechanism", job.mechanism, requirement)


def _by_structure(job: AuditJob) -> AuditReport:
    """All joint misreports for a rule whose best response is known.

    Where a client faces a menu that its bids do not enter, and its outcome is its choice from it,
    monotonicity, critical payments and menu independence follow; otherwise they are traced if
    the auction is small.
    """
    auction = read_auction(job.exact_bids, job.exact_budget, **known_rule(job.mechanism)[1])
    outcome = job.honest
    utilities = outcome.utilities(auction.bids)
    small, unit = in_integers(auction)
    check = BestReport(job.mechanism, small, rankings_of(small))
    paid = outcome.payments / unit
    rows = [
        Truthful(i, tuple(outcome.winners[i]), tuple(paid[i]), utilities[i] / unit)
        for i in job.clients
    ]
    answers = dict(zip(job.clients, job.check_each(check, rows), strict=True))
    gaining = [(best.gain, client, best.report) for client, (best, _) in answers.items() if best]
    found = [
        properties.misreport(
            job.exact_bids, job.exact_budget, client, tuple(x * unit for x in report), gain * unit
        )
        for gain, client, report in gaining
    ]
    _replay_largest(job, found)
    by_menu = all(explained for _, explained in answers.values())
    scope = f"every joint misreport of {job.who} at this profile"
    complete: tuple[str, ...] = (TRUTHFUL, *TRACED) if by_menu else (TRUTHFUL,)
    if not by_menu and job.bids.size <= TRACED_CELLS:
        found += [each for each in _traced(job) if each.law != TRUTHFUL]
        complete = _traced_laws(job)
    return _report(job, found, scope, "exact", complete)


def _replay_largest(job: AuditJob, found: Sequence[Violation]) -> None:
    """Run the best misreports on the mechanism: what the rule's structure says must show there."""
    for largest in sorted(found, key=lambda each: each.gain, reverse=True)[:REPLAYED]:
        assert largest.replay(job.mechanism) == largest.gain, "a best response must replay"


def _by_tracing(
    job: AuditJob, joint: bool | None, samples: int, rng: np.random.Generator | None
) -> AuditReport:
    """Every single bid of a mechanism that adds, scales and compares.

    Where a client has several asks, joint misreports are sampled too, unless they are not asked
    about: then nothing found is no proof of truthfulness.
    """
    check_repeats(job.mechanism, job.exact_bids, job.exact_budget)
    found, laws = _traced(job), _traced_laws(job)
    scope = f"every misreport of every single bid of {job.who}"
    if joint is not False and CRITICAL not in laws:
        exactly_given = replace(job, bids=job.exact_bids, budget=job.exact_budget)
        more, tried = _sampled(exactly_given, True, samples, rng)
        found += more
        scope += f", and {tried:,} sampled joint misreports,"
        laws = tuple(law for law in laws if law != TRUTHFUL)
    singles = np.count_nonzero(np.asarray(job.bids[job.clients] < np.inf, dtype=bool), axis=1)
    partly = (TRUTHFUL, *((CRITICAL,) if singles.min() <= 1 else ()))
    return _report(job, found, f"{scope} at this profile", "exact", laws, partly=partly)


def _traced_laws(job: AuditJob) -> tuple[str, ...]:
    """Laws that tracing decides; critical payments are defined for clients with one task."""
    tasks = np.count_nonzero(np.asarray(job.bids[job.clients] < np.inf, dtype=bool), axis=1)
    return (TRUTHFUL, MONOTONE, MENU, CRITICAL) if tasks.max() <= 1 else (TRUTHFUL, MONOTONE, MENU)


def _traced(job: AuditJob) -> list[Violation]:
    """Worst violation of each law by each client's single bids."""
    check = TraceBids(job.mechanism, job.bids, job.budget)
    return [each for found in job.check_each(check, job.clients) for each in found]


def _by_search(
    job: AuditJob,
    joint: bool | None,
    samples: int,
    rng: np.random.Generator | None,
    reason: str = "",
) -> AuditReport:
    """Random misreports in the mechanism's own arithmetic: a lower bound on the gains."""
    check_repeats(job.mechanism, job.bids, job.budget)
    found, tried = _sampled(job, joint is not False, samples, rng)
    kind = "single-bid" if joint is False else "joint"
    scope = f"{tried:,} sampled {kind} misreports of {job.who}, a lower bound"
    scope += f"; {reason}" if reason else ""
    threshold = rounding_error(job.bids, job.budget)
    return _report(job, found, scope, "search", (), tolerance=threshold, partly=(TRUTHFUL,))


def _sampled(
    job: AuditJob, joint: bool, samples: int, rng: np.random.Generator | None
) -> tuple[list[Violation], int]:
    """What random misreports of the clients find, and how many were tried."""
    checked_count("samples", samples, 1)
    generator = np.random.default_rng(SEED) if rng is None else checked_generator(rng)
    each = -(-samples // len(job.clients))
    threshold = rounding_error(job.bids, job.budget)
    seeds = generator.integers(2**63, size=(len(job.bids), 2))
    honest = run_mechanism(job.mechanism, job.bids, job.budget)
    check = SearchReports(
        job.mechanism, job.bids, job.budget, each, joint, threshold, honest, seeds
    )
    answers = job.check_each(check, job.clients)
    found = [each.within(job.bids, job.budget) for each in answers if each is not None]
    found.sort(key=lambda violation: -violation.gain)
    polish, left = Polish(job.mechanism, job.bids, job.budget, honest), samples // POLISHED
    for place, violation in enumerate(found):
        found[place], spent = polish(violation, max(left, LEAST) if place == 0 else left)
        left -= spent
        if left <= 0:
            break
    return found, each * len(job.clients)


def _by_smt(job: AuditJob, joint: bool | None) -> AuditReport:
    """Proof for all real bids of the profile's shape."""
    from mechanisms.audits.smt.prove import prove_truthful

    result = prove_truthful(job.mechanism, job.bids.shape, joint=joint is not False)
    found = [] if result.violation is None else [result.violation]
    kind = "joint misreports" if joint is not False else "misreports of clients with one task"
    scope = f"all real bids and {kind}, n = {job.bids.shape[0]}, S = {job.bids.shape[1]}"
    return _report(job, found, scope, "smt", (TRUTHFUL,) if result.proved else ())


def _report(
    job: AuditJob,
    found: Sequence[Violation],
    scope: str,
    method: str,
    complete: tuple[str, ...],
    tolerance: Fraction = NOTHING,
    partly: tuple[str, ...] = (),
) -> AuditReport:
    """Put everything together with the laws that the truthful outcome shows.

    Args:
        job: What was asked.
        found: Violations.
        scope: What was covered.
        method: How.
        complete: Laws of which no violation is left to be found.
        tolerance: Smaller violations are rounding.
        partly: Laws of which some may be left.
    """
    exact = method != "search"
    bids, budget = (job.exact_bids, job.exact_budget) if exact else (job.bids, job.budget)
    outcome = job.honest if exact else run_mechanism(job.mechanism, bids, budget)
    plain = [
        properties.find_irrational_payment(outcome, bids),
        properties.find_overspend(outcome, budget),
        _overload(job, bids, budget),
    ]
    seen = [each.within(bids, budget) for each in plain if each and each.gain > tolerance]
    ordered = sorted(found, key=lambda each: (LAWS.index(each.law), -each.gain))
    violations = tuple(replace(each, capacity=job.capacity) for each in (*ordered, *seen))
    broken = {each.law for each in violations}
    checked = {*complete, RATIONAL, WITHIN_BUDGET, CAPACITY}
    known = [law for law in LAWS if law != CAPACITY or job.capacity is not None]
    laws = {law: False if law in broken else (True if law in checked else None) for law in known}
    left = tuple(law for law in laws if laws[law] is None and law not in partly)
    return AuditReport(laws[TRUTHFUL], scope, method, MappingProxyType(laws), violations, left)


def _overload(job: AuditJob, bids: NDArray[Any], budget: Any) -> Violation | None:
    """A client that gets more than it can do, from what the mechanism itself decides."""
    if job.capacity is None:
        return None
    mechanism = job.mechanism
    inner = mechanism.mechanism if isinstance(mechanism, WithinCapacity) else mechanism
    return properties.find_overload(run_mechanism(inner, bids, budget), job.capacity)


def _why_sampled(job: AuditJob) -> str:
    """Why a mechanism is not traced, with what to do about it; empty where it is.

    Whether it runs on exact numbers and infinitesimals is tried on its first client.
    """
    if best_response_of(job.mechanism) is not None:
        return ""
    size = len(job.clients) * job.bids.size
    if size > AUTO_SIZE:
        product = f"{len(job.clients):,} clients times {job.bids.size:,} bids"
        way = 'method="exact" (--method exact) traces every single bid'
        return f"sampled since {product} are more than {AUTO_SIZE:,}, {way}"
    profile = properties.Profile(job.mechanism, job.bids, job.budget, job.clients[0])
    try:
        deque(islice(profile.trace(0), 2), maxlen=0)  # a point and just above it
    except (TypeError, ValueError, AttributeError, ArithmeticError, LookupError) as error:
        cause = "" if isinstance(error, InvalidInput) else f" ({said(error)})"
        return f"sampled since the rule does more than add, scale and compare{cause}"
    return ""
