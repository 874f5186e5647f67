"""Every kind of garbage is refused by name, and harmless oddities are not.

`PUBLIC` lists every public function with arguments that it accepts; the tests below it replace one
argument at a time. A new function has to be added there.
"""

import inspect
import math

import numpy as np
import pytest

import fairopt
from fairopt import InvalidInput, Status, checks, reference, rivals
from fairopt.network import NetworkProblem, allocation_on_graph
from fairopt.utility import jain_index

GOOD = np.array([[2.0, 0.5], [0.5, 1.0]])
ROUTING, CAPACITY = [[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]], [1.0, 2.0]
FOUND = fairopt.alpha_fair_allocation(ROUTING, CAPACITY, 1.0)
GRAM = {"gram": GOOD, "gram_error": 1e-9}
FLOWS = {"routing": ROUTING, "capacity": CAPACITY, "alpha": 1.0, "priority": [1.0, 2.0, 3.0]}
PATHS = FLOWS | {"owner": [0, 0, 1], "priority": [1.0, 2.0]}
SPLIT = {"upper": [1.0, 2.0], "weights": [1.0, 2.0]}
UPPER = {"upper": [1.0, 2.0, 3.0]}
POLYTOPE = {
    "T": [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], "G": [[1.0, 0.0, 1.0]], "h": [1.0],
    "A": [[0.0, 1.0, 1.0]], "b": [1.0], "alpha": 1.0, "weights": [1.0, 2.0], "priority": [1.0, 2.0],
}  # fmt: skip
PUBLIC = {
    fairopt.fairgrad: GRAM | {"alpha": 2.0, "priority": [1.0, 2.0], "start": [1.0, 1.0]},
    fairopt.fairgrad_residual: {
        "gram": GOOD, "alpha": 2.0, "weights": [1.0, 2.0], "priority": [1.0, 2.0],
    },
    fairopt.min_norm: GRAM | {"start": [0.5, 0.5]},
    fairopt.min_norm_residual: {"gram": GOOD, "weights": [0.5, 0.5]},
    fairopt.min_norm_from_gradients: {"gradients": np.eye(2)},
    fairopt.dual_cone_from_gradients: {
        "gradients": np.eye(2), "reference": [0.5, 0.5], "accuracy": 1e-5,
    },
    fairopt.conflict_averse_from_gradients: {
        "gradients": np.eye(2), "c": 0.4, "reference": [0.5, 0.5], "accuracy": 1e-5,
    },
    fairopt.upgrad_from_gradients: {
        "gradients": np.eye(2), "reference": [0.5, 0.5], "accuracy": 1e-5,
    },
    fairopt.conflict_averse: GRAM | {"c": 0.4, "reference": [0.5, 0.5], "start": [1.0, 1.0]},
    fairopt.conflict_averse_residual: {
        "gram": GOOD, "c": 0.4, "weights": [0.5, 0.5], "reference": [0.5, 0.5], "dual": [1.0, 0.0],
        "gram_error": 1e-9,
    },
    fairopt.dual_cone_projection: GRAM
    | {"reference": [0.5, 0.5], "start": [0.5, 0.5], "accuracy": 1e-5},
    fairopt.dual_cone_residual: {"gram": GOOD, "reference": [1.0, 0.0], "weights": [1.0, 0.0]},
    fairopt.upgrad: GRAM | {"reference": [0.5, 0.5], "accuracy": 1e-5},
    fairopt.pareto_certificate: GRAM | {"gradient_error": 1e-9},
    fairopt.pareto_certificate_from_gradients: {"gradients": np.eye(2), "gradient_error": 1e-9},
    fairopt.alpha_fair_allocation: FLOWS | UPPER | {"start": [1.0, 1.0]},
    fairopt.allocation_residual: FLOWS
    | UPPER
    | {"rates": [0.5, 0.5, 0.5], "prices": [1.0, 1.0], "upper_prices": [0.0, 0.0, 0.0]},
    fairopt.alpha_fair_path_allocation: PATHS | SPLIT,
    fairopt.path_allocation_residual: PATHS
    | SPLIT
    | {"path_rates": [0.5, 0.5, 0.5], "prices": [1.0, 1.0], "upper_prices": [0.0, 0.0]},
    fairopt.alpha_fair_on_polytope: POLYTOPE,
    fairopt.polytope_certificate: POLYTOPE
    | {
        "point": [0.5, 0.5, 0.5], "prices": [1.0], "equality_prices": [1.0],
        "utility_prices": [1.0, 1.0],
    },
    fairopt.allocation_sensitivity: FLOWS | UPPER | {"allocation": FOUND},
    fairopt.client_task_probabilities: {
        "losses": [1.0, 2.0], "alpha": 2.0, "eligible": [True, False], "priority": [1.0, 2.0],
    },
    fairopt.suggest_alpha: {
        "losses": [1.0, 2.0], "share": 0.75, "largest": 3.0, "priority": [1.0, 2.0],
    },
    fairopt.learning_progress: {"errors": [0.5, 0.4, 0.3, 0.2]},
    fairopt.request_allocation: {"heterogeneity": [1.0, 2.0], "total": 8},
    fairopt.reference_request_allocation: {
        "scores": [1.0, 2.0], "requests": [4, 4], "quantum": 2,
    },
    fairopt.multiplicative_weights: {
        "weights": [0.5, 0.5], "gains": [1.0, 2.0], "rate": 0.1, "smoothing": 0.1,
        "present": [True, True],
    },
    fairopt.suggest_rate: {
        "weights": [0.5, 0.5], "largest_gap": 1.0, "rounds": 3, "floor": 0.1,
    },
    fairopt.cross_attention_weights: {"gram": GOOD, "dimension": 4, "temperature": 2.0},
}  # fmt: skip
OTHERS = {
    fairopt.AllocationProblem: FLOWS | UPPER,
    fairopt.AllocationProblem(ROUTING, CAPACITY, 1.0).solve: {
        "capacity": CAPACITY, "alpha": 1.0, "priority": [1.0, 2.0, 3.0], "start": [1.0, 1.0],
    } | UPPER,
    fairopt.PathAllocationProblem: PATHS | SPLIT,
    fairopt.PathAllocationProblem(ROUTING, [0, 0, 1], CAPACITY, 1.0).solve: {
        "capacity": CAPACITY, "alpha": 1.0, "priority": [1.0, 2.0],
    } | SPLIT,
    fairopt.AlphaFair: {"alpha": 2.0},
    fairopt.AlphaFair(2.0).value: {"x": [1.0, 2.0]},
    fairopt.AlphaFair(2.0).marginal: {"x": [1.0, 2.0]},
    fairopt.AlphaFair(2.0).inverse_marginal: {"price": [1.0, 2.0]},
    fairopt.allocation_sensitivity(ROUTING, CAPACITY, 1.0, FOUND).change: {
        "capacity": [0.1, 0.0], "priority": [0.1, 0.0, 0.0],
    },
    jain_index: {"amounts": [1.0, 2.0]},
    rivals.aligned_mtl: GRAM | {"preference": [1.0, 2.0]},
    rivals.imtl_g: GRAM,
    rivals.config: GRAM | {"preference": [1.0, 2.0]},
    rivals.gradient_vaccine: GRAM
    | {"targets": np.zeros((2, 2)), "beta": 0.5, "rng": np.random.default_rng(0)},
    reference.factor: {"gram": GOOD},
    reference.fairgrad: {"gram": GOOD, "alpha": 2.0, "priority": [1.0, 2.0]},
    reference.min_norm: {"gram": GOOD},
    reference.dual_cone_projection: {"gram": GOOD, "reference": [1.0, 0.0]},
    reference.conflict_averse: {"gram": GOOD, "c": 0.4, "reference": [0.5, 0.5]},
    reference.upgrad: {"gram": GOOD, "reference": [0.5, 0.5]},
    reference.allocation: FLOWS | UPPER,
    reference.allocation_on_polytope: POLYTOPE,
}  # fmt: skip
EVERY = PUBLIC | OTHERS
NO_ARRAYS = {"allocation", "total", "quantum", "dimension", "rng", "rounds"}


