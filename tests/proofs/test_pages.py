"""The pages that are generated say what a run would say now, and their snippets run."""

import re
from pathlib import Path

import pytest

from examples import check_your_own_aggregator
from proofs.aggregators import OURS, mean
from proofs.claim import ClaimResult
from proofs.conformance_page import (
    broken_promises,
    laws_table,
    own_table,
    run,
    versions,
    witnesses,
)
from proofs.pages import claims_page
from proofs.registry import claims_by_topic
from proofs.torchjd_aggregators import torchjd_aggregators

DOCS = Path(__file__).parents[2] / "docs"


def passed(claim):
    """What `tests/proofs/test_claims.py` establishes for every claim."""
    return ClaimResult(claim, False, None, "rejected", 0.0)


def test_the_page_of_claims_is_current():
    topics = {title: list(map(passed, claims)) for title, claims in claims_by_topic().items()}
    hint = "run: python -m proofs --markdown docs/claims.md"
    assert (DOCS / "claims.md").read_text(encoding="utf-8") == claims_page(topics), hint


def test_our_methods_keep_their_promises_and_the_page_says_so():
    reports = run({name: aggregate for name, (aggregate, _) in OURS.items()})
    assert broken_promises(reports) == []
    hint = "run: python -m proofs conformance --markdown docs/conformance.md"
    assert own_table(reports) in (DOCS / "conformance.md").read_text(encoding="utf-8"), hint


def test_the_laws_and_the_rows_of_others_are_current():
    """Those that take a moment; the whole page is one command, which takes a minute."""
    page = (DOCS / "conformance.md").read_text(encoding="utf-8")
    hint = "run: python -m proofs conformance --markdown docs/conformance.md"
    assert laws_table() in page, hint
    assert witnesses("the mean", run({"the mean": mean})["the mean"]) in page, hint
    if versions() not in page:
        pytest.skip("other versions of the packages are installed than those of the page")
    quick = {name: method for name, method in torchjd_aggregators().items() if "PCG" in name}
    for name, report in run(quick).items():
        assert witnesses(name, report) in page, hint


def test_snippets_print_their_comments(capsys):
    text = (DOCS / "proofs.md").read_text(encoding="utf-8")
    source = "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    names = {"__name__": "snippets"}
    exec(compile(source, "proofs.md", "exec"), names)
    names["test_my_aggregator"]()
    names["test_my_auction"]()
    promised = re.findall(r"^print\(.*\)  # (.*)$", source, flags=re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == promised


def test_the_example_runs(capsys):
    check_your_own_aggregator.main()
    out = capsys.readouterr().out
    assert "FAILS non-conflicting" in out
    assert "fairgrad on them: non-conflicting" in out
