"""Local training: optimisers by their equations, one task alone or several on one trunk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fl_runtime.random_streams import shuffled_orders, torch_seed
from tests.fl_runtime.twin import directions, nets
from tests.fl_runtime.twin.data import Set
from tests.fl_runtime.twin.nets import Model

Memory = dict[str, dict[str, Any]]
"""What an optimiser remembers, by entry."""


@dataclass
class Optimiser:
    """SGD with momentum and L2 penalty, or AdamW with decoupled decay."""

    settings: Any
    memory: Memory

    def step(self, model: Model, grads: Model) -> None:
        """One step in place, of the entries that have a gradient."""
        move = self._adamw if self.settings.optimizer == "adamw" else self._sgd
        for key, g in grads.items():
            model[key] = move(self.memory.setdefault(key, {}), model[key], g)

    def _sgd(self, kept: dict[str, Any], w: Any, g: Any) -> Any:
        """Momentum v = mu v + g', w -= eta v, or eta (g' + mu v) with Nesterov."""
        s = self.settings
        g = g + s.weight_decay * w
        if not s.momentum:
            return w - s.learning_rate * g
        kept["v"] = v = s.momentum * kept.get("v", 0.0) + g
        return w - s.learning_rate * (g + s.momentum * v if s.nesterov else v)

    def _adamw(self, kept: dict[str, Any], w: Any, g: Any) -> Any:
        """Loshchilov and Hutter, algorithm 2."""
        s, b1, b2 = self.settings, 0.9, 0.999
        kept["t"] = t = kept.get("t", 0) + 1
        kept["m"] = m = b1 * kept.get("m", 0.0) + (1 - b1) * g
        kept["s"] = v = b2 * kept.get("s", 0.0) + (1 - b2) * g * g
        step = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
        return (1 - s.learning_rate * s.weight_decay) * w - s.learning_rate * step


@dataclass
class Work:
    """What a client is to do for one task."""

    settings: Any
    data: Set
    start: Model
    seed: int
    memory: Memory = field(default_factory=dict)
    mu: float = 0.0
    anchor: Model | None = None
    scale: float = 1.0


@dataclass
class Done:
    """What came of it."""

    delta: Model
    loss: float
    memory: Memory
    examples: int
    outcomes: Counter[str] = field(default_factory=Counter)
    close: bool = False


def batches(work: Work, clients: Any) -> list[Any]:
    """Positions of every step."""
    n = len(work.data.y)
    (orders,) = shuffled_orders([work.seed], clients.local_epochs, n)
    return [
        order[first : first + clients.batch_size]
        for order in orders
        for first in range(0, n, clients.batch_size)
    ]


def copied(memory: Memory) -> Memory:
    """A copy that may be changed."""
    return {key: dict(kept) for key, kept in memory.items()}


def alone(work: Work, clients: Any) -> Done:
    """One task."""
    model, loss = dict(work.start), 0.0
    optimiser = Optimiser(work.settings, copied(work.memory))
    for rows in batches(work, clients):
        seen, grads = nets.gradient(model, work.data.at(rows), work.scale)
        _pull(grads, model, work)
        optimiser.step(model, grads)
        loss += seen * len(rows)
    n = len(work.data.y)
    mean = loss / (clients.local_epochs * n)
    return Done(nets.minus(model, work.start), mean, optimiser.memory, n)


def _pull(grads: Model, model: Model, work: Work) -> None:
    """The gradient of mu / 2 |w - anchor|^2."""
    anchor = work.start if work.anchor is None else work.anchor
    for key in grads:
        if work.mu and key in anchor:
            grads[key] = grads[key] + work.mu * (model[key] - anchor[key])


Chooser = Callable[[Any, Sequence[int], int], tuple[Any, str]]
"""From gradients in rows, their tasks and a seed to weights and an outcome."""


def together(
    works: Sequence[Work],
    trunk: Sequence[str],
    choose: Chooser,
    clients: Any,
    factor: Callable[[float], float] = lambda loss: 1.0,
) -> list[Done]:
    """Several tasks on one trunk: the trunk along a common direction, every head along its own.

    What the optimiser remembers of the trunk is the first work's; of heads, each one's. Gradients
    are multiplied by a factor that depends on the loss.
    """
    memory = {key: kept for key, kept in works[0].memory.items() if key in trunk}
    optimiser = Optimiser(works[0].settings, copied(memory))
    heads = [
        Optimiser(works[0].settings, copied({k: v for k, v in w.memory.items() if k not in trunk}))
        for w in works
    ]
    models = [dict(work.start) for work in works]
    base = nets.part(models[0], trunk)
    plans = [batches(work, clients) for work in works]
    losses, outcomes, close = [0.0] * len(works), Counter[str](), False
    for number in range(max(map(len, plans))):
        there = [k for k, plan in enumerate(plans) if number < len(plan)]
        grads = {}
        for k in there:
            rows = plans[k][number]
            seen, grads[k] = nets.gradient({**models[k], **base}, works[k].data.at(rows))
            grads[k] = {key: factor(seen) * slope for key, slope in grads[k].items()}
            losses[k] += seen * len(rows)
        parts = [nets.part(grads[k], trunk) for k in there]
        rows = np.array([nets.vector(piece) for piece in parts])
        weights, how = choose(rows, there, torch_seed(works[0].seed, "joint", number))
        outcomes[how] += 1
        close |= directions.is_close(rows)
        common = nets.total(parts, list(weights))
        _pull(common, base, works[0])
        optimiser.step(base, common)
        for k in there:
            own = {key: g for key, g in grads[k].items() if key not in trunk}
            _pull(own, models[k], works[k])
            heads[k].step(models[k], own)
    return [
        Done(
            nets.minus({**models[k], **base}, work.start),
            losses[k] / (clients.local_epochs * len(work.data.y)),
            {**optimiser.memory, **heads[k].memory},
            len(work.data.y),
            outcomes if k == 0 else Counter(),
            close,
        )
        for k, work in enumerate(works)
    ]
