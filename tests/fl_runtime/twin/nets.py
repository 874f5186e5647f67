"""Linear models and perceptrons with rectifiers: losses, accuracies, and gradients by hand.

A model is a dictionary of `LAYER.weight` (outputs, inputs) and `LAYER.bias`, layers in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tests.fl_runtime.twin.data import Set

Array = np.ndarray[Any, Any]
Model = dict[str, Array]

NEAR_TIE = 1e-9
"""Between the two largest logits: nearer ones could change places by rounding."""


def layers(model: Model) -> list[str]:
    """Names of the layers, in order."""
    return list(dict.fromkeys(key.rpartition(".")[0] for key in model))


def trunk_of(model: Model, shared: Sequence[str] = ()) -> list[str]:
    """Entries of all layers but the last, or of the named ones."""
    inside = shared or layers(model)[:-1]
    return [key for key in model if key.rpartition(".")[0] in inside]


def logits(model: Model, x: Array) -> list[Array]:
    """What every layer gives, the inputs first and the logits last."""
    seen = [x]
    names = layers(model)
    for name in names:
        z = seen[-1] @ model[f"{name}.weight"].T + model[f"{name}.bias"]
        seen.append(z if name == names[-1] else np.maximum(z, 0.0))
    return seen


def log_softmax(z: Array) -> Array:
    """Row by row."""
    z = z - z.max(axis=1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(axis=1, keepdims=True)))


def mean_loss(model: Model, data: Set) -> float:
    """Mean cross-entropy."""
    z = log_softmax(logits(model, data.x)[-1])
    return float(-z[np.arange(len(data.y)), data.y].mean())


def judged(model: Model, data: Set) -> tuple[float, float, bool]:
    """Loss, accuracy, and whether a prediction is within rounding of another one."""
    z = logits(model, data.x)[-1]
    top = np.sort(z, axis=1)
    near = bool((top[:, -1] - top[:, -2] < NEAR_TIE).any())
    return mean_loss(model, data), float((z.argmax(axis=1) == data.y).mean()), near


def gradient(model: Model, data: Set, scale: float = 1.0) -> tuple[float, Model]:
    """The mean cross-entropy times a scale, and its gradient."""
    seen = logits(model, data.x)
    n = len(data.y)
    z = log_softmax(seen[-1])
    loss = float(-z[np.arange(n), data.y].mean())
    slope = np.exp(z)
    slope[np.arange(n), data.y] -= 1.0
    slope *= scale / n
    grads: Model = {}
    names = layers(model)
    for depth in reversed(range(len(names))):
        grads[f"{names[depth]}.weight"] = slope.T @ seen[depth]
        grads[f"{names[depth]}.bias"] = slope.sum(axis=0)
        slope = (slope @ model[f"{names[depth]}.weight"]) * (seen[depth] > 0.0)
    return scale * loss, grads


def part(model: Model, keys: Iterable[str]) -> Model:
    """Those entries."""
    return {key: model[key] for key in keys}


def minus(a: Model, b: Model) -> Model:
    """The difference."""
    return {key: a[key] - b[key] for key in a}


def plus(a: Model, step: Model, factor: float = 1.0) -> Model:
    """The model after a step that may concern some entries only."""
    return {key: a[key] + factor * step[key] if key in step else a[key] for key in a}


def total(terms: Sequence[Model], factors: Sequence[float]) -> Model:
    """The weighted sum."""
    return {key: sum(f * t[key] for f, t in zip(factors, terms, strict=True)) for key in terms[0]}


def vector(a: Model) -> Array:
    """All entries in one row."""
    return np.concatenate([value.ravel() for value in a.values()])


def dot(a: Model, b: Model) -> float:
    """Inner product over the entries of the second."""
    return float(sum((a[key] * b[key]).sum() for key in b))
