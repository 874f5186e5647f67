"""Local training as a user writes it; `docs/extending.md` shows the same lines."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div

from fl_runtime.training.local_training import Client, Trained, train_locally
from fl_runtime.training.task import LocalTraining, Params, float_state


def distil(
    model: nn.Module,
    start: Params,
    client: Client,
    settings: LocalTraining,
    strength: float = 1.0,
) -> Trained:
    """Cross-entropy, and a pull towards what the received model says (Lee et al. 2021)."""
    teacher = copy.deepcopy(model).eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=settings.learning_rate)
    x, y, losses = client.examples.features, client.examples.targets, []
    orders = [torch.randperm(len(y)) for _ in range(settings.local_epochs)]
    for batch in (batch for order in orders for batch in order.split(settings.batch_size)):
        said = model(x[batch]).log_softmax(dim=1)
        with torch.no_grad():
            known = teacher(x[batch]).log_softmax(dim=1)
        pull = kl_div(said, known, reduction="batchmean", log_target=True)
        loss = cross_entropy(said, y[batch]) + strength * pull
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    delta = {key: value - start[key] for key, value in float_state(model).items()}
    mean = {"train_loss": sum(losses) / len(losses)}
    return Trained(delta, mean, client.kept, len(y), len(losses))


def plain(model: nn.Module, start: Params, client: Client, settings: LocalTraining) -> Trained:
    """The runtime's own local training, which obeys everything."""
    return train_locally(model, start, client, settings)


plain.options = ("proximal", "anchor", "examples", "weights")  # type: ignore[attr-defined]


def by_dice(model: nn.Module, start: Params, client: Client, settings: LocalTraining) -> Trained:
    """A step size from a generator that nobody seeds."""
    return train_locally(
        model, start, client, replace(settings, learning_rate=0.1 + random.random() / 10.0)
    )


def by_order(model: nn.Module, start: Params, client: Client, settings: LocalTraining) -> Trained:
    """Longer for every client that was trained before."""
    CALLS.append(1)
    return train_locally(model, start, client, replace(settings, local_epochs=1 + len(CALLS) % 7))


def overwriting(
    model: nn.Module, start: Params, client: Client, settings: LocalTraining
) -> Trained:
    """Changes the parameters that it was sent."""
    trained = train_locally(model, start, client, settings)
    next(iter(start.values())).add_(0.01)
    return trained


def forgetting(model: nn.Module, start: Params, client: Client, settings: LocalTraining) -> Trained:
    """Brings some entries only."""
    trained = train_locally(model, start, client, settings)
    return replace(trained, delta=dict(list(trained.delta.items())[:1]))


def diverging(model: nn.Module, start: Params, client: Client, settings: LocalTraining) -> Trained:
    """Divides by zero."""
    trained = train_locally(model, start, client, settings)
    return replace(trained, delta={key: value / 0.0 for key, value in trained.delta.items()})


def miscounting(
    model: nn.Module, start: Params, client: Client, settings: LocalTraining
) -> Trained:
    """Claims examples that the client does not have."""
    return replace(train_locally(model, start, client, settings), num_examples=1000)


def failing(model: nn.Module, start: Params, client: Client, settings: LocalTraining) -> Trained:
    """Never trains."""
    raise RuntimeError("no")


def nothing(model: nn.Module, start: Params, client: Client, settings: LocalTraining) -> Any:
    """Gives no Trained."""
    return dict(start)


CALLS: list[int] = []