ARRAYS = [
    pytest.param(call, argument, id=f"{call.__module__}.{call.__qualname__}-{argument}")
    for call, given in EVERY.items()
    for argument in given
    if argument not in NO_ARRAYS
]
GRAMS = [
    pytest.param(call, id=f"{call.__module__}.{call.__qualname__}")
    for call, given in EVERY.items()
    if "gram" in given
]


def refused(call, argument, value):
    """The error of a call with one argument replaced."""
    with pytest.raises(InvalidInput) as caught:
        call(**EVERY[call] | {argument: value})
    assert caught.value.argument.startswith(argument)
    return str(caught.value)


SETTINGS = {  # words and whole numbers, which are no arrays
    "tol", "max_iterations", "objective", "quantum", "minimum", "rounding", "smooth_towards",
    "absent",
}  # fmt: skip


@pytest.mark.parametrize("module", [fairopt, rivals], ids=["fairopt", "rivals"])
def test_every_public_function_and_argument_is_in_the_table(module):
    functions = filter(inspect.isfunction, map(vars(module).get, module.__all__))
    listed = {call: EVERY[call] for call in functions}
    assert module is not fairopt or set(listed) == set(PUBLIC)
    for call, given in listed.items():
        assert set(inspect.signature(call).parameters) - SETTINGS == set(given) - SETTINGS


