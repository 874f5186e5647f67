"""One client's local update: the reference implementation of every faster executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fl_runtime.data.inputs import called
from fl_runtime.random_streams import shuffled_orders
from fl_runtime.training.examples import Examples
from fl_runtime.training.job_options import JobOptions
from fl_runtime.training.losses import CROSS_ENTROPY, Loss, batch_mean
from fl_runtime.training.optimizers import (
    PlainSteps,
    make_optimizer,
    optimizer_state,
    precision_context,
)
from fl_runtime.training.task import LocalTraining, Params, float_state, load_params


@dataclass(frozen=True)
class Trained:
    """What local training changed.

    Attributes:
        delta: Trained entries minus the payload's.
        metrics: `train_loss`, the mean over all that was counted in all steps, and what else the
            job's options have measured; tensors without an axis until they are `settled`.
        client_state: What the client keeps.
        num_examples: Examples trained on that have a target, repeats counted.
        num_steps: Steps of the optimiser.
    """

    delta: Params
    metrics: Mapping[str, Any]
    client_state: Mapping[str, Tensor]
    num_examples: int
    num_steps: int

    def only(self, sent: Params) -> Trained:
        """Without differences of entries that are not sent."""
        if self.delta.keys() == sent.keys():
            return self
        return replace(self, delta={k: value for k, value in self.delta.items() if k in sent})


@dataclass(frozen=True)
class Client:
    """One client's side of a job.

    Attributes:
        examples: The client's shard.
        seed: Of the order of the examples.
        options: Of the job, beyond the settings.
        kept: What the client kept from its last job.
    """

    examples: Examples
    seed: int
    options: JobOptions = field(default_factory=JobOptions)
    kept: Mapping[str, Tensor] = field(default_factory=dict)


def train_locally(
    model: nn.Module,
    start: Params,
    client: Client,
    settings: LocalTraining,
    loss: Loss = CROSS_ENTROPY,
) -> Trained:
    r"""Train on one client's examples and return what changed.

    Problem: from :math:`\theta_0` = `start`, `local_epochs` passes of minibatch steps on the mean
    loss of the client's examples, in the order of its seed, plus
    :math:`\tfrac{\mu}{2} \|\theta - \theta_0\|^2` where the job has a `proximal` :math:`\mu` (with
    its `anchor` instead of :math:`\theta_0` where it has one).

    Args:
        model: Module of the right structure; its weights are overwritten.
        start: Parameters the server sent.
        client: Shard, seed, options of the job, kept state.
        settings: Optimiser, step size, passes, batch size, precision.
        loss: The task's.

    Source: local SGD of federated averaging; the proximal term of FedProx (arXiv 1812.06127),
    equation (2), enters as its gradient, and not into the reported loss.
    """
    return settled([train_on_device(model, start, client, settings, loss)])[0]


def settled(trained: Sequence[Trained]) -> list[Trained]:
    """The same with metrics as numbers, which are brought from a device at once."""
    waiting = [one.metrics for one in trained]
    tensors = [value for each in waiting for value in each.values() if isinstance(value, Tensor)]
    numbers = iter(torch.stack(tensors).tolist() if tensors else [])
    return [
        replace(
            one,
            metrics={
                name: next(numbers) if isinstance(value, Tensor) else value
                for name, value in one.metrics.items()
            },
        )
        for one in trained
    ]


def train_on_device(
    model: nn.Module, start: Params, client: Client, settings: LocalTraining, loss: Loss
) -> Trained:
    """`train_locally` without waiting for the device: its metrics are still to be `settled`."""
    load_params(model, start)
    examples = client.options.selected(client.examples)
    metrics: dict[str, Tensor] = {}
    if client.options.measure_start:
        metrics["start_loss"] = mean_loss(model, examples, loss)
    model.train()
    named = {key: value for key, value in model.named_parameters() if value.requires_grad}
    descent = _descent(named, client, start, settings)
    losses, counts = [], []
    for batch in index_batches(len(examples), settings, client.seed, examples.targets.device):
        value, count = batch_loss(model, examples, batch, settings, loss)
        descent.step(value)
        losses.append(value.detach())
        counts.append(count)
    if client.options.measure_end:
        metrics["end_loss"] = mean_loss(model, examples, loss)
    kept = descent.kept() if settings.persist_optimizer else {}
    return Trained(
        num_steps=len(losses),
        delta={key: value - start[key] for key, value in float_state(model).items()},
        metrics={"train_loss": _weighted_mean(losses, counts), **metrics},
        client_state={**client.kept, **kept},
        num_examples=settings.weight_of(examples),
    )


class _Descent(Protocol):
    """Steps down a loss."""

    def step(self, value: Tensor) -> None:
        """One step."""
        ...

    def kept(self) -> dict[str, Tensor]:
        """What the client keeps of it."""
        ...


def _descent(
    named: Mapping[str, nn.Parameter], client: Client, start: Params, settings: LocalTraining
) -> _Descent:
    """What makes the steps of a client: plain SGD needs no optimiser."""
    pulled_to = client.options.anchor or start, client.options.proximal
    if settings.optimizer == "sgd" and settings.clip_gradient is None:
        return _Plain(PlainSteps(named, settings, client.kept), named, *pulled_to)
    optimizer = make_optimizer(named, settings, client.kept)
    return _ByOptimizer(optimizer, named, settings, *pulled_to)


@dataclass(frozen=True)
class _Plain:
    """Gradients that belong to nobody, and SGD: what `_ByOptimizer` does, to the last bit."""

    steps: PlainSteps
    named: Mapping[str, nn.Parameter]
    anchor: Params
    proximal: float

    def step(self, value: Tensor) -> None:
        """One step."""
        slopes = torch.autograd.grad(value, list(self.named.values()), allow_unused=True)
        found = {key: g for key, g in zip(self.named, slopes, strict=True) if g is not None}
        with torch.no_grad():
            self.steps.step(pulled(found, self.named, self.anchor, self.proximal))

    def kept(self) -> dict[str, Tensor]:
        """What the client keeps of it."""
        return self.steps.kept()


@dataclass(frozen=True)
class _ByOptimizer:
    """Gradients of the parameters, and an optimiser of PyTorch's kind."""

    optimizer: torch.optim.Optimizer
    named: Mapping[str, nn.Parameter]
    settings: LocalTraining
    anchor: Params
    proximal: float

    def step(self, value: Tensor) -> None:
        """One step."""
        self.optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        pull(self.named, self.anchor, self.proximal)
        self.optimizer.step()

    def kept(self) -> dict[str, Tensor]:
        """What the client keeps of it."""
        return optimizer_state(self.optimizer, self.named, self.settings)


