"""Marks in a source: which tests pass a place is then known without a tracer."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from itertools import pairwise

from proofs.seeded_imports import HIT

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def marked(text: str, places: Mapping[int, int]) -> str:
    r"""The source with a call at the statement that each place belongs to.

    A place outside every function, such as a constant or a field, is marked at the beginning of
    every function of the file: whoever uses the file may be touched by it.

    Args:
        text: Source of a module.
        places: Offset into it by the number that the mark reports.

    Example:
        >>> source = "def f(x):\n    y = x + 1\n    return y\n"
        >>> print(marked(source, {7: source.index("return")}))
        def f(x):
            y = x + 1
            __seeded_hit__(7)
            return y
        <BLANKLINE>
    """
    lines = text.splitlines(keepends=True)
    tree = ast.parse(text)
    calls: dict[int, list[str]] = {}
    for number, offset in places.items():
        line = text.count("\n", 0, offset) + 1
        for statement in _statements(tree, line, lines):
            indent = " " * statement.col_offset
            calls.setdefault(_first_line(statement), []).append(f"{indent}{HIT}({number})\n")
    return "".join(
        "".join(calls.get(number, [])) + line for number, line in enumerate(lines, start=1)
    )


def _statements(tree: ast.Module, line: int, lines: list[str]) -> list[ast.stmt]:
    """The statements that stand for a line."""
    chain = _chain(tree, line)
    inside = [k for k, node in enumerate(chain) if isinstance(node, _Function)]
    if not inside:
        everything = [node for node in ast.walk(tree) if isinstance(node, _Function)]
        return [first for first in map(_first_of, everything) if _begins_line(first, lines)]
    function = chain[inside[-1]]
    assert isinstance(function, _Function)
    own = [node for node in chain[inside[-1] + 1 :] if _begins_line(node, lines)]
    return [own[-1] if own and own[-1] is not function.body[0] else _first_of(function)]


def _chain(tree: ast.Module, line: int) -> list[ast.stmt]:
    """The statements around a line, from outside to inside."""
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and _first_line(node) <= line <= (node.end_lineno or 0)
    ]
    chain = sorted(found, key=lambda node: (_first_line(node), -(node.end_lineno or 0)))
    assert all(_first_line(b) >= _first_line(a) for a, b in pairwise(chain))
    return chain


def _first_line(node: ast.stmt) -> int:
    """Where it begins, decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(each.lineno for each in decorators)])


def _first_of(function: _Function) -> ast.stmt:
    """The first statement after the docstring; the docstring where there is nothing else."""
    first, *rest = function.body
    docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return rest[0] if docstring and rest else first


def _begins_line(node: ast.stmt, lines: list[str]) -> bool:
    """Whether a line can be put before it: nothing stands to its left, and it is no `elif`."""
    text = lines[node.lineno - 1]
    return not text[: node.col_offset].strip() and not text.lstrip().startswith("elif ")
