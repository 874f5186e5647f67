"""Runs and audits on a real cluster: two processes of Dask on this machine.

They run where the package is installed (`pip install "fairopt[dask]"`), which `make test` does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import fl_runtime
from fl_runtime.running.writer import HISTORY
from mechanisms import level_max_min, max_min_fair
from mechanisms.audits.audit import audit
from tests.fl_runtime import small

distributed = pytest.importorskip("distributed", reason='needs pip install "fairopt[dask]"')
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
COSTS = [[1.0, 5.0], [2.0, 1.0], [4.0, 3.0], [3.0, 2.0]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of two processes."""
    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(n_workers=2, **options) as found:
        yield found.scheduler_address.replace("tcp://", "dask://")


def test_a_run_has_the_bytes_of_one_process(cluster: str, tmp_path: Path) -> None:
    settings = small.config()
    fl_runtime.run(settings, out=tmp_path / "whole")
    fl_runtime.run(settings, out=tmp_path / "run", backend=cluster)
    whole, found = ((tmp_path / name / HISTORY).read_bytes() for name in ("whole", "run"))
    assert found == whole


@pytest.mark.parametrize("rule", [max_min_fair, level_max_min])
@pytest.mark.parametrize("method", ["exact", "search"])
def test_an_audit_has_the_report_of_one_process(cluster: str, rule: object, method: str) -> None:
    alone = audit(rule, COSTS, 15.0, method=method, samples=40)
    assert repr(audit(rule, COSTS, 15.0, method=method, samples=40, backend=cluster)) == repr(alone)


def test_an_audit_goes_on_from_a_journal(cluster: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    alone = audit(level_max_min, COSTS, 15.0)
    for _ in range(2):
        found = audit(level_max_min, COSTS, 15.0, backend=cluster, journal=path)
        assert repr(found) == repr(alone)
