"""The navigation lists every page, and every link of a page leads somewhere.

`make docs` builds the site with warnings as errors; this is what can be said without its tools.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import reference_pages
from docs.site_pages import (
    CODE,
    PAGES,
    ROOT,
    check_elements,
    links,
    moved_links,
    opened,
    page_of,
    place,
    starred,
    target,
)

NAVIGATION = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
WRITTEN = sorted(path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md"))
TEXTS = {
    page: (ROOT / place(page)).read_text(encoding="utf-8") for page in [*WRITTEN, *PAGES.values()]
}
FORMULAS = re.compile(r"\$[^$\n]+\$|^\$\$.*?^\$\$", re.MULTILINE | re.DOTALL)
ANCHORED = re.compile(r"\]\(([^)\s:]*)#([^)\s]+)\)")


def slugs(text: str) -> set[str]:
    """Anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub(lambda m: m[0] * ("\n" not in m[0]), text), re.M)
    words = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"[-\s]+", "-", each) for each in words}


def test_the_navigation_lists_every_page_once() -> None:
    listed = re.findall(r"([\w/-]+\.md)$", NAVIGATION, re.MULTILINE)
    assert sorted(listed) == sorted([*TEXTS, *reference_pages.PACKAGES])


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page: str) -> None:
    generated = reference_pages.PACKAGES
    for link in links(TEXTS[page]):
        path = target(page, link)
        assert (ROOT / path).exists() or page_of(path) in generated, f"{place(page)}: {link}"


@pytest.mark.parametrize("page", TEXTS)
def test_anchors_are_headings(page: str) -> None:
    for link, anchor in ANCHORED.findall(CODE.sub("", TEXTS[page])):
        there = page_of(target(page, link)) if link else page
        assert anchor in slugs(TEXTS[there]), f"{place(page)}: {link}#{anchor}"


def test_links_are_moved_to_where_pages_stand_on_the_site() -> None:
    assert moved_links("index.md", "[a](docs/how-to/index.md#x)") == "[a](how-to/index.md#x)"
    assert moved_links("how-to/index.md", "[a](../../examples/toy.py)") == (
        "[a](../source/examples/toy.py.md)"
    )
    assert moved_links("solvers.md", "`[a](../b.py)`") == "`[a](../b.py)`"
    assert moved_links("solvers.md", "[a](https://b.c/d)") == "[a](https://b.c/d)"


def test_what_readers_would_not_see_is_refused() -> None:
    check_elements('<p>a <code>&lt;g, d&gt;</code> <b>b</b> <img src="c.png"></p>')
    with pytest.raises(ValueError, match="<g_k,> is no element"):
        check_elements("<p>maximise min_k <g_k, d> over d</p>")
    assert starred("k* / 2 is k*, `k*` and **bold**") == r"k\* / 2 is k\*, `k*` and **bold**"
    assert opened('<img src="a.png" alt="a">') == '<a href="a.png"><img src="a.png" alt="a"></a>'
    assert opened('<a href="b"><img src="a.png"></a>') == '<a href="b"><img src="a.png"></a>'


@pytest.mark.parametrize("page", TEXTS)
def test_no_page_has_angle_brackets_that_vanish(page: str) -> None:
    left = re.findall(r"<(?!br>)[a-zA-Z/][^>\n]*>", CODE.sub("", FORMULAS.sub("", TEXTS[page])))
    assert left == [], page


@pytest.mark.parametrize("module", [m for some in reference_pages.PACKAGES.values() for m in some])
def test_the_reference_has_every_public_name_once(module: str) -> None:
    if (Path(ROOT) / module.replace(".", "/")).is_dir():
        text = reference_pages.section(module, top=True)
        names = reference_pages.exported(module)
        assert [text.count(f"::: {name}\n") for name in names] == [1] * len(names)
