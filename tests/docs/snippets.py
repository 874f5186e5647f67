"""The Python blocks of the pages, each run by itself."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^(<!-- not run: (.+?) -->\n)?```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
AFTER_PRINT = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
BELOW = re.compile(r"^# (.*)\n?", re.MULTILINE)


@dataclass(frozen=True)
class Snippet:
    """One block: where it stands, its source, and why it is not run if it is not."""

    place: str
    source: str
    excuse: str | None

    @property
    def promised(self) -> list[str]:
        """Lines of output that the block promises: behind a print, or as comments at its end."""
        last = re.search(r"(?:^# .*\n)+\Z", self.source, re.MULTILINE)
        return AFTER_PRINT.findall(self.source) + (BELOW.findall(last[0]) if last else [])

    def run(self) -> list[str]:
        """Run it in a namespace of its own, and return the lines that it prints."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(self.source, self.place, "exec"), {"__name__": "__main__"})
        return printed.getvalue().splitlines()


def snippets(page: Path) -> list[Snippet]:
    """The Python blocks of a page."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    return [
        Snippet(f"{name}:{text.count(chr(10), 0, found.start(3))}", found[3], found[2])
        for found in BLOCK.finditer(text)
    ]


def pages() -> list[Path]:
    """The pages that people read."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
