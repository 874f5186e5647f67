"""Small model families by name; anything else comes from the user's own factory."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fairopt.errors import InvalidInput
from fairopt.user_objects import said
from fl_runtime.data.inputs import Shapes, called, each, parts_of, size_of
from fl_runtime.extensions import Entry, Kind, resolve, taken_apart
from fl_runtime.training.patches import patches

CHANNELS = (8, 16)
"""Channels of the two convolutions of `cnn`."""

MOST_COLOURS = 4
"""Channels of a picture: red, green, blue, and opacity."""

TOKEN_WIDTH = 32
"""Width of a token inside `transformer`."""

Outputs = int | tuple[int, ...]
"""Number of classes, or how many numbers a model is to give, or their shape."""


class ModelFactory(Protocol):
    """Makes a fresh model for examples of one shape.

    The second argument is the number of classes, or the `outputs` of data of another kind.
    """

    def __call__(
        self, example_shape: tuple[int, ...], num_classes: Outputs, hidden: Sequence[int]
    ) -> nn.Module:
        """A module from (batch, *example_shape) to (batch, num_classes) logits."""
        ...


def build_model(
    entry: Entry,
    example_shape: Shapes,
    outputs: int | tuple[int, ...],
    hidden: Sequence[int],
    *,
    seed: int,
    example: Any = None,
) -> nn.Module:
    """A freshly initialised model.

    Args:
        entry: A family of `MODELS`, or ``"package.module:factory"`` with the signature of
            `ModelFactory`; a table ``{ name = ... }`` holds further arguments of a factory.
        example_shape: Shape of one example, or shapes of its parts by name.
        outputs: Number of logits; or what data of another kind say.
        hidden: Widths of the hidden layers.
        seed: Seed of the initial weights; PyTorch's global generator is left as it was.
        example: (1, *example_shape) of data of another kind than classification, of whose outputs
            nothing is known here but that there is one; by name where it has several parts.
            Families by name take integers as numbers, and several parts (`linear`, `mlp`) side by
            side.

    Raises:
        InvalidInput: Unknown family, one that does not fit examples of this shape, or a factory
            that makes other weights at every call.

    Example:
        >>> build_model("mlp", (4,), 3, [8], seed=0)(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """
    name, _ = taken_apart(entry, "model")
    factory: ModelFactory = resolve(MODEL, entry, key="model")
    if ":" in name:
        factory = _guarded(name, factory)

    several = isinstance(example_shape, Mapping) and ":" not in name
    if several and name not in TAKE_PARTS:
        requirement = f"{' or '.join(TAKE_PARTS)}, or your own, for inputs of several parts"
        raise InvalidInput("model", name, requirement)
    shape = (size_of(example_shape),) if several else example_shape

    def made() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = factory(shape, outputs, hidden)  # type: ignore[arg-type]
        if several:
            return SideBySide(model)
        whole = isinstance(example, Tensor) and not example.is_floating_point()
        return nn.Sequential(AsFloat(), model) if whole and ":" not in name else model

    model = made()
    if ":" in name and not _alike(model, made()):
        requirement = "a factory whose initial weights depend on PyTorch's seed alone"
        raise InvalidInput("model", name, requirement)
    if not any(True for _ in model.parameters()):
        raise InvalidInput("model", name, "one with parameters to train")
    blank = each(lambda one: torch.zeros(1, *one), example_shape) if example is None else example
    given = (outputs,) if isinstance(outputs, int) else outputs
    _check_outputs(name, model, blank, (1, *given) if example is None else None)
    return model


def linear(
    example_shape: tuple[int, ...], num_classes: Outputs, hidden: Sequence[int]
) -> nn.Module:
    """Multinomial logistic regression on the flattened example."""
    _needs_no_hidden("linear", hidden)
    return nn.Sequential(nn.Flatten(), *_last(_size(example_shape), num_classes))


def mlp(example_shape: tuple[int, ...], num_classes: Outputs, hidden: Sequence[int]) -> nn.Module:
    """Fully connected layers of the widths in `hidden` with ReLU between them."""
    widths = [_size(example_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, *_last(widths[-1], num_classes))


def _last(width: int, outputs: Outputs) -> list[nn.Module]:
    """The last layer, in the shape that outputs are to have."""
    if isinstance(outputs, int):
        return [nn.Linear(width, outputs)]
    return [nn.Linear(width, _size(outputs)), nn.Unflatten(1, outputs)]


def cnn(example_shape: tuple[int, ...], num_classes: Outputs, hidden: Sequence[int]) -> nn.Module:
    """Two 3 x 3 convolutions, one pooling, then the layers of `hidden`; channels come first."""
    _refuse_channels_last(example_shape)
    if len(example_shape) != 3 or min(example_shape[1:]) < 2:
        raise InvalidInput("model", "cnn", f"one for examples of shape {example_shape}, not images")
    channels, height, width = example_shape
    first, second = CHANNELS
    body = [
        nn.Conv2d(channels, first, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(first, second, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
    return nn.Sequential(*body, mlp((second, height // 2, width // 2), num_classes, hidden))


def transformer(
    example_shape: tuple[int, ...], num_classes: Outputs, hidden: Sequence[int]
) -> nn.Module:
    """One self-attention layer over the rows of an image (or the steps of a sequence)."""
    if len(example_shape) not in (2, 3):
        raise InvalidInput(
            "model", "transformer", f"one for examples of shape {example_shape}, not sequences"
        )
    return RowTransformer(example_shape, num_classes, hidden)


class AsFloat(nn.Module):
    """Integers as floats, for families that know nothing of symbols."""

    def forward(self, x: Tensor) -> Tensor:
        """The same numbers."""
        return x.float()


class SideBySide(nn.Module):
    """Inputs of several parts as one vector, in the order of their names."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, **parts: Tensor) -> Tensor:
        """What the body gives for them."""
        columns = [
            parts[name].flatten(1) if parts[name].ndim > 1 else parts[name][:, None]
            for name in sorted(parts)
        ]
        kind = torch.get_default_dtype()
        return self.body(torch.cat([one.to(kind) for one in columns], dim=1))  # type: ignore[no-any-return]


class RowTransformer(nn.Module):
    """Rows as tokens, one encoder layer without dropout, mean over tokens, then `hidden` layers."""

    def __init__(
        self, example_shape: tuple[int, ...], num_classes: Outputs, hidden: Sequence[int]
    ) -> None:
        super().__init__()
        *channels, steps, features = example_shape
        self.embed = nn.Linear(_size(tuple(channels)) * features, TOKEN_WIDTH)
        self.position = nn.Parameter(torch.randn(steps, TOKEN_WIDTH) / TOKEN_WIDTH**0.5)
        self.encode = nn.TransformerEncoderLayer(
            TOKEN_WIDTH, nhead=4, dim_feedforward=2 * TOKEN_WIDTH, dropout=0.0, batch_first=True
        )
        self.head = mlp((TOKEN_WIDTH,), num_classes, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch."""
        rows = x if x.ndim == 3 else x.movedim(1, 2).flatten(2)
        tokens = self.embed(rows) + self.position
        return self.head(self.encode(tokens).mean(dim=1))  # type: ignore[no-any-return]


MODELS: Mapping[str, ModelFactory] = {
    "linear": linear,
    "mlp": mlp,
    "cnn": cnn,
    "transformer": transformer,
    "patches": patches,
}
"""Families a configuration can name."""

TAKE_PARTS = ("linear", "mlp")
"""Families that take inputs of several parts."""

MODEL = Kind("model", "task.model", MODELS, arguments=("example_shape", "num_classes", "hidden"))
"""What a task can train."""


def _guarded(reference: str, found: ModelFactory) -> ModelFactory:
    """A user's own factory, which must return a module."""

    def factory(
        example_shape: tuple[int, ...], num_classes: Outputs, hidden: Sequence[int]
    ) -> nn.Module:
        try:
            model = found(example_shape, num_classes, hidden)
        except Exception as error:  # whatever the user's factory does
            told = f"{example_shape}, {num_classes}, {tuple(hidden)}"
            requirement = _called(reference, found, told, error)
            raise InvalidInput("model", reference, requirement) from error
        if not isinstance(model, nn.Module):
            raise InvalidInput("model", reference, _NO_MODULE + type(model).__name__)
        return model

    return factory


_NO_MODULE = "a factory that returns a torch.nn.Module, not "


def _called(reference: str, found: Any, told: str, error: Exception) -> str:
    """What a factory is and how it was called, for the error that it raised."""
    name = reference.rpartition(":")[2]
    made = f"; if the class {name} takes other arguments, name a function that returns {name}(...)"
    hint = made if isinstance(getattr(found, "func", found), type) else ""
    if isinstance(found, nn.Module):
        hint = f"; {name} is a module already, not a function that makes one"
    return (
        "a function (example_shape, num_classes, hidden) that returns a torch.nn.Module; "
        f"{name}({told}) raised {said(error)}{hint}"
    )


def _alike(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules hold the same numbers under the same names, and hold them already."""
    mine, others = one.state_dict(), other.state_dict()
    return mine.keys() == others.keys() and all(
        not is_lazy(mine[key]) and torch.equal(mine[key], others[key])
        for key in mine
        if isinstance(mine[key], Tensor)
    )


def _check_outputs(
    name: str, model: nn.Module, blank: Any, wanted: tuple[object, ...] | None
) -> None:
    """Run one example through the model: its outputs must have the right shape, if it is known."""
    model.eval()
    try:
        with torch.no_grad():
            got = tuple(called(model, blank).shape)
    except Exception as error:  # whatever the user's model does
        said_ = str(error).partition("\n")[0]
        reason = f"one that takes examples of {_described(blank)} ({said_}){_layout_hint(blank)}"
        raise InvalidInput("model", name, reason) from error
    if wanted is not None and got != wanted:
        raise InvalidInput("model", name, f"one with logits {wanted}, it gives {got}")
    if got[:1] != (1,):
        requirement = f"one with an output for each example, it gives {got} for one"
        raise InvalidInput("model", name, requirement)


def _described(example: Any) -> str:
    """Type and shape of an example, of each part if there are several."""
    found = {
        name: f"{str(part.dtype).removeprefix('torch.')} {tuple(part.shape[1:])}"
        for name, part in parts_of(example).items()
    }
    return found[""] if "" in found else ", ".join(f"{name} {one}" for name, one in found.items())


def _layout_hint(example: Any) -> str:
    """What may be wrong with images that look like (height, width, channels)."""
    for name, part in parts_of(example).items():
        if _is_channels_last(tuple(part.shape[1:])):
            right = "(channels, height, width)"
            return (
                f"; {name or 'examples'} of shape {tuple(part.shape[1:])} look like (height, "
                f"width, channels): transposed (0, 3, 1, 2) they are {right}, as convolutions want"
            )
    return ""


def _needs_no_hidden(name: str, hidden: Sequence[int]) -> None:
    """A model without hidden layers refuses widths instead of ignoring them."""
    if len(hidden) > 0:
        raise InvalidInput("hidden", list(hidden), f"absent for model {name}")


def _refuse_channels_last(shape: tuple[int, ...]) -> None:
    """A convolution refuses images that look like (height, width, channels).

    They do if the last axis has as few entries as colours have and the first has more, or if the
    first two agree and the last does not: few images are one to four pixels wide, or as high as
    they have channels.
    """
    if _is_channels_last(shape):
        right = (shape[2], shape[0], shape[1])
        requirement = (
            f"one for images of shape {shape}: examples are (channels, height, width), so with "
            f"channels last they are to be transposed (0, 3, 1, 2), to {right} each"
        )
        raise InvalidInput("model", "cnn", requirement)


def _is_channels_last(shape: tuple[int, ...]) -> bool:
    """Whether an example looks like (height, width, channels)."""
    if len(shape) != 3:
        return False
    first, second, last = shape
    return last <= MOST_COLOURS < first or first == second != last


def _size(shape: tuple[int, ...]) -> int:
    """Number of entries."""
    return int(torch.Size(shape).numel())