def _weighted_mean(losses: Sequence[Tensor], counts: Sequence[Tensor]) -> Tensor:
    """Mean loss over all that was counted in all steps."""
    seen = torch.stack(list(losses))
    weights = torch.stack(list(counts)).to(seen.dtype)
    return seen @ weights / weights.sum().clamp(min=1.0)


def batch_loss(
    model: Callable[..., Tensor],
    examples: Examples,
    batch: Tensor,
    settings: LocalTraining,
    loss: Loss = CROSS_ENTROPY,
) -> tuple[Tensor, Tensor]:
    """Mean loss of one batch, each example times its weight where there are weights; its count."""
    some = examples.at(batch.to(examples.targets.device))
    with precision_context(settings, examples.targets.device):
        outputs = called(model, some.features)
    return batch_mean(
        loss,
        at_least_float32(outputs),
        some.targets,
        weights=some.weights,
        complete=examples.complete,
    )


def at_least_float32(outputs: Tensor) -> Tensor:
    """Outputs of mixed precision in single precision; a loss is never computed in less."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


def mean_loss(model: nn.Module, examples: Examples, loss: Loss = CROSS_ENTROPY) -> Tensor:
    """Mean loss over all examples, unweighted and in evaluation mode."""
    model.eval()
    with torch.no_grad():
        outputs = called(model, examples.features)
        return batch_mean(loss, outputs, examples.targets, complete=examples.complete)[0]


def pull(named: Mapping[str, Tensor], anchor: Params, proximal: float) -> None:
    """Add the gradient of the proximal term to those of the parameters."""
    if proximal:
        for key, value in named.items():
            if value.grad is not None and key in anchor:
                value.grad.add_(value.detach() - anchor[key], alpha=proximal)


def pulled(
    slopes: Mapping[str, Tensor], named: Mapping[str, Tensor], anchor: Params, proximal: float
) -> Mapping[str, Tensor]:
    """Gradients with that of the proximal term; one may be the memory of another, and stays."""
    if not proximal:
        return slopes
    return {
        key: slope.add(named[key].detach() - anchor[key], alpha=proximal)
        if key in anchor
        else slope
        for key, slope in slopes.items()
    }


def index_batches(
    count: int, settings: LocalTraining, seed: int, device: torch.device | str = "cpu"
) -> list[Tensor]:
    """Index batches of all passes, each pass in a fresh order."""
    (orders,) = torch.from_numpy(shuffled_orders([seed], settings.local_epochs, count)).to(device)
    return [batch for order in orders for batch in torch.split(order, settings.batch_size)]
