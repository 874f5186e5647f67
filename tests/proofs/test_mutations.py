"""The tool that seeds mistakes: it changes one place, and says caught, missed or stale."""

import shutil

import pytest

from proofs.mutation_list import CLAIMS_OF, MUTATIONS, PACKAGES, Mutation, claims_of
from proofs.mutations import CAUGHT, MISSED, ROOT, STALE, apply, judge
from proofs.registry import all_claims

FILE = "fairopt/cross_attention.py"


@pytest.fixture
def copy(tmp_path):
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    return tmp_path


def test_mistakes_are_many_and_told_apart():
    assert len(MUTATIONS) >= 30
    assert len({(m.file, m.what) for m in MUTATIONS}) == len(MUTATIONS)
    assert all((ROOT / m.file).exists() and m.old != m.new for m in MUTATIONS)


def test_every_file_has_claims():
    names = [claim.name for claim in all_claims()]
    from proofs.__main__ import selected

    for file in {*CLAIMS_OF, *(m.file for m in MUTATIONS)}:
        assert all(selected(pattern) for pattern in claims_of(file)), file
    assert len(selected("*")) == len(names)


def test_a_place_that_is_gone_is_stale(copy):
    before = (copy / FILE).read_text()
    gone = Mutation(FILE, "gone", "no such text", "")
    twice = Mutation(FILE, "everywhere", "gram", "")
    assert not apply(gone, copy)
    assert judge(twice, copy).verdict == STALE
    assert (copy / FILE).read_text() == before


@pytest.mark.slow
def test_a_mistake_is_caught_and_a_synonym_is_not(copy):
    words = Mutation(FILE, "words", "Row-stochastic weights", "Row stochastic weights")
    assert judge(words, copy).verdict == MISSED
    wrong = Mutation(FILE, "no square root", "np.sqrt(d) if", "d if")
    outcome = judge(wrong, copy)
    assert outcome.verdict == CAUGHT
    assert "attention-log-odds" in str(outcome)
