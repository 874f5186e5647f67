"""What the documentation takes from outside its folder: `mkdocs` calls these functions.

The README is the first page, the changelog and two pages for contributors are pages, and a source
file that a page links to is shown on a page of its own. Formulas become MathML, which browsers draw
without any script.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "tests/README.md": "tests.md",
}
"""Pages that stand elsewhere in the repository."""
LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")
CODE = re.compile(r"^( *)(```|~~~).*?^\1\2 *$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
MATHML = re.compile(r"<(math|svg)\b.*?</\1>", re.DOTALL)
SPELLINGS = (
    (re.compile(r"\\[Bb]igg?(?=\\)"), ""),
    (re.compile(r"\\arg(?![a-z])"), r"\\mathrm{arg}\\,"),
    (re.compile(r"\\vert(?![a-z])"), "|"),
)
"""Commands that the converter does not know, and what to write for them."""
BELOW = re.compile(r"\\(max|min)_(\{[^{}]*\}|\w)")
"""What stands below an operator in a displayed formula."""
ELEMENTS = frozenset(
    re.split(
        " ",
        "a abbr autoref b blockquote br button code col colgroup dd del details div dl dt em "
        "figcaption figure h1 h2 h3 h4 h5 h6 hr img input ins kbd label li mark nav ol p pre s "
        "small span strong sub summary sup table tbody td th thead tr u ul",
    )
)
"""What pages are made of."""
PICTURE = re.compile(r'(?<!">)<img\b[^>]*\bsrc="([^"]+)"[^>]*>')
LANGUAGES = {".py": "python", ".toml": "toml", ".v": "coq", ".md": "markdown"}


def links(text: str) -> list[str]:
    """Targets of the relative links of a page, without those in code."""
    return [match[2] for match in LINK.finditer(CODE.sub("", text))]


def place(page: str) -> str:
    """Where a page of the site stands in the repository."""
    here = {site: source for source, site in PAGES.items()}
    return here.get(page, posixpath.join("docs", page))


def page_of(source: str) -> str:
    """The page or file of the site that shows a path of the repository."""
    if source in PAGES:
        return PAGES[source]
    if source.startswith("docs/") and not source.endswith(".py"):
        return source.removeprefix("docs/")
    return f"source/{source.rstrip('/')}.md"


def target(page: str, link: str) -> str:
    """The path in the repository that a link of a page of the site leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(place(page)), link))


def moved_links(page: str, text: str) -> str:
    """The text of a page with its links as the site has them."""

    def moved(match: re.Match[str]) -> str:
        there = page_of(target(page, match[2]))
        relative = posixpath.relpath(there, posixpath.dirname(page) or ".")
        return f"{match[1]}{relative}{match[3] or ''}{match[4]}"

    return outside_code(text, lambda words: LINK.sub(moved, words))


def starred(text: str) -> str:
    r"""The text with the star of k* as a star, which does not begin an emphasis.

    Example:
        >>> starred("k* / 2, and `k*`")
        'k\\* / 2, and `k*`'
    """
    return outside_code(text, lambda words: re.sub(r"\bk\*(?!\*)", r"k\\*", words))


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """A text in which something has been changed, but not in code."""
    pieces, end = [], 0
    for code in CODE.finditer(text):
        pieces += [change(text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*pieces, change(text[end:])])


def linked_sources(pages: dict[str, str]) -> set[str]:
    """Paths of the repository outside the documentation to which pages link."""
    found = {target(page, link) for page, text in pages.items() for link in links(text)}
    return {path for path in found if page_of(path).startswith("source/")}


def source_page(path: str) -> str:
    """A page that shows a file, or names what is in a folder.

    Raises:
        FileNotFoundError: A page links to what does not exist.
    """
    there = ROOT / path
    if there.is_dir():
        names = sorted(x.name + "/" * x.is_dir() for x in there.iterdir() if x.name[0] not in "._")
        return f"# {path}\n\n" + "".join(f"* `{name}`\n" for name in names)
    text = there.read_text(encoding="utf-8")
    language = LANGUAGES.get(there.suffix, "text")
    return f"# {path}\n\n````` {language}\n{text}`````\n"


def with_mathml(content: str) -> str:
    """HTML whose formulas are MathML.

    Raises:
        ValueError: A formula has a command that the converter does not know.
    """
    from latex2mathml.converter import convert

    def drawn(match: re.Match[str]) -> str:
        display = "block" if match[1] == "div" else "inline"
        formula = html.unescape(match[2]).strip()
        for known, plain in SPELLINGS:
            formula = known.sub(plain, formula)
        if display == "block":
            formula = BELOW.sub(r"\\underset{\2}{\\\1}", formula)
        found = str(convert(formula, display=display))
        if re.search(r"\\|<mi>&</mi>", found):
            raise ValueError(f"a formula that is not drawn whole: {match[2]}")
        return found

    return FORMULA.sub(drawn, content)


def check_elements(content: str) -> None:
    """Refuse a page where something between angle brackets has been taken for an element of HTML.

    Raises:
        ValueError: The page has such a thing, which readers would not see.
    """

    class Elements(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ELEMENTS:
                raise ValueError(f"<{tag}> is no element of HTML: write it in code")

    Elements().feed(MATHML.sub("", content))


def opened(content: str) -> str:
    """HTML whose pictures lead to themselves, to be seen in full size.

    Example:
        >>> opened('<p><img alt="a" src="b.png"></p>')
        '<p><a href="b.png"><img alt="a" src="b.png"></a></p>'
    """
    return PICTURE.sub(r'<a href="\1">\g<0></a>', content)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from elsewhere, and those of linked sources."""
    from mkdocs.structure.files import File

    texts = {page: (ROOT / path).read_text(encoding="utf-8") for path, page in PAGES.items()}
    for page, text in texts.items():
        files.append(File.generated(config, page, content=text))
    texts |= {f.src_uri: f.content_string for f in files.documentation_pages()}
    for path in sorted(linked_sources(texts)):
        files.append(File.generated(config, page_of(path), content=source_page(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links out of the documentation lead to pages that show what is there."""
    path = page.file.src_uri
    return markdown if path.startswith("source/") else starred(moved_links(path, markdown))


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Formulas are drawn by the browser; what readers would not see whole is an error."""
    from mkdocs.exceptions import PluginError

    try:
        check_elements(content)
        return opened(with_mathml(content))
    except ValueError as error:
        raise PluginError(f"{page.file.src_uri}: {error}") from None
