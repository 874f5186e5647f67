r"""A small encoder, decoder and head on the patches of an image, for outputs of any kind.

An image is cut into squares of p x p pixels, T of them, of c channels each. With :math:`x_t` a
patch and :math:`\sigma` ReLU,

.. math::
    h_t = \sigma(E x_t), \quad
    e_t = \sigma\bigl(h_t + \textstyle\sum_u M_{tu} h_u\bigr), \quad
    d_t = \sigma(D_k \cdots \sigma(D_1 e_t)),

all with offsets; E and M are the *encoder* (what patches see of each other is in M), the D are the
*decoder*, the same for every patch. The *head* is one linear map of :math:`d_t`: to the p x p
pixels of that patch for outputs (height, width) or (channels, height, width), and of the mean of
all :math:`d_t` for classes. So models for masks, maps, vectors and classes are alike up to their
heads, which is what algorithms with parts need (``shared-layers = ["encoder"]``), and everything is
a product of matrices: no convolution, no buffers, no random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fairopt.errors import InvalidInput
from fl_runtime.validation_errors import check_whole

PATCH = 4
"""Pixels of a side of a patch."""


class PatchEncoder(nn.Module):
    """Features (n, T, width) of the patches of images (n, channels, height, width)."""

    def __init__(self, shape: tuple[int, ...], width: int, patch: int) -> None:
        super().__init__()
        channels, height, size = shape
        self.patch, count = patch, (height // patch) * (size // patch)
        self.embed = nn.Linear(channels * patch * patch, width)
        self.mix = nn.Linear(count, count)

    def forward(self, x: Tensor) -> Tensor:
        """Every patch by itself, then all with each other."""
        n, channels, height, width = x.shape
        p = self.patch
        cut = x.reshape(n, channels, height // p, p, width // p, p).permute(0, 2, 4, 1, 3, 5)
        each = torch.relu(self.embed(cut.reshape(n, -1, channels * p * p)))
        return torch.relu(each + self.mix(each.transpose(1, 2)).transpose(1, 2))


class Patches(nn.Module):
    """Encoder, decoder and head.

    Attributes:
        encoder: Of `PatchEncoder`.
        decoder: Linear layers with ReLU after each.
        head: The last linear layer.

    Example:
        >>> Patches((1, 8, 8), (3, 8, 8), [16, 8])(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
        >>> Patches((1, 8, 8), 10, [16, 8])(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int | tuple[int, ...],
        hidden: Sequence[int],
        patch: int = PATCH,
    ) -> None:
        super().__init__()
        first, *widths = hidden
        self.outputs = outputs
        self.grid = (shape[1] // patch, shape[2] // patch, patch)
        self.encoder = PatchEncoder(shape, first, patch)
        layers: list[nn.Module] = []
        for inputs, width in zip([first, *widths], widths, strict=False):
            layers += [nn.Linear(inputs, width), nn.ReLU()]
        self.decoder = nn.Sequential(*layers)
        numbers = outputs if isinstance(outputs, int) else _channels(outputs) * patch * patch
        self.head = nn.Linear(hidden[-1], numbers)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of a batch."""
        features = self.decoder(self.encoder(x))
        if isinstance(self.outputs, int):
            return self.head(features.mean(dim=1))  # type: ignore[no-any-return]
        rows, columns, p = self.grid
        pixels: Tensor = self.head(features).reshape(
            -1, rows, columns, _channels(self.outputs), p, p
        )
        return pixels.permute(0, 3, 1, 4, 2, 5).reshape(-1, *self.outputs)


def patches(
    example_shape: tuple[int, ...],
    num_classes: int | tuple[int, ...],
    hidden: Sequence[int],
    patch: int = PATCH,
) -> nn.Module:
    """Squares of an image as tokens: encoder, decoder, and a head for masks, maps or classes.

    Args:
        example_shape: (channels, height, width), with sides that are multiples of `patch`.
        num_classes: A number of classes; or (height, width) or (channels, height, width) of the
            image's own size.
        hidden: Width of the encoder, then those of the decoder.
        patch: Pixels of a side of a square.

    Raises:
        InvalidInput: No images, sides that squares do not fill, outputs of another size, or no
            width of the encoder.
    """
    check_whole("model.patch", patch, 1)
    if len(example_shape) != 3 or any(side % patch for side in example_shape[1:]):
        requirement = f"(channels, height, width) with sides that {patch} divides"
        raise InvalidInput("model examples", example_shape, requirement)
    dense = not isinstance(num_classes, int)
    if dense and tuple(num_classes)[-2:] != tuple(example_shape[1:]):  # type: ignore[arg-type]
        requirement = f"classes, or (..., {example_shape[1]}, {example_shape[2]})"
        raise InvalidInput("model outputs", num_classes, requirement)
    if not hidden:
        raise InvalidInput("hidden", list(hidden), "the width of the encoder and of its decoder")
    return Patches(example_shape, num_classes, hidden, patch)


def _channels(outputs: tuple[int, ...]) -> int:
    """Numbers of a pixel."""
    return int(torch.Size(outputs[:-2]).numel())