@pytest.mark.parametrize(("call", "argument"), ARRAYS)
def test_masked_entries_are_refused(call, argument):
    """NumPy drops a mask when it makes a plain array: masked numbers would count."""
    good = np.asarray(EVERY[call][argument])
    mask = np.zeros(good.shape, dtype=bool)
    mask[(0,) * good.ndim] = True
    assert "no masked entries" in refused(call, argument, np.ma.masked_array(good, mask))
    if good.ndim:
        rows = [np.ma.masked_array(row, m) for row, m in zip(good, mask, strict=True)]
        assert "no masked entries" in refused(call, argument, rows)
        assert "no masked entries" in refused(call, argument, [rows])
    else:
        assert "no masked entries" in refused(call, argument, np.ma.masked)


@pytest.mark.parametrize(("call", "argument"), ARRAYS)
def test_an_array_without_masked_entries_is_an_array(call, argument):
    plain = EVERY[call]
    masked = np.ma.masked_array(np.asarray(plain[argument]))
    same(call(**plain), call(**plain | {argument: masked}))


def same(first, second):
    """The same numbers in two answers, whatever they are."""
    for name, value in vars(first).items() if hasattr(first, "__dict__") else [("", first)]:
        other = getattr(second, name) if name else second
        if isinstance(value, np.ndarray | float):
            np.testing.assert_array_equal(value, other)


def test_edges_of_a_graph_with_a_masked_capacity_are_refused():
    networkx = pytest.importorskip("networkx")
    graph = networkx.path_graph(3)
    networkx.set_edge_attributes(graph, {(0, 1): 1.0, (1, 2): np.ma.masked}, "capacity")
    with pytest.raises(InvalidInput, match=r"capacity = .* no masked entries"):
        allocation_on_graph(graph, [(0, 2)], 1.0)
    networkx.set_edge_attributes(graph, 1.0, "capacity")
    with pytest.raises(InvalidInput, match=r"priority = .* no masked entries"):
        allocation_on_graph(graph, [(0, 2)], 1.0, priority=np.ma.masked_array([1.0], [True]))


@pytest.mark.parametrize("paths", [1, 2])
def test_what_changes_on_a_graph_is_checked_by_name(paths):
    networkx = pytest.importorskip("networkx")
    graph = networkx.cycle_graph(3)
    networkx.set_edge_attributes(graph, 1.0, "capacity")
    problem = NetworkProblem(graph, [(0, 1), (1, 2)], 1.0, paths=paths)
    for name in ("capacity", "alpha", "priority", "upper", "weights"):
        for value in (-1.0, math.nan, [[1.0]], [1.0], "1", [1j, 1.0, 1.0]):
            with pytest.raises(InvalidInput) as caught:
                problem.solve(**{name: value})
            assert caught.value.argument.startswith(name if value != "1" else ("graph", name))
    with pytest.raises(InvalidInput, match=r"start = .*a NetworkAllocation"):
        problem.solve(start=[1.0, 1.0, 1.0])
    with pytest.raises(InvalidInput, match=r"edge 0 -> 1.*attribute 'delay'"):
        problem.solve(capacity="delay")


