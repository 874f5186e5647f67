r"""Fully connected models of many clients: products of stacks of matrices, and gradients by hand.

Problem: the step of `stacked.train_stack` for models ``Flatten, Linear, ReLU, ..., Linear`` (the
families `linear` and `mlp`, and whatever is built like them). With inputs :math:`a_0` of a batch,

.. math::
    z_l = a_{l-1} W_l^\top + b_l, \qquad a_l = \max(z_l, 0),

and :math:`g_l` the gradient with respect to :math:`z_l`,

.. math::
    \nabla W_l = g_l^\top a_{l-1}, \qquad \nabla b_l = \sum_i g_{l,i}, \qquad
    g_{l-1} = (g_l W_l) \odot [a_{l-1} > 0].

Method: one batched product per layer and direction for all clients. Only the loss itself is left to
autograd. Steps of plain or heavy-ball SGD are part of the product that makes the gradient, which is
then never stored: :math:`W \leftarrow (1 - \eta\lambda) W - \eta\, g^\top a`, or
:math:`v \leftarrow \mu v + g^\top a`. So less memory moves than numbers are multiplied.

Guarantee: what `torch.func` gives, up to the rounding of sums in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fl_runtime.training.losses import LOSSES, Loss, loss_parts
from fl_runtime.training.models import AsFloat
from fl_runtime.training.optimizers import MOMENTUM, StackedOptimizer
from fl_runtime.training.stacks import Stack
from fl_runtime.training.task import LocalTraining, Task, output_shape

Seen = tuple[Tensor, Tensor]
"""(clients,) mean losses of a batch, and how much was counted."""


@dataclass(frozen=True)
class Layer:
    """A linear layer, by the names of its entries.

    Attributes:
        weight: (outputs, inputs) in every client's model.
        bias: (outputs,); None if there is none.
    """

    weight: str
    bias: str | None


@dataclass(frozen=True)
class DenseChain:
    """Losses and gradients of a stack of fully connected models.

    Attributes:
        layers: From the first to the last, with a ReLU between any two.
        outputs: Shape of what the model gives for one example.
        loss: The task's.

    Example:
        >>> chain = DenseChain((Layer("w", None),), (2,), LOSSES["mse"]())
        >>> one = torch.ones(1, 1)  # a client with one example of one feature
        >>> batch = one[:, :, None], torch.zeros(1, 1, 2), one, one
        >>> chain.slopes({"w": torch.ones(1, 2, 1)}, {}, *batch)[0]["w"].flatten()
        tensor([1., 1.])
    """

    layers: tuple[Layer, ...]
    outputs: tuple[int, ...]
    loss: Loss

    @classmethod
    def of(cls, task: Task) -> DenseChain | None:
        """The kernel of a task; None where its model, loss or training is of another kind."""
        example = task.validation.at(slice(1)).features
        if not is_dense(task.model, example, task.loss, task.training):
            return None
        layers = dense_layers(task.model, example)
        return cls(layers or (), output_shape(task), task.loss)

    def losses(
        self,
        params: Stack,
        still: Stack,
        features: Tensor,
        targets: Tensor,
        weights: Tensor,
        mask: Tensor,
    ) -> Seen:
        """Weighted mean of the loss over what is counted, for every client; and that count."""
        return self._judged(self._forward(params, features)[-1], targets, weights, mask)

    def slopes(
        self,
        params: Stack,
        still: Stack,
        features: Tensor,
        targets: Tensor,
        weights: Tensor,
        mask: Tensor,
    ) -> tuple[Stack, Seen]:
        """Gradients of these losses, and the losses."""
        found: Stack = {}

        def keep(key: str, left: Tensor, right: Tensor | None) -> None:
            found[key] = left.sum(dim=1) if right is None else left.transpose(1, 2) @ right

        seen = self._backward(params, (features, targets, weights, mask), keep)
        return {key: found[key] for key in params}, seen

    def descend(
        self,
        params: Stack,
        optimizer: StackedOptimizer,
        settings: LocalTraining,
        batch: Sequence[Tensor],
    ) -> Seen:
        """A step in place of every client, for settings that are `fusible`; the losses before."""
        rate, decay, inertia = settings.learning_rate, settings.weight_decay, settings.momentum

        def step(key: str, left: Tensor, right: Tensor | None) -> None:
            value = params[key]
            if not inertia:
                _add_product(value, left, right, keep=1.0 - rate * decay, times=-rate)
                return
            speed = optimizer.slot(MOMENTUM, key)
            _add_product(speed, left, right, keep=inertia, times=1.0)
            if decay:
                speed.add_(value, alpha=decay)
            value.sub_(speed, alpha=rate)

        return self._backward(params, batch, step)

    def _forward(self, params: Stack, features: Tensor) -> list[Tensor]:
        """(clients, batch, ...) inputs of every layer, then the outputs."""
        seen = [features.flatten(2).to(params[self.layers[0].weight].dtype)]
        for number, layer in enumerate(self.layers, start=1):
            weight = params[layer.weight].transpose(1, 2)
            if layer.bias is None:
                made = seen[-1] @ weight
            else:
                made = torch.baddbmm(params[layer.bias].unsqueeze(1), seen[-1], weight)
            seen.append(made.relu_() if number < len(self.layers) else made)
        return seen

    def _judged(self, outputs: Tensor, targets: Tensor, weights: Tensor, mask: Tensor) -> Seen:
        """Mean losses of (clients, batch, ...) outputs; examples of all clients are one batch."""
        flat = outputs.reshape(-1, *self.outputs)
        sums, counts = loss_parts(self.loss, flat, targets.flatten(0, 1))
        count = (counts.view_as(mask) * mask).sum(dim=1)
        return (sums.view_as(mask) * weights).sum(dim=1) / count.clamp(min=1.0), count

    def _backward(
        self,
        params: Stack,
        batch: Sequence[Tensor],
        take: Callable[[str, Tensor, Tensor | None], None],
    ) -> Seen:
        """Hand the factors of every entry's gradient to `take`, from the last layer to the first.

        A weight's gradient is the product of the two, transposed first; a bias has one factor. The
        gradient of the layer below is made before an entry is handed over, which may change it.
        """
        features, *rest = batch
        with torch.no_grad():
            *inputs, outputs = self._forward(params, features)
        leaf = outputs.requires_grad_()
        with torch.enable_grad():
            values, count = self._judged(leaf, *rest)
            (g,) = torch.autograd.grad(values.sum(), leaf)
        with torch.no_grad():
            for layer, a in zip(reversed(self.layers), reversed(inputs), strict=True):
                below = None if layer is self.layers[0] else g @ params[layer.weight]
                take(layer.weight, g, a)
                if layer.bias is not None:
                    take(layer.bias, g, None)
                if below is not None:
                    g = torch.ops.aten.threshold_backward(below, a, 0)
        return values.detach(), count


def fusible(settings: LocalTraining, proximal: float) -> bool:
    """Whether a step can be part of the product that makes the gradient."""
    plain = settings.optimizer == "sgd" and not settings.nesterov
    return plain and settings.clip_gradient is None and not proximal


def is_dense(model: nn.Module, example: Any, loss: Loss, training: LocalTraining) -> bool:
    """Whether a task is one for this kernel, by its shape alone.

    Args:
        model: See `dense_layers`.
        example: (1, ...) of its inputs, or several by name, which are never dense.
        loss: One of `losses.LOSSES`, which are known to be of each example alone.
        training: In single precision, with a built-in optimiser.
    """
    plain = training.precision == "float32" and ":" not in training.optimizer
    known = plain and isinstance(example, Tensor) and type(loss) in LOSSES.values()
    return known and dense_layers(model, example) is not None


def dense_layers(model: nn.Module, example: Tensor) -> tuple[Layer, ...] | None:
    """The layers of a fully connected model; None if it is something else.

    Args:
        model: Nested `nn.Sequential` of an optional `nn.Flatten`, then `nn.Linear` with `nn.ReLU`
            between them, perhaps an `nn.Unflatten`; all of it trained, nothing shared or hooked.
        example: (1, ...) of its inputs.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> dense_layers(model, torch.zeros(1, 2, 2))
        (Layer(weight='1.weight', bias='1.bias'), Layer(weight='3.weight', bias='3.bias'))
    """
    parts = list(_parts(model))
    if any(map(_is_hooked, model.modules())):
        return None
    if parts and type(parts[0][1]) is AsFloat:
        parts = parts[1:]
    elif not example.is_floating_point():
        return None
    flat = bool(parts) and _flattens(parts[0][1])
    if not flat and example.ndim != 2:
        return None
    parts = parts[1:] if flat else parts
    parts = parts[:-1] if parts and type(parts[-1][1]) is nn.Unflatten else parts
    kinds = [type(part) for _, part in parts]
    if len(kinds) % 2 == 0 or kinds != [nn.Linear, nn.ReLU] * (len(kinds) // 2) + [nn.Linear]:
        return None
    layers = tuple(
        Layer(f"{name}weight", None if part.bias is None else f"{name}bias")
        for name, part in parts[::2]
    )
    return layers if _are_all(layers, model, example) else None


def _are_all(layers: Sequence[Layer], model: nn.Module, example: Tensor) -> bool:
    """Whether these are all entries of a model, each once, trained, and of one precision."""
    named = {name for layer in layers for name in (layer.weight, layer.bias) if name}
    values = dict(model.named_parameters())
    kinds = {value.dtype for value in values.values()}
    alike = len(kinds) == 1 and (example.dtype in kinds or not example.is_floating_point())
    trained = all(value.requires_grad for value in values.values())
    return alike and trained and named == values.keys() == model.state_dict().keys()


def _parts(module: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules that are called one after the other, with the prefix of their entries."""
    if type(module) is not nn.Sequential:
        yield name, module
        return
    for key, part in module._modules.items():  # also where one of them is called twice
        if part is not None:
            yield from _parts(part, f"{name}{key}.")


def _flattens(part: nn.Module) -> bool:
    """Whether it makes a vector of every example."""
    return type(part) is nn.Flatten and (part.start_dim, part.end_dim) == (1, -1)


def _is_hooked(module: nn.Module) -> bool:
    """Whether something happens when it is called that its kind does not say."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, name) for name in hooks) or "forward" in vars(module)


def _add_product(
    target: Tensor, left: Tensor, right: Tensor | None, *, keep: float, times: float
) -> None:
    """The target times `keep` plus `times` the gradient that the factors make, in place."""
    if right is not None:
        target.baddbmm_(left.transpose(1, 2), right, beta=keep, alpha=times)
        return
    if keep != 1.0:
        target.mul_(keep)
    target.add_(left.sum(dim=1), alpha=times)
