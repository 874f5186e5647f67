"""The same work for many items: in order, in chunks, by several processes, after a kill."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import socket
import sys
from contextlib import nullcontext
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairopt import InvalidInput, MissingExtra
from mechanisms import max_min_fair, parallel
from mechanisms.audits.audit import audit
from mechanisms.audits.collusion_search import find_limits
from mechanisms.audits.run_rule import run_mechanism
from mechanisms.backends import checked_backend
from mechanisms.journal import HEADER, journal_of
from mechanisms.outcome import Outcome
from mechanisms.parallel import CHUNK, Work, _Pace, for_each
from mechanisms.plain_values import decode, describe, encode
from mechanisms.studies import comparison
from mechanisms.studies.statistics import measure

COSTS = [[1.0, 5.0], [2.0, 1.0], [4.0, 3.0], [3.0, 2.0]]


class Killed(BaseException):
    """Stands for a kill: nothing in the code catches it."""


CALLED: list[int] = []
LIMIT = [math.inf]


def squared(item: int) -> Fraction:
    """Dies where it is told to."""
    if len(CALLED) >= LIMIT[0]:
        raise Killed
    CALLED.append(item)
    return Fraction(item) ** 2


@pytest.fixture(autouse=True)
def _nothing_called() -> None:
    CALLED.clear()
    LIMIT[0] = math.inf


def test_chunks_last_a_second_and_end_in_fair_shares() -> None:
    pace = _Pace(2)
    chunks = pace.chunks(range(1000))
    assert [len(next(chunks)) for _ in range(2)] == [1, 1]
    pace.seen(2, 0.02 * CHUNK)
    sizes = [len(chunk) for chunk in chunks]
    assert set(sizes[:3]) == {100}
    assert sum(sizes) == 998
    assert all(size <= max(100, -(-sum(sizes[k:]) // 2)) for k, size in enumerate(sizes))
    assert sizes[-1] < 100


def test_a_study_that_is_killed_goes_on(tmp_path: Path) -> None:
    work, items = Work(journal=tmp_path / "journal.jsonl"), list(range(10))
    LIMIT[0] = 4
    with pytest.raises(Killed):
        for_each(squared, items, work)
    done = len(CALLED)
    LIMIT[0] = math.inf
    assert for_each(squared, items, work) == [Fraction(item) ** 2 for item in items]
    assert CALLED[done:] == items[1:]  # the first chunk was one item, the second was lost
    before = len(CALLED)
    assert for_each(squared, items, work) == [Fraction(item) ** 2 for item in items]
    assert len(CALLED) == before


def test_several_studies_share_a_journal_and_a_cut_line_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    for items in ([1, 2], [3], [1, 2]):
        assert for_each(squared, items, Work(journal=path)) == [i**2 for i in items]
    assert CALLED == [1, 2, 3]
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    assert for_each(squared, [3], Work(journal=path)) == [9]
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"client,a\nada,1\n", b'{"journal": "x"}\n', b"no line"])
def test_another_file_is_no_journal_and_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bids.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="a journal of earlier studies, or a new file"):
        for_each(squared, [1], Work(journal=path))
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "line",
    [
        {"study": "x", "items": [0]},
        {"study": None, "items": [0], "results": [{"$": "os:system", "of": ["true"]}]},
        {"study": None, "items": [0, 1], "results": [1]},
        {"study": None, "items": [0], "results": [{"$": "mechanisms.parallel:for_each", "of": []}]},
    ],
)
def test_a_damaged_journal_is_refused(tmp_path: Path, line: dict[str, Any]) -> None:
    path = tmp_path / "journal.jsonl"
    with journal_of(path, squared, [1]) as journal:
        line = {**line, "study": line["study"] or journal._study}
    path.write_text(f"{json.dumps(HEADER)}\n{json.dumps(line)}\n")
    with pytest.raises(InvalidInput, match="journal"):
        for_each(squared, [1], Work(journal=path))


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with journal_of(path, squared, [1]), pytest.raises(InvalidInput, match="no other process"):
        for_each(squared, [1], Work(journal=path))
    with pytest.raises(InvalidInput, match="a file that can be written"):
        for_each(squared, [1], Work(journal=tmp_path))


def test_what_cannot_be_recognised_has_no_journal(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"left out: .*lambda.* is no function or record"):
        for_each(lambda item: item, [1], Work(journal=tmp_path / "journal.jsonl"))
    assert not list(tmp_path.iterdir())
    with pytest.raises(InvalidInput, match="left out: set is no function"):
        for_each(set, ["a"], Work(journal=tmp_path / "journal.jsonl"))


@pytest.mark.parametrize(
    "value",
    [
        [1, True, None, "text", 0.1, math.inf],
        (Fraction(1, 3), Decimal("0.10"), np.float64(0.1), np.int64(3), np.bool_(True)),
        {"a": (1,), 2: [()]},
        measure([1.0, 2.0, 4.0]),
    ],
)
def test_values_come_back_as_they_were(value: Any) -> None:
    again = decode(json.loads(json.dumps(encode(value))))
    assert again == value
    assert repr(again) == repr(value)


@pytest.mark.parametrize("kind", [np.float64, object, np.bool_])
def test_arrays_come_back_as_they_were(kind: type) -> None:
    table = np.array([[1, 0], [0, 1]], dtype=kind)
    again = decode(json.loads(json.dumps(encode(table))))
    assert again.dtype == table.dtype
    assert np.array_equal(again, table)


def test_other_sources_and_options_are_other_studies() -> None:
    kinds = [max_min_fair, functools.partial(max_min_fair, unit=1), squared, Fraction]
    assert len({json.dumps(describe(kind)) for kind in kinds}) == 4
    assert describe(functools.partial(max_min_fair, unit=1)) == describe(
        functools.partial(max_min_fair, unit=1)
    )


def test_an_audit_goes_on_to_the_same_report(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    for method in ("exact", "search"):
        plain = audit(max_min_fair, COSTS, 15.0, method=method, samples=40)
        for _ in range(2):
            kept = audit(max_min_fair, COSTS, 15.0, method=method, samples=40, journal=path)
            assert encode(kept) == encode(plain)
    plain_limits = find_limits(max_min_fair, COSTS, 15.0, samples=40)
    for _ in range(2):
        found = find_limits(max_min_fair, COSTS, 15.0, samples=40, journal=path)
        assert found.scope == plain_limits.scope
        for name in ("collusion", "false_name"):
            one, other = getattr(found, name), getattr(plain_limits, name)
            assert (one and one.gain) == (other and other.gain)
            assert one is None or one.replay(max_min_fair) == one.gain


def test_a_study_goes_on_to_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"num_clients": 5, "num_tasks": 2, "draws": 2, "budgets": [0.5]}
    path, plain = tmp_path / "journal.jsonl", comparison.compare_rules(**sizes)
    assert repr(comparison.compare_rules(**sizes, journal=path)) == repr(plain)
    monkeypatch.setattr(comparison, "_draw", None)  # nothing is drawn again
    assert repr(comparison.compare_rules(**sizes, journal=path)) == repr(plain)


class Counting:
    """A mechanism that counts its calls on the honest bids."""

    def __init__(self, honest: Any) -> None:
        self.honest, self.calls = honest, 0

    def __call__(self, bids: Any, budget: Any) -> Outcome:
        self.calls += bool(np.array_equal(bids, self.honest) and budget == 15)
        return max_min_fair(bids, budget)


def test_a_search_runs_the_honest_auction_once_whatever_the_number_of_clients() -> None:
    table = np.array(COSTS)
    counts = []
    for clients in ([0], [0, 1, 2, 3]):
        rule = Counting(table)
        audit(rule, table, 15.0, clients=clients, method="search", samples=2 * len(clients))
        counts.append(rule.calls)
    assert counts[0] == counts[1]


def test_an_exact_audit_runs_the_truthful_auction_in_fractions_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds: list[np.dtype[Any]] = []

    def noted(mechanism: Any, bids: Any, budget: Any) -> Outcome:
        kinds.append(bids.dtype)
        return run_mechanism(mechanism, bids, budget)

    for module in ("audit", "job"):
        monkeypatch.setattr(f"mechanisms.audits.{module}.run_mechanism", noted)
    assert audit(max_min_fair, COSTS, 15.0).truthful
    assert kinds == [np.dtype(float), np.dtype(object)]


@pytest.mark.parametrize("backend", ["fork", "spark", "dask://", "ray://x", "dask://x:1/y", "", 3])
def test_an_unknown_backend_is_refused(backend: Any) -> None:
    with pytest.raises(InvalidInput, match=r"backend = .* dask://HOST:PORT or ray://HOST:PORT"):
        audit(max_min_fair, COSTS, 15.0, backend=backend)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mechanisms.backends.PACKAGES", {"dask": "no_dask", "ray": "no_ray"})
    for kind in ("dask", "ray"):
        with pytest.raises(MissingExtra, match=rf"pip install 'fairopt\[{kind}\]'"):
            checked_backend(f"{kind}://localhost:1")


def test_a_cluster_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mechanisms.backends.extra", lambda *names: nullcontext())
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    for kind in ("dask", "ray"):
        with pytest.raises(InvalidInput, match="a cluster that answers"):
            audit(max_min_fair, COSTS, 15.0, backend=f"{kind}://{address}")
    assert str(checked_backend("dask://[::1]:8786")) == "dask://[::1]:8786"
    assert dataclasses.is_dataclass(checked_backend("loky"))


def test_one_process_needs_no_joblib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "joblib", None)
    assert for_each(abs, [-2, 3]) == [2, 3]
    with pytest.raises(MissingExtra, match="joblib"):
        for_each(abs, [-2, 3], Work(jobs=2))