@pytest.mark.parametrize(("dtype", "sizes"), [("float16", (-14, -1)), ("float32", (-75, -50))])
def test_products_that_underflow_are_refused_or_harmless(dtype, sizes):
    """Whatever the size of gradients, an answer that is ok has nearly the weights of their own."""
    rng = np.random.default_rng(0)
    refused_some = answered_some = False
    for size in np.linspace(*sizes, 40):
        gradients = (rng.normal(size=(3, 20)) * 2.0**size).astype(dtype)
        wide = gradients.astype(float)
        gram = gradients @ gradients.T
        if np.diagonal(gram).min() < checks.UNDERFLOW[dtype][0]:
            refused_some |= "products underflow" in refused(fairopt.fairgrad, "gram", gram)
            continue
        found = fairopt.fairgrad(gram, 2.0)
        true = fairopt.fairgrad(wide @ wide.T, 2.0).require()
        if found.ok and true.ok:
            answered_some = True
            eps = float(np.finfo(dtype).eps)
            np.testing.assert_allclose(found.weights, true.weights, rtol=200 * eps)
    assert refused_some
    assert answered_some


@pytest.mark.parametrize("call", GRAMS)
@pytest.mark.parametrize(
    ("dtype", "hint"),
    [("float16", "form the Gram in float32 or float64"), ("float32", "form the Gram in float64")],
)
def test_an_overflow_names_its_dtype(call, dtype, hint):
    """Products of 300 in float16 and of 1e20 in float32; minus infinity off the diagonal too."""
    size = 300.0 if dtype == "float16" else 1e20
    G = np.array([[size, 0.0], [-size, 1.0]], dtype=dtype)
    with np.errstate(over="ignore"):
        A = G @ G.T
    message = refused(call, "gram", A)
    assert message.startswith("gram[0, 0] = inf, but it must be finite")
    assert f"inf in {dtype}: {hint}" in message
    A[0, 0] = A[1, 1] = 1.0
    assert f"gram[0, 1] = -inf, but it must be finite (inf in {dtype}" in refused(call, "gram", A)


def test_an_overflow_in_a_batch_names_its_problem():
    batch = np.ones((2, 3, 2, 2), dtype=np.float32)
    batch[1, 2, 1, 0] = np.inf
    with pytest.raises(InvalidInput, match=r"gram\[1, 0\] = inf, .* in problem \(1, 2\)"):
        fairopt.min_norm(batch)
    with pytest.raises(InvalidInput, match=r"gram\[1, 0\] = inf, .* in problem 2"):
        fairopt.min_norm(batch[1])


def test_large_numbers_of_a_narrow_dtype_are_no_overflow():
    largest = np.finfo(np.float32).max
    assert fairopt.min_norm(np.diag([largest, largest]).astype(np.float32)).ok


@pytest.mark.parametrize("call", GRAMS)
def test_gradients_in_place_of_their_gram_are_recognised(call):
    message = refused(call, "gram", np.ones((2, 5)))
    assert "(2, 5)" in message
    assert "of shape (..., K, K)" in message
    assert "(for gradients G of shape (K, D) pass G @ G.T)" in message
    batch = refused(call, "gram", np.ones((3, 2, 5)))
    assert "(for gradients G of shape (..., K, D) pass G @ G.mT)" in batch
    assert "pass" not in refused(call, "gram", np.ones(3))


@pytest.mark.parametrize("call", [call for call, given in PUBLIC.items() if "gram_error" in given])
@pytest.mark.parametrize(
    "value", [1.0, 1, 1.5, math.inf, math.nan, -1e-9, -math.inf, "0.1", [1e-9, 1.0], [math.nan], 1j]
)
def test_the_error_of_a_gram_is_below_one(call, value):
    assert "a number in [0, 1)" in refused(call, "gram_error", value)


def test_the_default_error_is_below_one_whatever_the_size():
    """4 K eps of float16 is 1 at K = 256; what a solution reports can be passed on."""
    for K in (255, 256, 300):
        gram = np.eye(K, dtype=np.float16)
        error = fairopt.min_norm(gram).gram_error
        assert error == min(4.0 * K * 2.0**-10, 1.0 - 2.0**-53)
        assert fairopt.min_norm(gram, gram_error=error).gram_error == error


HUGE = 10**7  # a view of one number with this many rows and columns takes 8 bytes


@pytest.mark.parametrize(("call", "argument"), ARRAYS)
def test_what_does_not_fit_into_memory_is_refused_before_it_is_made(call, argument):
    kind = np.asarray(EVERY[call][argument]).dtype
    view = np.broadcast_to(kind.type(1), (HUGE, HUGE))
    message = refused(call, argument, view)
    assert "small enough for memory" in message
    assert f"({HUGE}, {HUGE})" in message
    if argument == "gram":
        assert "with 6 arrays of shape" in message
        narrow = refused(call, argument, np.broadcast_to(np.float16(1.0), (HUGE, HUGE)))
        assert "small enough for memory" in narrow


