"""The tool that seeds mistakes: it changes one place, and says caught, missed or stale."""

import ast
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from proofs import mutations, runtime_mutation_list
from proofs.mutation_list import CLAIMS_OF, FOLDERS, MUTATIONS, PACKAGES, Mutation, claims_of
from proofs.mutations import CAUGHT, MISSED, ROOT, STALE, apply, baseline, run_one
from proofs.registry import all_claims

FILE = "fairopt/cross_attention.py"
EVERYTHING = (*MUTATIONS, *runtime_mutation_list.MUTATIONS)


@pytest.fixture
def copy(tmp_path):
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    return tmp_path


def test_mistakes_are_many_and_told_apart():
    assert len(MUTATIONS) >= 30
    assert len(runtime_mutation_list.MUTATIONS) >= 60
    assert len({(m.file, m.what) for m in EVERYTHING}) == len(EVERYTHING)
    assert len({(m.file, m.old, m.new) for m in EVERYTHING}) == len(EVERYTHING)
    assert all((ROOT / m.file).exists() and m.old != m.new for m in EVERYTHING)


@pytest.mark.parametrize("mutation", EVERYTHING, ids=lambda m: f"{m.file}: {m.what}")
def test_its_place_is_in_the_source(mutation):
    text = (ROOT / mutation.file).read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1
    ast.parse(text.replace(mutation.old, mutation.new))


def test_every_solver_and_every_auction_has_mistakes():
    touched = {m.file for m in MUTATIONS}
    solvers = {
        "client_allocation", "request_allocation", "multiplicative_weights", "cross_attention",
        "fairgrad", "min_norm", "conflict_averse", "dual_cone", "pareto",
    }  # fmt: skip
    auctions = {
        "budget_fair", "max_min_fair", "leave_one_out_level", "level_max_min", "greedy_max_min",
        "participation_fee", "posted_price", "baselines", "quality_share", "quality_level",
        "quality_pruning", "coverage_share", "clock_auction", "online_posted_price",
    }  # fmt: skip
    expected = {f"fairopt/{name}.py" for name in solvers}
    expected |= {f"mechanisms/auctions/{name}.py" for name in auctions}
    assert expected <= touched
    assert any(file.startswith("fairopt/allocation/multipath/") for file in touched)


def test_every_file_has_claims():
    names = [claim.name for claim in all_claims()]
    from proofs.__main__ import selected

    for file in {*CLAIMS_OF, *(m.file for m in MUTATIONS)}:
        assert all(selected(pattern) for pattern in claims_of(file)), file
    assert len(selected("*")) == len(names)


def test_claims_are_listed_for_files_and_folders_that_exist():
    assert all((ROOT / file).is_file() for file in CLAIMS_OF)
    assert all((ROOT / folder).is_dir() for folder in FOLDERS)


def test_a_place_that_is_gone_is_stale(copy):
    before = (copy / FILE).read_text()
    gone = Mutation(FILE, "gone", "no such text", "")
    twice = Mutation(FILE, "everywhere", "gram", "")
    assert not apply(gone, copy)
    assert run_one(twice, copy).result == STALE
    assert (copy / FILE).read_text() == before


@pytest.mark.slow
def test_a_mistake_is_caught_and_a_synonym_is_not(copy):
    words = Mutation(FILE, "words", "Row-stochastic weights", "Row stochastic weights")
    assert run_one(words, copy).result == MISSED
    wrong = Mutation(FILE, "no square root", "np.sqrt(d) if", "d if")
    outcome = run_one(wrong, copy)
    assert outcome.result == CAUGHT
    assert "attention-log-odds" in str(outcome)


def test_claims_that_fail_anyway_catch_nothing(monkeypatch):
    failing = '{"claims": [{"claim": "c", "result": "fails", "control_rejected": true}]}'
    holding = failing.replace("fails", "holds")
    seen = []
    for text in (failing, holding):
        done = subprocess.CompletedProcess([], 0, text, "")
        monkeypatch.setattr(mutations, "_claims", lambda *_, done=done: done)
        seen.append(baseline(MUTATIONS[:1]))
    assert seen == ["c", None]


def test_a_crash_of_the_claims_is_told():
    done = subprocess.CompletedProcess([], 1, "", "Traceback\nSyntaxError: bad")
    assert mutations._reading(done) == (CAUGHT, "the claims do not run: SyntaxError: bad")


@pytest.mark.slow
def test_whoever_kills_it_finds_everything_as_it_was(tmp_path):
    before = (ROOT / FILE).read_bytes()
    command = [sys.executable, "-m", "proofs.mutations", "--only", FILE]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob("fairopt-mutation-*/*")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert not list(tmp_path.glob("fairopt-mutation-*"))
    assert (ROOT / FILE).read_bytes() == before
