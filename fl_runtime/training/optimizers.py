r"""Local optimisers, once from PyTorch for one client and once written out for a stack of clients.

SGD with heavy-ball momentum :math:`\mu` (its Nesterov form on request) and L2 penalty
:math:`\lambda`: :math:`g' = g + \lambda w`, :math:`v \leftarrow \mu v + g'`,
:math:`w \leftarrow w - \eta v` (or :math:`w - \eta (g' + \mu v)`).

AdamW with decoupled decay: :math:`w \leftarrow (1 - \eta\lambda) w`, then
:math:`m \leftarrow \beta_1 m + (1-\beta_1) g`, :math:`s \leftarrow \beta_2 s + (1-\beta_2) g^2`,
:math:`w \leftarrow w - \eta \, \hat m / (\sqrt{\hat s} + \epsilon)` with
:math:`\hat m = m / (1 - \beta_1^t)`, :math:`\hat s = s / (1 - \beta_2^t)`.

State that a client keeps is a flat mapping of tensors, ``optimizer:<what>:<entry>`` with the name
that the entry has in its model, on whatever device it was made; whatever else the client keeps
passes through.

A user's own optimiser is called as PyTorch's are, ``(entries, lr=..., **fields)``, starts afresh
with every job, and trains clients one by one.

Source: Sutskever et al. 2013 (momentum forms), Loshchilov and Hutter 2019 (arXiv 1711.05101).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property

import torch
from torch import Tensor, nn

from fairopt.errors import InvalidInput
from fairopt.user_objects import said
from fl_runtime.extensions import Kind, resolve
from fl_runtime.training.stacks import Stack
from fl_runtime.training.task import LocalTraining

BETAS = (0.9, 0.999)
"""Decay of AdamW's two averages, the published defaults."""

EPSILON = 1e-8
"""AdamW's guard against division by zero, the published default."""

GUARD = 1e-6
"""Added to a norm before it divides, as in PyTorch's clipping."""

STATE = "optimizer"
"""First word of the names of kept optimiser state."""

MOMENTUM = "momentum_buffer"
"""What SGD remembers of an entry, as PyTorch names it."""

SLOTS: Mapping[str, tuple[str, ...]] = {
    "sgd": (MOMENTUM,),
    "adamw": ("exp_avg", "exp_avg_sq"),
}
"""Tensors per entry that an optimiser remembers, as PyTorch names them."""

OPTIMIZER = Kind(
    "local optimiser",
    "task.optimizer",
    {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW},
    arguments=("params", "lr"),
)
"""What clients can train with."""

Kept = Mapping[str, Tensor]


def make_optimizer(
    named: Mapping[str, nn.Parameter | Tensor], settings: LocalTraining, kept: Kept
) -> torch.optim.Optimizer:
    """PyTorch's optimiser for these entries, with the state the client kept, if any."""
    entries = list(named.values())
    optimizer: torch.optim.Optimizer
    if ":" in settings.optimizer:
        return _clipping(_own_optimizer(entries, settings), entries, settings)
    if settings.optimizer == "adamw":
        optimizer = torch.optim.AdamW(
            entries,
            lr=settings.learning_rate,
            betas=BETAS,
            eps=EPSILON,
            weight_decay=settings.weight_decay,
        )
    else:
        optimizer = torch.optim.SGD(
            entries,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=settings.nesterov,
        )
    for key, entry in named.items() if kept else ():
        found = {slot: kept[name] for slot, name in _names(settings, key) if name in kept}
        if found:
            optimizer.state[entry] = {
                slot: value.clone().to("cpu" if slot == "step" else entry.device)
                for slot, value in found.items()
            }
    return _clipping(optimizer, entries, settings)


def _clipping(
    optimizer: torch.optim.Optimizer,
    entries: Sequence[nn.Parameter | Tensor],
    settings: LocalTraining,
) -> torch.optim.Optimizer:
    """The optimiser, which shortens gradients before it steps if the settings say so."""
    longest = settings.clip_gradient
    if longest is not None:

        def clip(*_: object) -> None:
            nn.utils.clip_grad_norm_(entries, longest)

        optimizer.register_step_pre_hook(clip)
    return optimizer


def _own_optimizer(
    entries: Sequence[nn.Parameter | Tensor], settings: LocalTraining
) -> torch.optim.Optimizer:
    """A user's own optimiser."""
    fields = settings.optimizer_fields
    make = resolve(OPTIMIZER, settings.optimizer, fields=fields)
    try:
        made = make(entries, lr=settings.learning_rate)
    except Exception as error:  # whatever the user's optimiser does when it is made
        requirement = f"one that can be made with (entries, lr=...) ({said(error)})"
        raise InvalidInput("optimizer", settings.optimizer, requirement) from error
    if not isinstance(made, torch.optim.Optimizer):
        raise InvalidInput("optimizer", settings.optimizer, "a torch.optim.Optimizer")
    return made


