"""Every kind of garbage is refused by name, and harmless oddities are not."""

import math

import numpy as np
import pytest

import fairopt
from fairopt import InvalidInput, Status

GOOD = np.array([[2.0, 0.5], [0.5, 1.0]])


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
        ("max_iterations", lambda: fairopt.min_norm(GOOD, max_iterations=None)),
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
