"""Losses and metrics against references, their masks and directions, and what is refused."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from fairopt.errors import InvalidInput
from fl_runtime.data.dataset import Data
from fl_runtime.training import measuring
from fl_runtime.training import task as task_module
from fl_runtime.training.losses import LOSSES, batch_mean, batch_sum, loss_of, loss_parts
from fl_runtime.training.measuring import check_metric, measures
from fl_runtime.training.scores import METRICS, Scale, metric_of, metrics_of
from fl_runtime.training.task import Evaluation, LocalTraining
from tests.fl_runtime.eight_tasks import KINDS, SIZE, noise, small_task

DRAWS = torch.Generator().manual_seed(3)
PLAIN = LocalTraining(0.05, 1, 4)


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=DRAWS)


def classes(count: int, *shape: int) -> torch.Tensor:
    return torch.randint(count, shape, generator=DRAWS)


PAIRS = {
    "cross-entropy": (numbers(7, 4, 3), classes(4, 7, 3)),
    "token-cross-entropy": (numbers(7, 3, 4), classes(4, 7, 3)),
    "mse": (numbers(7, 3), numbers(7, 3)),
    "mae": (numbers(7, 3), numbers(7, 3)),
    "huber": (3 * numbers(7, 3), numbers(7, 3)),
    "bce": (numbers(7, 3), classes(2, 7, 3).float()),
}
"""Outputs and targets; a test takes some of the targets away."""


def holed(targets: torch.Tensor) -> torch.Tensor:
    """Every fourth target is missing, and all of the second example's."""
    out = targets.clone()
    missing = torch.nan if out.is_floating_point() else -100
    out.view(-1)[::4] = missing
    out[1] = missing
    return out


@pytest.mark.parametrize("name", LOSSES)
def test_missing_targets_are_as_if_they_were_not_there(name: str) -> None:
    """Only what is there has a gradient, and the mean is over that alone."""
    loss, (outputs, targets) = loss_of("loss", name), PAIRS[name]
    some = holed(targets)
    outputs = outputs.clone().requires_grad_(True)
    mean, count = batch_mean(loss, outputs, some)
    (slope,) = torch.autograd.grad(mean, outputs)
    axis = {"cross-entropy": 1, "token-cross-entropy": -1}.get(name)
    there = ~some.isnan() if some.is_floating_point() else some != -100
    moved = slope.bool() if axis is None else slope.bool().any(dim=axis)
    assert count == there.sum()
    assert torch.equal(moved & there, moved)
    one_by_one = [
        loss_parts(loss, outputs[k : k + 1], some[k : k + 1]) for k in range(len(outputs))
    ]
    sums, counts = (torch.cat(part) for part in zip(*one_by_one, strict=True))
    torch.testing.assert_close(mean, sums.sum() / counts.sum())
    torch.testing.assert_close(batch_sum(loss, outputs, some)[0], sums.sum())
    assert counts[1] == 0 == sums[1]


def test_losses_are_those_of_pytorch() -> None:
    from torch.nn import functional as F

    found = {
        name: float(batch_mean(loss_of("l", name), *PAIRS[name])[0].detach()) for name in LOSSES
    }
    tokens = PAIRS["token-cross-entropy"]
    assert found == pytest.approx(
        {
            "cross-entropy": float(F.cross_entropy(*PAIRS["cross-entropy"])),
            "token-cross-entropy": float(
                F.cross_entropy(tokens[0].flatten(0, 1), tokens[1].flatten())
            ),
            "mse": float(F.mse_loss(*PAIRS["mse"])),
            "mae": float(F.l1_loss(*PAIRS["mae"])),
            "huber": float(F.huber_loss(*PAIRS["huber"])),
            "bce": float(F.binary_cross_entropy_with_logits(*PAIRS["bce"])),
        },
        rel=1e-6,
    )