@pytest.mark.parametrize(
    "call", [fairopt.min_norm_from_gradients, fairopt.pareto_certificate_from_gradients]
)
def test_many_short_gradients_need_squares_too(call):
    view = np.broadcast_to(1.0, (HUGE, 1))
    assert "small enough for memory" in refused(call, "gradients", view)


def test_the_bound_is_the_memory_of_the_machine(monkeypatch):
    """8 (B K^2 + 6 K^2) bytes for B problems; small arrays are never counted."""
    K = 4097
    for problems in (1, 5):
        need = 8 * (problems + checks.SQUARES) * K**2
        view = np.broadcast_to(1.0, (problems, K, K))
        monkeypatch.setattr(checks, "memory", lambda need=need: need)
        assert checks.gram_matrix(view)[0] is view
        monkeypatch.setattr(checks, "memory", lambda need=need: need - 1)
        with pytest.raises(InvalidInput, match=r"gram = .* memory: it takes .* GiB of the .* GiB"):
            checks.gram_matrix(view)
    monkeypatch.setattr(checks, "memory", lambda: 0)
    assert fairopt.min_norm(GOOD).ok


@pytest.mark.parametrize("unknown", [lambda name: -1, int], ids=["-1", "error"])
def test_the_memory_is_read_or_taken_as_large(monkeypatch, unknown):
    assert 2**20 < checks.memory() < 2**60
    monkeypatch.setattr(checks.os, "sysconf", unknown)
    assert checks.memory.__wrapped__() == 2**40


def ones(A):
    """A reference of the right length where there is one."""
    return np.ones(A.shape[-1] if isinstance(A, np.ndarray) and A.ndim > 1 and A.size else 2)


SOLVERS = {
    "fairgrad": lambda A: fairopt.fairgrad(A, 2.0),
    "fairgrad at 0": lambda A: fairopt.fairgrad(A, 0.0),
    "fairgrad at inf": lambda A: fairopt.fairgrad(A, math.inf),
    "min_norm": fairopt.min_norm,
    "conflict_averse": lambda A: fairopt.conflict_averse(A, 0.4),
    "conflict_averse, large ball": lambda A: fairopt.conflict_averse(A, 1.5),
    "dual_cone_projection": lambda A: fairopt.dual_cone_projection(A, ones(A)),
    "upgrad": fairopt.upgrad,
    "pareto_certificate": fairopt.pareto_certificate,
    "aligned_mtl": rivals.aligned_mtl,
    "imtl_g": rivals.imtl_g,
    "config": rivals.config,
}


def spoiled(i, j, value):
    A = np.array([[2.0, 0.5, 0.1], [0.5, 1.0, 0.2], [0.1, 0.2, 3.0]])
    A[i, j] = value
    return A


class Tensor:
    """Stands for an array of another library."""

    def __dlpack__(self):
        raise NotImplementedError


