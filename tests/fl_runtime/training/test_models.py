"""Model families: the shapes they take, and what they refuse."""

import pytest
import torch
from torch import nn

from fairopt import InvalidInput
from fl_runtime.training.models import MODELS, build_model
from fl_runtime.training.patches import Patches


@pytest.mark.parametrize(
    ("name", "shape", "hidden"),
    [
        ("linear", (7,), []),
        ("linear", (1, 8, 8), []),
        ("mlp", (7,), [5, 4]),
        ("mlp", (7,), []),
        ("cnn", (3, 9, 6), [8]),
        ("cnn", (4, 4, 4), []),
        ("cnn", (1, 8, 3), []),
        ("cnn", (8, 9, 9), []),
        ("cnn", (10, 8, 9), []),
        ("mlp", (8, 8, 1), [5]),
        ("transformer", (1, 8, 8), []),
        ("transformer", (5, 3), [8]),
        ("patches", (2, 8, 4), [6, 5]),
        ("patches", (1, 8, 8), [6]),
    ],
)
def test_logits_and_repeatable_weights(
    name: str, shape: tuple[int, ...], hidden: list[int]
) -> None:
    first, second, third = (build_model(name, shape, 3, hidden, seed=s) for s in (1, 1, 2))
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    assert first(x).shape == (2, 3)
    assert torch.equal(first(x), second(x))
    assert not torch.equal(first(x), third(x))


def flat(shape: tuple[int, ...], classes: int, hidden: list[int]) -> nn.Module:
    return nn.Linear(shape[0], classes)


def wrong_logits(shape: tuple[int, ...], classes: int, hidden: list[int]) -> nn.Module:
    return nn.Linear(shape[0], classes + 1)


def other_weights(shape: tuple[int, ...], classes: int, hidden: list[int]) -> nn.Module:
    """Drawn by a generator that the seed does not reach."""
    model = flat(shape, classes, hidden)
    nn.init.normal_(model.weight, generator=OWN)
    return model


OWN = torch.Generator()


def lazy(shape: tuple[int, ...], classes: int, hidden: list[int]) -> nn.Module:
    """Its weights would be drawn at its first batch, whatever the seed was."""
    return nn.LazyLinear(classes)


def no_module(shape: tuple[int, ...], classes: int, hidden: list[int]) -> str:
    return "model"


def test_factory_of_the_user() -> None:
    assert isinstance(build_model(f"{__name__}:flat", (4,), 2, [], seed=0), nn.Linear)


@pytest.mark.parametrize(
    ("name", "shape", "hidden", "reason"),
    [
        ("mpl", (4,), [], "did you mean mlp?"),
        ("cnn", (4,), [], "not images"),
        ("transformer", (4,), [], "not sequences"),
        ("cnn", (8, 8, 1), [], "transposed (0, 3, 1, 2), to (1, 8, 8) each"),
        ("cnn", (8, 8, 3), [], "examples are (channels, height, width)"),
        ("cnn", (32, 24, 3), [], "to (3, 32, 24) each"),
        ("cnn", (9, 6, 4), [], "to (4, 9, 6) each"),
        ("cnn", (8, 8, 10), [], "to (10, 8, 8) each"),
        ("patches", (1, 9, 8), [4, 4], "with sides that 4 divides"),
        ("patches", (1, 8, 8), [], "the width of the encoder"),
        ("linear", (4,), [8], "absent for model linear"),
        (f"{__name__}:wrong_logits", (4,), [], "it gives (1, 3)"),
        (f"{__name__}:lazy", (4,), [], "depend on PyTorch's seed alone"),
        (f"{__name__}:other_weights", (4,), [], "depend on PyTorch's seed alone"),
        (f"{__name__}:no_module", (4,), [], "returns a torch.nn.Module"),
        (f"{__name__}:absent", (4,), [], "package.module:object"),
    ],
)
def test_what_does_not_fit_is_refused(
    name: str, shape: tuple[int, ...], hidden: list[int], reason: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        build_model(name, shape, 2, hidden, seed=0)
    assert reason in str(caught.value)


def test_all_families_are_covered() -> None:
    assert set(MODELS) == {"linear", "mlp", "cnn", "transformer", "patches"}


def test_a_patch_without_the_others_decides_about_its_own_pixels_alone() -> None:
    torch.manual_seed(0)
    model = Patches((1, 8, 12), (2, 8, 12), [16, 8])
    torch.nn.init.zeros_(model.encoder.mix.weight)
    images = torch.zeros(2, 1, 8, 12)
    images[1, 0, 0:4, 8:12] = 1.0  # the last square of the first row
    plain, other = model(images)
    changed = (plain != other).any(dim=0)
    assert changed[0:4, 8:12].any()
    changed[0:4, 8:12] = False
    assert not changed.any()