@pytest.mark.parametrize("name", ["mse", "mae"])
def test_a_loss_in_a_unit_is_that_of_numbers_in_the_unit(name: str) -> None:
    outputs, targets = PAIRS[name]
    counted = loss_of("l", {"name": name, "unit": 50.0})
    plain, _ = loss_of("l", name)(outputs / 50.0, holed(targets) / 50.0)
    torch.testing.assert_close(counted(outputs, holed(targets))[0], plain)
    with pytest.raises(InvalidInput, match="unit"):
        loss_of("l", {"name": name, "unit": 0.0})


def figure(name: str, outputs: torch.Tensor, targets: torch.Tensor) -> float:
    """From statistics of uneven batches."""
    metric = metric_of("m", name)
    parts = [
        metric.statistics(outputs[a:b], targets[a:b]).sum(0) for a, b in ((0, 5), (5, len(outputs)))
    ]
    return metric.value(parts[0] + parts[1])


def test_metrics_are_those_of_scikit_learn() -> None:
    logits, y = numbers(60, 4), classes(4, 60)
    guess = logits.argmax(1)
    found, wanted = numbers(60, 3), numbers(60, 3) + 5.0
    tags, signs = classes(2, 60, 3).float(), numbers(60, 3)
    assert figure("acc", logits, y) == reference.accuracy_score(y, guess)
    assert figure("macro-f1", logits, y) == pytest.approx(
        reference.f1_score(y, guess, average="macro")
    )
    assert figure("miou", logits, y) == pytest.approx(
        reference.jaccard_score(y, guess, average="macro")
    )
    assert figure("mae", found, wanted) == pytest.approx(
        reference.mean_absolute_error(wanted, found)
    )
    assert figure("rmse", found, wanted) == pytest.approx(
        math.sqrt(reference.mean_squared_error(wanted, found))
    )
    assert figure("r2", found, wanted) == pytest.approx(reference.r2_score(wanted, found))
    assert figure("label-acc", signs, tags) == pytest.approx(
        ((signs > 0) == (tags > 0.5)).double().mean()
    )