GARBAGE = {
    "NaN": (spoiled(0, 1, math.nan), "finite"),
    "NaN below": (spoiled(2, 0, math.nan), "finite"),
    "NaN diagonal": (spoiled(1, 1, math.nan), "finite"),
    "inf": (spoiled(1, 1, math.inf), "finite"),
    "complex": (GOOD.astype(complex), "real"),
    "text": ([["a", "b"], ["c", "d"]], "real"),
    "bool": ([[True, False], [False, True]], "real"),
    "None": (None, "real"),
    "objects": ([[object()]], "real"),
    "ragged": ([[1.0, 2.0], [3.0]], "ragged"),
    "K = 0": (np.zeros((0, 0)), "K >= 1"),
    "batch of K = 0": (np.zeros((4, 0, 0)), "K >= 1"),
    "scalar": (1.0, "K >= 1"),
    "vector": ([1.0, 2.0], "K >= 1"),
    "3 x 2": (np.ones((3, 2)), "K >= 1"),
    "not symmetric": (spoiled(0, 1, 0.9), "mirror"),
    "negative diagonal": (spoiled(1, 1, -1.0), "squared norm"),
    "beyond Cauchy-Schwarz": ([[1.0, 1.01], [1.01, 1.0]], "Cauchy-Schwarz"),
    "zero diagonal, nonzero row": ([[0.0, 0.1], [0.1, 1.0]], "Cauchy-Schwarz"),
    "another library": (Tensor(), "convert"),
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("case", GARBAGE)
def test_garbage_is_refused(case, solver):
    value, word = GARBAGE[case]
    with pytest.raises(InvalidInput) as caught:
        SOLVERS[solver](value)
    assert caught.value.argument.startswith("gram")
    assert word in str(caught.value)


def test_the_place_in_the_matrix_and_in_the_batch_is_named():
    batch = np.array([spoiled(0, 0, 1.0), spoiled(2, 1, math.nan)])
    with pytest.raises(InvalidInput, match=r"gram\[2, 1\] = nan, .* in problem 1"):
        fairopt.fairgrad(batch, 1.0)


METHODS = {
    "fairgrad": lambda A: fairopt.fairgrad(A, 2.0),
    "fairgrad at 0": lambda A: fairopt.fairgrad(A, 0.0),
    "fairgrad at inf": lambda A: fairopt.fairgrad(A, math.inf),
    "min_norm": fairopt.min_norm,
    "conflict_averse": lambda A: fairopt.conflict_averse(A, 0.4),
    "conflict_averse, large ball": lambda A: fairopt.conflict_averse(A, 1.5),
    "dual_cone_projection": lambda A: fairopt.dual_cone_projection(A, [0.2, -1.0, 0.5]),
    "upgrad": fairopt.upgrad,
}
STATIONARY = {  # one zero task, all zero: what is right there
    "fairgrad": Status.PARETO_STATIONARY,
    "fairgrad at 0": Status.PARETO_STATIONARY,
    "fairgrad at inf": Status.PARETO_STATIONARY,
    "conflict_averse, large ball": Status.PARETO_STATIONARY,
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("A", [np.diag([1.0, 0.0, 2.0]), np.zeros((3, 3))], ids=["one", "all"])
def test_zero_gradients_are_stationary_or_harmless(method, A):
    solution = METHODS[method](A)
    assert solution.status == STATIONARY.get(method, Status.OPTIMAL)
    assert np.isfinite(solution.weights).all()
    if solution.certificate is not None:
        zero = int(np.argmin(np.diag(A)))
        np.testing.assert_array_equal(solution.certificate, np.eye(3)[zero])


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_of_five_is_five_problems(method):
    rng = np.random.default_rng(1)
    G = rng.normal(size=(5, 3, 8))
    batch = G @ np.swapaxes(G, -1, -2)
    together = METHODS[method](batch)
    assert together.weights.shape == (5, 3)
    for k in range(5):
        np.testing.assert_array_equal(together.weights[k], METHODS[method](batch[k]).weights)


@pytest.mark.parametrize("solver", ["fairgrad", "min_norm", "pareto_certificate"])
def test_negative_curvature_that_is_met_is_refused(solver):
    A = np.full((3, 3), -0.9)
    np.fill_diagonal(A, 1.0)
    with pytest.raises(InvalidInput, match="positive semidefinite"):
        SOLVERS[solver](A)


def residual(A, method):
    """The residual of a method's answer."""
    w = METHODS[method](A).weights
    if method.startswith("fairgrad"):
        alpha = {"fairgrad": 2.0, "fairgrad at 0": 0.0, "fairgrad at inf": math.inf}[method]
        return fairopt.fairgrad_residual(A, alpha, w)
    if method.startswith("conflict"):
        solution = METHODS[method](A)
        c = 1.5 if "large" in method else 0.4
        return fairopt.conflict_averse_residual(A, c, w, dual=solution.dual)
    if method == "min_norm":
        return fairopt.min_norm_residual(A, w)
    return fairopt.dual_cone_residual(A, [0.2, -1.0, 0.5], w)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "upgrad"])
def test_an_indefinite_matrix_is_refused_or_its_answer_meets_the_conditions(method):
    """Whatever is called OPTIMAL satisfies the equations of the matrix as given."""
    rng = np.random.default_rng(7)
    refused = solved = 0
    for _ in range(200):
        C = rng.uniform(-1.0, 1.0, size=(3, 3))
        A = 0.5 * (C + C.T)
        np.fill_diagonal(A, 1.0)
        if np.linalg.eigvalsh(A)[0] > -0.05:
            continue
        try:
            solution = METHODS[method](A)
        except InvalidInput:
            refused += 1
            continue
        if solution.status == Status.OPTIMAL:
            solved += 1
            assert residual(A, method) <= 1.1e-10
    assert refused + solved > 0


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_batch_gives_an_empty_batch(method):
    solution = METHODS[method](np.zeros((0, 3, 3)))
    assert solution.weights.shape == (0, 3)
    assert solution.status.shape == solution.residual.shape == (0,)
    assert solution.ok
    assert fairopt.pareto_certificate(np.zeros((0, 3, 3))).weights.shape == (0, 3)


