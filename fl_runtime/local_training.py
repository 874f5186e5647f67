"""One client's local update: the readable version that every faster executor must agree with."""

from __future__ import annotations

import torch
from numpy.random import Generator
from torch import Tensor, nn

from fl_runtime.task import Examples, LocalTraining, Params, float_state, load_params


def train_locally(
    model: nn.Module, start: Params, examples: Examples, settings: LocalTraining, rng: Generator
) -> tuple[dict[str, Tensor], float]:
    r"""Run local SGD and return what changed.

    Problem: from :math:`\theta_0` = `start`, `local_epochs` passes of minibatch SGD on the mean
    cross-entropy of the client's examples, in the order drawn from `rng`.

    Args:
        model: Module of the right structure; its weights are overwritten.
        start: Parameters the server sent.
        examples: The client's shard.
        settings: Step size, passes, batch size, momentum, weight decay.
        rng: Draws the order of the examples.

    Returns:
        The difference :math:`\theta_{end} - \theta_0` per entry, and the mean training loss over
        all steps, weighted by batch size.
    """
    load_params(model, start)
    model.train()
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    total = torch.zeros((), device=examples.labels.device)
    for batch in index_batches(len(examples), settings, rng):
        index = batch.to(examples.labels.device)
        loss = nn.functional.cross_entropy(model(examples.features[index]), examples.labels[index])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.detach() * len(batch)
    delta = {key: value - start[key] for key, value in float_state(model).items()}
    return delta, float(total) / (settings.local_epochs * len(examples))


def index_batches(count: int, settings: LocalTraining, rng: Generator) -> list[Tensor]:
    """Index batches of all passes, each pass in a fresh order."""
    return [
        batch
        for _ in range(settings.local_epochs)
        for batch in torch.split(torch.from_numpy(rng.permutation(count)), settings.batch_size)
    ]