def optimizer_state(
    optimizer: torch.optim.Optimizer,
    named: Mapping[str, nn.Parameter | Tensor],
    settings: LocalTraining,
) -> dict[str, Tensor]:
    """What the client keeps of it; entries that never had a gradient have none."""
    return {
        name: optimizer.state[entry][slot].detach().clone()
        for key, entry in named.items()
        if entry in optimizer.state
        for slot, name in _names(settings, key)
        if isinstance(optimizer.state[entry].get(slot), Tensor)
    }


def entry_of(name: str) -> str:
    """The entry that kept state is about; empty for what is no optimiser state.

    Example:
        >>> entry_of("optimizer:exp_avg:3.weight"), entry_of("optimizer:step:a task|3.weight")
        ('3.weight', 'a task|3.weight')
    """
    word, _, rest = name.partition(":")
    return rest.partition(":")[2] if word == STATE else ""


def renamed(kept: Kept, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Kept optimiser state of some entries, under other names of these.

    Args:
        kept: What a client keeps.
        names: New names by old ones; what is about no entry of these is left out.
    """
    return {
        name.removesuffix(entry) + names[entry]: value
        for name, value in kept.items()
        for entry in [entry_of(name)]
        if entry in names
    }


class PlainSteps:
    """`torch.optim.SGD` without what surrounds it: the same operations in the same order.

    An optimiser is made for every job and looks after hooks, groups and scalers at every step:
    for small models that takes longer than the step.
    """

    def __init__(
        self, named: Mapping[str, nn.Parameter | Tensor], settings: LocalTraining, kept: Kept
    ) -> None:
        self._named, self._settings = named, settings
        found = {key: kept[name] for key in named if (name := _name(MOMENTUM, key)) in kept}
        self._speed = {key: value.clone().to(named[key].device) for key, value in found.items()}

    def step(self, slopes: Mapping[str, Tensor]) -> None:
        """One step in place, for the entries that have a gradient."""
        settings, keys = self._settings, list(slopes)
        values, moves = [self._named[key].detach() for key in keys], list(slopes.values())
        if settings.weight_decay:
            moves = list(torch._foreach_add(moves, values, alpha=settings.weight_decay))
        if settings.momentum:
            self._gather_speed(keys, moves)
            speed = [self._speed[key] for key in keys]
            ahead = torch._foreach_add(moves, speed, alpha=settings.momentum)
            moves = list(ahead) if settings.nesterov else speed
        if values:
            torch._foreach_add_(values, moves, alpha=-settings.learning_rate)

    def _gather_speed(self, keys: Sequence[str], slopes: Sequence[Tensor]) -> None:
        """Decay what is remembered and add the gradients, which are the first of some entries."""
        old = [(self._speed[k], g) for k, g in zip(keys, slopes, strict=True) if k in self._speed]
        if old:
            speed, fresh = map(list, zip(*old, strict=True))
            torch._foreach_mul_(speed, self._settings.momentum)
            torch._foreach_add_(speed, fresh)
        for key, slope in zip(keys, slopes, strict=True):
            if key not in self._speed:
                self._speed[key] = slope.detach().clone()

    def kept(self) -> dict[str, Tensor]:
        """What the client keeps, as `optimizer_state` gives it."""
        return {_name(MOMENTUM, key): value.clone() for key, value in self._speed.items()}


class StackedOptimizer:
    """The same steps for entries with a leading client axis; clients may stand still."""

    def __init__(self, settings: LocalTraining, now: Stack, kept: Sequence[Kept]) -> None:
        if ":" in settings.optimizer:
            raise NotImplementedError(f"{settings.optimizer} steps one client at a time")
        self._settings = settings
        self._slots = {
            (slot, key): torch.stack(
                [client.get(_name(slot, key), torch.zeros_like(value[0])) for client in kept]
            )
            for key, value in now.items()
            for slot in remembered(settings)
        }
        adam = settings.optimizer == "adamw"
        self._steps = {key: _step_counts(key, value, kept) for key, value in now.items() if adam}

    def step(self, now: Stack, slopes: Stack, moving: Tensor | None) -> None:
        """One step in place, for the clients that still move (None for all of them)."""
        slopes = clipped(slopes, self._settings.clip_gradient)
        move = self._adamw if self._settings.optimizer == "adamw" else self._sgd
        for key, value in now.items():
            move(key, value, slopes[key], moving)

    def slot(self, what: str, key: str) -> Tensor:
        """What is remembered of an entry, for all clients; a kernel may step on it in place."""
        return self._slots[what, key]

    def kept(self, client: int) -> dict[str, Tensor]:
        """The state of one client of the stack, as `optimizer_state` would give it."""
        state = {
            _name(slot, key): rows[client].clone() for (slot, key), rows in self._slots.items()
        }
        counts = self._counts_at_the_end
        return state | {_name("step", key): count[client] for key, count in counts.items()}

    @cached_property
    def _counts_at_the_end(self) -> dict[str, Tensor]:
        """Steps of each client when training is over, as AdamW keeps them: brought once for all."""
        return {key: count.to("cpu", torch.float32) for key, count in self._steps.items()}

    def _sgd(self, key: str, value: Tensor, slope: Tensor, moving: Tensor | None) -> None:
        """Heavy-ball or Nesterov."""
        settings, move = self._settings, slope
        if settings.weight_decay:
            slope = move = slope.add(value, alpha=settings.weight_decay)
        if settings.momentum:
            speed = self._slots[MOMENTUM, key]
            if moving is None:
                torch.add(slope, speed, alpha=settings.momentum, out=speed)
            else:
                _assign(speed, torch.add(slope, speed, alpha=settings.momentum), moving)
            move = slope.add(speed, alpha=settings.momentum) if settings.nesterov else speed
        if moving is None:
            value.sub_(move, alpha=settings.learning_rate)
        else:
            _assign(value, value.sub(move, alpha=settings.learning_rate), moving)

    def _adamw(self, key: str, value: Tensor, slope: Tensor, moving: Tensor | None) -> None:
        """Adam with decoupled weight decay, each client at its own step number."""
        settings, (first, second) = self._settings, BETAS
        mean, square = self._slots["exp_avg", key], self._slots["exp_avg_sq", key]
        self._steps[key] += 1.0 if moving is None else moving
        _assign(mean, torch.lerp(mean, slope, 1.0 - first), moving)
        _assign(square, square * second + slope * slope * (1.0 - second), moving)
        steps = self._steps[key].clamp(min=1.0).view(-1, *(1 for _ in value.shape[1:]))
        size = (settings.learning_rate / (1.0 - first**steps)).to(value.dtype)
        root = (1.0 - second**steps).sqrt().to(value.dtype)
        decayed = value * (1.0 - settings.learning_rate * settings.weight_decay)
        _assign(value, decayed - size * (mean / (square.sqrt() / root + EPSILON)), moving)


def clipped(slopes: Stack, longest: float | None) -> Stack:
    """Gradients of every client, shortened as `torch.nn.utils.clip_grad_norm_` does it."""
    if longest is None:
        return slopes
    norms = [torch.linalg.vector_norm(value.flatten(1), dim=1) for value in slopes.values()]
    factors = (longest / (torch.stack(norms).norm(dim=0) + GUARD)).clamp(max=1.0)
    shapes = {key: (-1, *(1 for _ in value.shape[1:])) for key, value in slopes.items()}
    return {key: value * factors.view(shapes[key]) for key, value in slopes.items()}


def _assign(target: Tensor, value: Tensor, moving: Tensor | None) -> None:
    """Overwrite the rows of the clients that move."""
    if moving is not None:
        value = torch.where(moving.view(-1, *(1 for _ in value.shape[1:])), value, target)
    target.copy_(value)


def _step_counts(key: str, value: Tensor, kept: Sequence[Kept]) -> Tensor:
    """Steps that each client has done before, in float64."""
    none = torch.zeros(())
    counts = [client.get(_name("step", key), none) for client in kept]
    return torch.stack([count.double() for count in counts]).to(value.device)


def numbers_kept(settings: LocalTraining) -> int:
    """Numbers of optimiser state per parameter."""
    return len(remembered(settings))


def remembered(settings: LocalTraining) -> tuple[str, ...]:
    """What an optimiser remembers per entry; plain SGD remembers nothing."""
    plain = settings.optimizer == "sgd" and settings.momentum == 0.0
    return () if plain else SLOTS[settings.optimizer]


def precision_context(
    settings: LocalTraining, device: torch.device
) -> AbstractContextManager[None]:
    """Automatic mixed precision where the settings say so."""
    if settings.precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def _names(settings: LocalTraining, key: str) -> Iterator[tuple[str, str]]:
    """Every slot of an entry with its name in a client's kept state."""
    slots = SLOTS[settings.optimizer]
    for slot in (*slots, "step") if settings.optimizer == "adamw" else slots:
        yield slot, _name(slot, key)


def _name(slot: str, key: str) -> str:
    """Where a client keeps it."""
    return f"{STATE}:{slot}:{key}"
