"""Every Python block of the pages runs by itself and prints what it promises."""

from __future__ import annotations

import pytest

from tests.docs.snippets import Snippet, pages, snippets

PAGES = {page: snippets(page) for page in pages()}


def unkept(snippet: Snippet) -> list[str]:
    """Promised lines that are not printed, in this order; what follows a colon is a remark."""
    printed = iter(snippet.run())
    return [
        line
        for line in snippet.promised
        if not any(line == got or line.startswith(got + ": ") for got in printed)
    ]


@pytest.mark.parametrize(
    "snippet",
    [each for found in PAGES.values() for each in found if each.excuse is None],
    ids=lambda snippet: snippet.place,
)
def test_every_snippet_runs_alone(snippet: Snippet) -> None:
    assert unkept(snippet) == []


def test_few_are_not_run() -> None:
    assert sum(each.excuse is not None for found in PAGES.values() for each in found) <= 2


def test_a_snippet_that_needs_another_one_is_found() -> None:
    page = "docs/page.md"
    first = Snippet(page, "x = 1\nprint(x)  # 1\n", None)
    assert unkept(first) == []
    with pytest.raises(NameError):
        Snippet(page, "print(x)  # 1\n", None).run()
    assert unkept(Snippet(page, "print(1)\nprint(2)\n# 1\n# 3\n", None)) == ["3"]