def test_the_default_error_is_that_of_the_dtype():
    for dtype in (np.float16, np.float32, np.float64):
        eps = float(np.finfo(dtype).eps)
        for solve in (fairopt.min_norm, lambda A: fairopt.fairgrad(A, 2.0)):
            expected = 16 * eps if dtype is np.float64 else 12 * eps
            assert solve(np.eye(3, dtype=dtype)).gram_error == expected


PRECISE = {
    "fairgrad": lambda A, e: fairopt.fairgrad(A, 1.0, gram_error=e),
    "fairgrad at 0": lambda A, e: fairopt.fairgrad(A, 0.0, gram_error=e),
    "conflict_averse": lambda A, e: fairopt.conflict_averse(A, 0.4, gram_error=e),
    "min_norm": lambda A, e: fairopt.min_norm(A, gram_error=e),
    "dual_cone_projection": lambda A, e: fairopt.dual_cone_projection(A, ones(A), gram_error=e),
    "upgrad": lambda A, e: fairopt.upgrad(A, gram_error=e),
}


@pytest.mark.parametrize("solver", PRECISE)
def test_an_error_for_every_entry_is_refused(solver):
    """One for every matrix broadcasts, also over one matrix; a batch of K matrices is a batch."""
    batch = np.broadcast_to(np.eye(2), (2, 2, 2, 2))
    assert PRECISE[solver](batch, np.full((2, 2), 1e-9)).status.shape == (2, 2)
    assert PRECISE[solver](np.eye(2), np.full(2, 1e-9)).status.shape == (2,)
    assert PRECISE[solver](np.eye(2), np.full((3, 1), 1e-9)).status.shape == (3, 1)
    for gram in (np.eye(2), batch[0]):
        with pytest.raises(InvalidInput, match="one per matrix of the batch") as caught:
            PRECISE[solver](gram, np.full(gram.shape, 1e-9))
        assert caught.value.argument == "gram_error"


RULES = {
    "losses": lambda x: fairopt.client_task_probabilities(x, 2.0),
    "weights": lambda x: fairopt.multiplicative_weights(x, [0.0, 0.0], 1.0),
    "heterogeneity": lambda x: fairopt.request_allocation(x, 8),
    "gram": lambda x: fairopt.cross_attention_weights(x, 3),
    "x": fairopt.AlphaFair(2.0).value,
}


@pytest.mark.parametrize("argument", RULES)
def test_rules_refuse_arrays_of_other_libraries(argument):
    with pytest.raises(InvalidInput, match="convert it first") as caught:
        RULES[argument](Tensor())
    assert caught.value.argument == argument


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_torch_tensor_is_refused_with_a_hint(solver):
    torch = pytest.importorskip("torch")
    with pytest.raises(InvalidInput, match=r"torch Tensor.*convert it first.*cpu\(\)"):
        SOLVERS[solver](torch.eye(2))