def test_tokens_and_pixels_by_hand() -> None:
    targets = torch.tensor([[0, 1, -100], [1, 1, 0], [-100, -100, -100]])
    guesses = torch.tensor([[0, 1, 0], [1, 0, 0], [1, 1, 1]])
    logits = torch.nn.functional.one_hot(guesses, 2).float()
    image = logits.movedim(-1, 1)
    assert (
        figure_of_all("token-acc", logits, targets)
        == figure_of_all("pixel-acc", image, targets)
        == 0.8
    )
    assert figure_of_all("exact-match", logits, targets) == 0.5
    assert figure_of_all("miou", image, targets) == pytest.approx((2 / 3 + 2 / 3) / 2)
    losses = -logits.log_softmax(-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    mean = losses[targets >= 0].double().mean()
    assert figure_of_all("perplexity", logits, targets) == pytest.approx(
        float(mean.exp()), rel=1e-6
    )


def figure_of_all(name: str, outputs: torch.Tensor, targets: torch.Tensor) -> float:
    (measure,) = measures({name: metric_of("m", name)}).values()
    measure.add(outputs, targets)
    return measure.value()


def test_angles_by_hand() -> None:
    """In axis 1, whatever the lengths; small ones are exact; no output is at a right angle."""
    wanted = torch.tensor(
        [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [torch.nan, 1.0, 1.0], [0.0, 0.0, 0.0]]
    )
    tiny = 1e-7
    found = torch.tensor(
        [[5.0, 5.0 * tiny, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    )
    one, two = (math.degrees(math.atan(tiny)), 90.0)
    assert figure_of_all("mean-angle", found[:1], wanted[:1]) == pytest.approx(one, rel=1e-6)
    assert figure_of_all("mean-angle", found, wanted) == pytest.approx((one + two) / 2)
    image = found.T.reshape(1, 3, 2, 2)
    assert figure_of_all("mean-angle", image, wanted.T.reshape(1, 3, 2, 2)) == pytest.approx(
        (one + two) / 2
    )


RANKED = {"auc": reference.roc_auc_score, "average-precision": reference.average_precision_score}


@pytest.mark.parametrize("name", RANKED)
def test_areas_under_curves_are_those_of_scikit_learn(name: str) -> None:
    """Two classes, several against the rest, several labels with holes; batch by batch."""
    area = RANKED[name]
    logits, y = 3.0 * numbers(60, 4), classes(4, 60)
    chances = logits.double().softmax(1)
    assert figure_of_all(name, logits, y) == pytest.approx(
        np.mean([area(y == c, chances[:, c]) for c in range(4)])
    )
    tags = y % 2
    assert figure_of_all(name, logits[:, :2], tags) == pytest.approx(
        area(tags, logits[:, 1] - logits[:, 0])
    )
    assert figure_of_all(name, logits[:, :1], tags.float()) == area(tags, logits[:, 0])
    several = torch.stack([tags.float(), (y > 1).float(), torch.zeros(60)], dim=1)
    several[:9, 0] = torch.nan
    wanted = (area(tags[9:], logits[9:, 0]) + area(y > 1, logits[:, 1])) / 2
    assert figure_of_all(name, logits[:, :3], several) == pytest.approx(wanted)
    assert math.isnan(figure_of_all(name, logits[:, :1], torch.zeros(60)))
    (measure,) = measures({name: metric_of("m", name)}).values()
    for part in (slice(0, 7), slice(7, 60)):
        measure.add(logits[part], y[part])
    assert measure.value() == figure_of_all(name, logits, y)


def spread(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return float((outputs - targets[:, None]).detach().std())


spread.higher_is_better, spread.whole = False, True  # type: ignore[attr-defined]


def test_a_function_of_everything_is_a_metric_and_too_much_of_it_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metrics = metrics_of("m", [f"{__name__}:spread", "mae"])
    task = small_task("robust regression", PLAIN, metrics=metrics)
    monkeypatch.setattr(task_module, "EVALUATION_BUDGET", 70_000)
    outputs = task.model(task.test.features)
    assert task.evaluate(task.initial, task.test).score == pytest.approx(
        spread(outputs, task.test.targets), rel=1e-6
    )
    monkeypatch.setattr(measuring, "LARGEST_OUTPUTS", 4 * len(task.test) - 1)
    with pytest.raises(InvalidInput, match=r"metrics spread = '0.0 GiB of .*at most 1 GiB"):
        small_task("robust regression", PLAIN, metrics=metrics)
    small_task("robust regression", PLAIN)
    monkeypatch.setattr(measuring, "LARGEST_OUTPUTS", 4 * len(task.test))
    small_task("robust regression", PLAIN, metrics=metrics)


@pytest.mark.parametrize("name", METRICS)
def test_missing_targets_do_not_enter_a_metric(name: str) -> None:
    """Outputs where there is no target may be anything."""
    by_class = name in ("acc", "macro-f1", "miou", "pixel-acc")
    tokens = name in ("token-acc", "perplexity", "exact-match")
    kind = "cross-entropy" if by_class else "token-cross-entropy" if tokens else "bce"
    if name == "mean-angle":  # where one number of a vector is missing all of it is
        vectors, other = numbers(6, 3), numbers(6, 3)
        vectors[2, 1] = torch.nan
        found = torch.where(torch.arange(6)[:, None] == 2, other, numbers(6, 3) + 1.0)
        moved = torch.where(torch.arange(6)[:, None] == 2, other + 3.0, found)
        assert figure_of_all(name, found, vectors) == figure_of_all(name, moved, vectors)
        return
    outputs, targets = PAIRS[kind]
    some = holed(targets)
    there = ~some.isnan() if some.is_floating_point() else some != -100
    mask = there.unsqueeze(1) if by_class else there.unsqueeze(-1) if tokens else there
    other = torch.where(mask, outputs, numbers(*outputs.shape))
    value = figure_of_all(name, outputs, some)
    assert value == figure_of_all(name, other, some)
    assert math.isfinite(value)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_in_batches_is_that_of_the_whole(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = small_task(kind, PLAIN)
    whole = task.evaluate(task.initial, task.test)
    monkeypatch.setattr(task_module, "EVALUATION_BUDGET", 1)
    again = small_task(kind, PLAIN)
    assert again.evaluation_batch == 1
    parts = again.evaluate(again.initial, again.test)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    assert parts.figures == pytest.approx(whole.figures, rel=1e-6)
    assert parts.metric == KINDS[kind][3][0]


def test_errors_on_a_scale() -> None:
    assert all(Scale(0.0, 1.0).error(a) == 1.0 - a for a in np.random.default_rng(0).random(1000))
    assert Scale(4.0, 0.0).error(5.0) == 1.25
    assert Scale(4.0, 0.0).error(-1.0) == 0.0
    assert math.isnan(Scale(0.0, 1.0).error(math.nan))
    seen = [Evaluation.of(1.0, {"mae": x}, Scale(4.0, 0.0)) for x in (1.0, 3.0)]
    assert Evaluation.mean(seen, Scale(4.0, 0.0)) == Evaluation(1.0, {"mae": 2.0}, 0.5)


@pytest.mark.parametrize(
    ("ends", "reference_score", "message"),
    [
        ((1.0, 1.0), None, "task.depth.range = .*differ"),
        (("reference", 0.0), None, "used with a reference"),
        (("reference", 0.5), 0.5, "differ"),
    ],
)
def test_scales_that_are_none_are_refused(
    ends: tuple[object, ...], reference_score: float | None, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        small_task("depth", PLAIN, scale=ends, reference=reference_score)


def test_the_initial_score_ends_a_scale() -> None:
    task = small_task("depth", PLAIN, scale=("initial", 0.0))
    seen = task.evaluate(task.initial, task.validation)
    assert seen.error == 1.0
    assert task.scale == Scale(seen.figures["mae"], 0.0)
    assert small_task("depth", PLAIN).scale is None


def off_by_rank(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).abs()


def constant(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(targets))


def failing(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("of its own")


def share_close(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return ((outputs - targets).abs() < 1.0).double().mean((1, 2))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (off_by_rank, r"of shape \(2,\)"),
        (constant, "differentiated"),
        (failing, "of its own"),
        (lambda outputs, targets: 1.0, r"of shape \(2,\)"),
    ],
)
def test_losses_that_are_none_are_refused(loss: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=rf"task\.depth\.loss.*{message}"):
        small_task("depth", PLAIN, loss=loss)


def test_metrics_that_are_none_are_refused() -> None:
    here = f"{__name__}:share_close"
    with pytest.raises(InvalidInput, match="direction"):
        metrics_of("task.a.metrics", [here])
    with pytest.raises(InvalidInput, match="better = 'up'"):
        metrics_of("task.a.metrics", [{"name": here, "better": "up"}])
    with pytest.raises(InvalidInput, match="absent"):
        metrics_of("task.a.metrics", [{"name": "mae", "better": "higher"}])
    with pytest.raises(InvalidInput, match="different names"):
        metrics_of("task.a.metrics", ["mae", "mae"])
    found = metrics_of("task.a.metrics", [{"name": here, "better": "higher"}])
    task = small_task("depth", PLAIN, metrics=found)
    assert 0.0 <= task.evaluate(task.initial, task.test).score <= 1.0
    with pytest.raises(InvalidInput, match=r"task\.text\.metrics share_close"):
        small_task("text", PLAIN, metrics=found)


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("labels", Data(noise(3), np.full(SIZE, 7), 4), r"7, but it must be in 0 \.\. 3"),
        (
            "attributes",
            Data(noise(3), np.full((SIZE, 5), 2.0), 5),
            r"2\.0, but it must be in 0 \.\. 1",
        ),
        ("text", Data(np.zeros((SIZE, 6), int), np.zeros((SIZE, 5), int), 5), "of shape"),
        ("robust regression", Data(noise(3), np.full(SIZE, np.nan), 1), "all missing"),
    ],
)
def test_targets_that_do_not_fit_are_refused(kind: str, data: Data, message: str) -> None:
    with pytest.raises(InvalidInput, match=rf"task {kind}, .*targets = .*{message}"):
        small_task(kind, PLAIN, data=data)


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("depth", Data(noise(2, 4, 4), np.zeros((SIZE, 4, 5)), 1), r"model must be .*\(n, 4, 5\)"),
        (
            "depth",
            Data(noise(2, 4, 4), np.ones((SIZE, 4), int), 1),
            "loss = 'mae', .*cross-entropy",
        ),
        ("pixels", Data(noise(2, 4, 4), np.zeros((SIZE, 4, 4)), 4), "loss = 'cross-.*mse, mae"),
        ("text", Data(np.zeros((SIZE, 6), int), np.zeros((SIZE, 6)), 5), "loss = 'token-.*mse"),
    ],
)
def test_a_loss_or_model_that_does_not_fit_is_named(kind: str, data: Data, message: str) -> None:
    with pytest.raises(InvalidInput, match=rf"task\.{kind}\.{message}"):
        small_task(kind, PLAIN, data=data)


CLASSES = ["acc", "macro-f1", "miou", "pixel-acc", "token-acc", "perplexity", "exact-match"]
NUMBERS = ["mae", "rmse", "r2"]


@pytest.mark.parametrize("name", [*CLASSES, *NUMBERS, "label-acc", "auc", "average-precision"])
def test_a_metric_refuses_targets_of_another_kind(name: str) -> None:
    """Numbers are no classes, classes no numbers, and a fraction is no label to be ranked."""
    metric = METRICS[name]()
    numbers, classes = torch.tensor([0.4, 0.7, 0.2]), torch.tensor([2, 0, 1])
    cases = [(torch.ones(3, 1), numbers), (torch.ones(3, 3), numbers[:, None].expand(3, 3))]
    if name in NUMBERS:
        cases = [(torch.ones(3, 3), classes)]
    if name == "label-acc":
        cases = [(torch.ones(3, 3), classes), (torch.ones(3, 1), 3.0 * numbers)]
    for outputs, targets in cases:
        with pytest.raises(InvalidInput, match=r"task\.a\.metrics must be one for .*such as"):
            check_metric("task.a.metrics", metric, outputs, targets, 3)
    if name in CLASSES and name != "perplexity":
        with pytest.raises(InvalidInput, match="single number, such as label-acc"):
            check_metric("task.a.metrics", metric, torch.ones(3, 1), classes % 2, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Data(np.zeros(4), np.zeros(4), 1), "mine inputs"),
        (Data(np.zeros((4, 2)), np.zeros(3), 1), "mine targets"),
        (Data(np.full((4, 2), np.inf), np.zeros(4), 1), "finite"),
        (Data(np.zeros((4, 2)), np.full(4, np.inf), 1), "NaN where missing"),
        (Data(np.zeros((4, 2)), np.zeros(4), 0), "mine outputs"),
        (Data(np.zeros((4, 2)), np.zeros(4), ()), "mine outputs"),
        (Data(np.zeros((4, 2)), np.zeros(4), 1, strata=np.zeros(3, int)), "mine strata"),
        (Data(np.zeros((4, 2)), np.array(["a"] * 4), 1), "mine targets"),
    ],
)
def test_data_that_are_none_are_refused(data: Data, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        data.checked("mine")


def test_one_guess_is_not_spread_over_several_targets() -> None:
    """Two outputs of two examples: the guesses would fit each row of targets."""
    outputs, targets = torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.int64)
    for name in ("acc", "macro-f1", "miou"):
        with pytest.raises(InvalidInput, match="shape of the guesses"):
            metric_of("m", name).statistics(outputs, targets)
