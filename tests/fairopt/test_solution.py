"""The record every solver returns."""

import ast
import pickle
from pathlib import Path

import numpy as np
import pytest

from fairopt import (
    NotSolved,
    Solution,
    Status,
    conflict_averse,
    dual_cone_projection,
    fairgrad,
    min_norm,
    upgrad,
)
from tests import laws
from tests.fairopt import problems

OPPOSITE = np.array([[1.0, -1.0], [-1.0, 1.0]])


def test_pickles_and_compares():
    for solution in (fairgrad(np.eye(2), 2.0), fairgrad(OPPOSITE, 2.0)):
        assert pickle.loads(pickle.dumps(solution)) == solution
        assert solution != "something else"
    assert fairgrad(np.eye(2), 2.0) != fairgrad(np.eye(2), 3.0 * 1.1)
    batch = fairgrad(np.array([np.eye(2), OPPOSITE]), 1.0)
    assert pickle.loads(pickle.dumps(batch)) == batch
    with pytest.raises(TypeError):
        hash(batch)


@pytest.mark.parametrize(
    "solve",
    [
        lambda A: min_norm(A),
        lambda A: conflict_averse(A, 0.4),
        lambda A: dual_cone_projection(A, np.ones(2)),
        lambda A: upgrad(A),
    ],
)
def test_every_solver_returns_the_record(solve):
    for A in (np.eye(2), OPPOSITE, np.array([np.eye(2), OPPOSITE])):
        solution = solve(A)
        assert pickle.loads(pickle.dumps(solution)) == solution == solve(A)
        assert len(str(solution).splitlines()) <= 24
        assert isinstance(solution.status, Status if A.ndim == 2 else np.ndarray)


def test_is_frozen():
    with pytest.raises(AttributeError):
        fairgrad(np.eye(2), 2.0).residual = 0.0


def test_require_returns_itself_or_says_what_to_do():
    solution = fairgrad(np.eye(2), 2.0)
    assert solution.require() is solution
    with pytest.raises(NotSolved, match=r"stationary.*change the tasks"):
        fairgrad(OPPOSITE, 2.0).require()
    with pytest.raises(NotSolved) as nothing:  # where there is no answer, there is no residual
        fairgrad(OPPOSITE, 2.0).require()
    assert "residual" not in str(nothing.value)
    batch = fairgrad(np.array([[np.eye(2), np.eye(2)], [np.eye(2), OPPOSITE]]), 2.0)
    assert not batch.ok
    with pytest.raises(NotSolved, match=r"problem \(1, 1\): Pareto stationary"):
        batch.require()


def test_every_status_has_a_sentence_and_advice():
    for status in Status:
        assert status.sentence
        assert "\n" not in status.sentence
        assert status.advice
    names = "OPTIMAL PARETO_STATIONARY UNDECIDED STEP_LIMIT INFEASIBLE UNBOUNDED OUT_OF_RANGE"
    assert [s.name for s in Status] == [*names.split(), "ROUNDING_LIMITED", "NOT_FINITE"]
    assert [int(s) for s in Status] == list(range(9))


def test_prints_on_one_screen():
    batch = fairgrad(np.broadcast_to(np.eye(50), (300, 50, 50)), 2.0)
    for solution in (fairgrad(OPPOSITE, 1.0), batch):
        lines = str(solution).splitlines()
        assert len(lines) <= 24
        assert max(map(len, lines)) <= 120


def test_rounding_limited_names_the_task_and_the_floor():
    rng = np.random.default_rng(0)
    A = laws.gram(problems.near_stationary(3, rng, 1e-4))
    solution = fairgrad(A, 2.0)
    assert solution.status == Status.ROUNDING_LIMITED
    assert solution.ok
    assert f"met by task {solution.worst}" in str(solution)
    assert f"{solution.floor:.1e}" in solution.sentence


def test_half_ulps_are_said_in_words():
    solution = fairgrad([[5.0, -7.0], [-7.0, 17.0]], 1e-3, priority=[1.0, 1e-3])
    assert solution.status == Status.ROUNDING_LIMITED
    assert solution.sentence.endswith(
        "floor of half ulps of the weights, met by task 1; the weights are proven to 1e-6"
    )


BATCHES = {
    "fairgrad": lambda A: fairgrad(A, 2.0),
    "fairgrad at 0": lambda A: fairgrad(A, 0.0),
    "fairgrad at inf": lambda A: fairgrad(A, np.inf),
    "conflict_averse": lambda A: conflict_averse(A, 0.4),
    "min_norm": min_norm,
    "dual_cone_projection": lambda A: dual_cone_projection(A, np.ones(A.shape[:-1])),
    "upgrad": upgrad,
}
NUMBERS = ("residual", "iterations", "floor", "worst", "gram_error", "direction_error")


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,)])
@pytest.mark.parametrize("solve", BATCHES)
def test_every_number_of_a_batch_has_its_shape(solve, shape):
    solution = BATCHES[solve](np.broadcast_to(np.eye(2), (*shape, 2, 2)))
    assert np.shape(solution.status) == shape
    for name in NUMBERS:
        assert np.shape(getattr(solution, name)) == shape, name
    if shape and 0 not in shape:
        assert Solution(solution.weights, solution.status, 0.0, 0).direction_error.shape == shape


def test_empty_batch_is_fine():
    empty = fairgrad(np.zeros((0, 2, 2)), 1.0)
    assert empty.ok
    assert "empty" in str(empty)
    assert isinstance(empty, Solution)


ROOT = Path(__file__).parents[2]
PRODUCT = ("fairopt", "mechanisms", "proofs", "fl_runtime", "benchmarks", "examples", "docs")
MERGES = {"max", "min", "amax", "amin", "maximum", "minimum", "argmax", "argmin", "sort", "sorted"}
ORDERS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def speaks_of_statuses(node):
    """Whether a name or attribute in an expression is a status, or a member of `Status`."""
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    names |= {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
    return any(name.lower().endswith(("status", "statuses")) for name in names)


def numbers_made_of_statuses(source):
    """Lines that merge or compare statuses by number; faults, which are above them, may be."""
    tree = ast.parse(source)
    faults = {
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "gram_fault"
        for part in ast.walk(node)
    }
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node not in faults:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in MERGES and speaks_of_statuses(node):
                lines.append(node.lineno)
        ordered = isinstance(node, ast.Compare) and any(isinstance(o, ORDERS) for o in node.ops)
        if ordered and any(map(speaks_of_statuses, (node.left, *node.comparators))):
            lines.append(node.lineno)
    return lines


def test_statuses_are_ordered_by_worst_alone():
    found = {
        str(path.relative_to(ROOT)): lines
        for folder in PRODUCT
        for path in (ROOT / folder).rglob("*.py")
        if (lines := numbers_made_of_statuses(path.read_text(encoding="utf-8")))
    }
    assert {path: len(lines) for path, lines in found.items()} == {"fairopt/solution.py": 1}


@pytest.mark.parametrize(
    "line",
    [
        "status = np.max(np.where(r != 0.0, each.status, 0), axis=-1)",
        "status = each.status.max(axis=-1)",
        "status = max(one.status, other.status)",
        "status = functools.reduce(max, statuses) if found.status >= 2 else 0",
        "ok = found.status < Status.STEP_LIMIT",
        "statuses = sorted(statuses)",
    ],
)
def test_an_order_by_number_is_found(line):
    assert numbers_made_of_statuses(line) == [1]
    assert numbers_made_of_statuses("checks.gram_fault(A, status.max(axis=-1, initial=0))") == []
