"""How the reference reads docstrings: `Example:` holds a doctest, and mathematics are formulas."""

from __future__ import annotations

import re
from textwrap import indent
from typing import Any

import griffe

HEADING = re.compile(r"^( *)Example:$", re.MULTILINE)
INLINE = re.compile(r":math:`([^`]+)`")
BARE = re.compile(r"^>>> (?:.+\n?)+", re.MULTILINE)
CODE = r"(`[^`\n]+`|^ *(?:>>>|\.\.\.) .*$)"
BRACKETS = re.compile(rf"{CODE}|<(?=[\w^]+,? )", re.MULTILINE)
STARRED = re.compile(rf"{CODE}|(?<=\w)\*(?=[ ,.;:)]|$)", re.MULTILINE)
QUOTE = re.compile(r"(?<=: )>(?==)")
DISPLAY = re.compile(r"^( *)\.\. math:: *(.*(?:\n(?:\1 +\S.*| *$))*)", re.MULTILINE)


def readable(text: str) -> str:
    r"""A docstring with the headings and formulas that Markdown knows.

    Example:
        >>> readable("Let :math:`x > 0`.\n\nExample:\n    >>> 1")
        'Let $x > 0$.\n\nExamples:\n    >>> 1'
        >>> readable("of k*, <g, d> and `<g, d>`")
        'of k\\*, &lt;g, d> and `<g, d>`'
    """
    for known, written in ((BRACKETS, "&lt;"), (STARRED, "\\*")):
        text = known.sub(lambda m, written=written: m[1] or written, text)
    text = QUOTE.sub(r"\>", BARE.sub(lambda m: indent(m[0], "    "), text))
    text = HEADING.sub(r"\1Examples:", INLINE.sub(r"$\1$", text))
    return DISPLAY.sub(lambda m: f"{m[1]}$$\n{m[1]}{m[2].strip()}\n{m[1]}$$\n\n", text)


class Readable(griffe.Extension):
    """Google's style has the plural for examples, and Sphinx writes formulas otherwise."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Read the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = readable(obj.docstring.value)

    def on_module(self, *, mod: griffe.Module, **_: Any) -> None:
        """A package is the member of nothing."""
        self.on_object(obj=mod)