@pytest.mark.parametrize("module", ["jaxlib._jax", "cupy"])
def test_arrays_on_other_devices_are_named_in_the_refusal(module):
    array = type("Array", (Tensor,), {"__module__": module})()
    with pytest.raises(InvalidInput, match=f"{module.partition('.')[0]} Array.*convert it first"):
        fairopt.fairgrad(array, 2.0)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("alpha", lambda: fairopt.fairgrad(GOOD, -1.0)),
        ("alpha", lambda: fairopt.fairgrad(GOOD, math.nan)),
        ("alpha", lambda: fairopt.fairgrad(GOOD, "1")),
        ("alpha", lambda: fairopt.fairgrad(GOOD, None)),
        ("alpha", lambda: fairopt.fairgrad(GOOD, [1.0, -1.0])),
        ("alpha", lambda: fairopt.fairgrad(np.array([GOOD, GOOD]), [1.0, 2.0, 3.0])),
        ("priority", lambda: fairopt.fairgrad(GOOD, 1.0, priority=[1.0, 0.0])),
        ("priority", lambda: fairopt.fairgrad(GOOD, 1.0, priority=[1.0, math.nan])),
        ("priority", lambda: fairopt.fairgrad(GOOD, 1.0, priority=[1.0])),
        ("priority", lambda: fairopt.fairgrad(GOOD, 1.0, priority=2.0)),
        ("start", lambda: fairopt.fairgrad(GOOD, 1.0, start=[math.nan, 1.0])),
        ("start", lambda: fairopt.fairgrad(GOOD, 1.0, start=[-1.0, 1.0])),
        ("start", lambda: fairopt.min_norm(GOOD, start=[1.0, 1.0, 1.0])),
        ("tol", lambda: fairopt.fairgrad(GOOD, 1.0, tol=0.0)),
        ("tol", lambda: fairopt.fairgrad(GOOD, 1.0, tol=math.nan)),
        ("tol", lambda: fairopt.min_norm(GOOD, tol="a")),
        ("max_iterations", lambda: fairopt.fairgrad(GOOD, 1.0, max_iterations=-1)),
        ("max_iterations", lambda: fairopt.fairgrad(GOOD, 1.0, max_iterations=2.5)),
        ("max_iterations", lambda: fairopt.min_norm(GOOD, max_iterations="1")),
        ("gram_error", lambda: fairopt.fairgrad(GOOD, 1.0, gram_error=-1e-3)),
        ("gram_error", lambda: fairopt.pareto_certificate(GOOD, gram_error=math.nan)),
        ("gradient_error", lambda: fairopt.pareto_certificate(GOOD, gradient_error=math.nan)),
        ("gradient_error", lambda: fairopt.pareto_certificate(GOOD, gradient_error=-1e-3)),
        ("gradient_error", lambda: fairopt.pareto_certificate(GOOD, gradient_error=1.5)),
        ("gradient_error", lambda: fairopt.pareto_certificate(GOOD, gradient_error="eps")),
        ("weights", lambda: fairopt.fairgrad_residual(GOOD, 1.0, [1.0])),
        ("weights", lambda: fairopt.min_norm_residual(GOOD, ["a", "b"])),
    ],
)
def test_other_arguments_are_refused_by_name(argument, call):
    with pytest.raises(InvalidInput) as caught:
        call()
    assert caught.value.argument == argument


@pytest.mark.parametrize("solver", SOLVERS)
def test_integers_lists_and_low_precision_are_computed_in_float64(solver):
    expected = SOLVERS[solver](np.array([[4.0, 1.0], [1.0, 2.0]])).weights
    for A in (
        [[4, 1], [1, 2]],
        np.array([[4, 1], [1, 2]], dtype=np.int8),
        np.array([[4, 1], [1, 2]], dtype=np.uint64),
        np.array([[4, 1], [1, 2]], dtype=np.float16),
        np.array([[4, 1], [1, 2]], dtype=np.float32),
        np.array([[4, 1], [1, 2]], dtype=np.longdouble),
        np.asfortranarray(np.array([[4.0, 1.0], [1.0, 2.0]])),
        np.array([[4.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 2.0]])[::2, ::2],
        np.array([[4.0, 1.0], [1.0, 2.0]]).astype(">f8"),
    ):
        weights = SOLVERS[solver](A).weights
        assert weights.dtype == np.float64
        narrow = getattr(A, "dtype", None) in (np.float16, np.float32)
        if narrow and solver.startswith("conflict_averse"):  # pulled into the ball by its error
            np.testing.assert_allclose(weights, expected, rtol=0.1)
        else:
            np.testing.assert_array_equal(weights, expected)


def test_rounding_of_low_precision_never_raises():
    rng = np.random.default_rng(0)
    for dtype in (np.float16, np.float32):
        for _ in range(50):
            G = rng.normal(size=(6, 40)).astype(dtype)
            G[3:] = G[:3] * dtype(1.7)  # parallel: the worst case for Cauchy-Schwarz
            A = (G @ G.T).astype(dtype)
            fairopt.fairgrad(A, 2.0)
            fairopt.min_norm(A)
            fairopt.fairgrad(A.astype(np.float64), 2.0)


def test_small_asymmetry_is_averaged_and_counted_as_error():
    A = np.array([[1.0, 0.5], [0.5 + 1e-5, 1.0]])
    solution = fairopt.fairgrad(A, 2.0)
    assert solution.status == Status.OPTIMAL
    assert solution.gram_error == pytest.approx(1e-5)
    np.testing.assert_array_equal(solution.weights, fairopt.fairgrad(0.5 * (A + A.T), 2.0).weights)
