"""Nets between images and small grids of vectors: strided convolutions, and residual blocks at the grid's resolution."""

from __future__ import annotations

import itertools
import math

from torch import Tensor, nn
from torch.nn import functional as F

from .nets import Shape


def grid_of(shape: Shape, times: int) -> tuple[int, int]:
    """Return height and width of an image that is halved so many times, rounded up.

    Example:
        >>> grid_of((1, 28, 28), 2), grid_of((3, 33, 20), 3)
        ((7, 7), (5, 3))
    """
    return math.ceil(shape[1] / 2**times), math.ceil(shape[2] / 2**times)


class Residual(nn.Module):
    """Two convolutions, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        groups = math.gcd(width, 8)
        self.layers = nn.Sequential(
            nn.GroupNorm(groups, width), nn.SiLU(), nn.Conv2d(width, width // 2, 3, padding=1),
            nn.SiLU(), nn.Conv2d(width // 2, width, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class GridEncoder(nn.Module):
    """Flat images to grids of vectors, `(n, places, size)`.

    Arguments:
        shape: `(channels, height, width)`.
        size: Numbers in a vector.
        times: How often the image is halved.
        width: Channels at the grid's resolution; half as many on the way.
        blocks: Residual blocks.

    References:
        Neural Discrete Representation Learning (van den Oord et al., 2017), https://arxiv.org/abs/1711.00937
    """

    def __init__(self, shape: Shape, size: int, *, times: int, width: int, blocks: int) -> None:
        super().__init__()
        self.shape, (height, across) = shape, grid_of(shape, times)
        self.pad = (0, across * 2**times - shape[2], 0, height * 2**times - shape[1])
        inner = max(1, width // 2)
        sizes = [shape[0], *[inner] * (times - 1), width]
        halve = [m for a, b in itertools.pairwise(sizes) for m in (nn.Conv2d(a, b, 4, 2, 1), nn.SiLU())]
        self.layers = nn.Sequential(
            *halve[:-1], *(Residual(width) for _ in range(blocks)), nn.SiLU(), nn.Conv2d(width, size, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        image = F.pad(x.view(-1, *self.shape), self.pad)
        return self.layers(image).flatten(2).transpose(1, 2)


class GridDecoder(nn.Module):
    """Grids of vectors `(n, places, size)` to flat images; what is too large for the image is cropped.

    Arguments:
        shape: `(channels, height, width)` of the result.
        size: Numbers in a vector.
        times: How often the resolution is doubled.
        width: Channels at the grid's resolution; half as many on the way.
        blocks: Residual blocks.
    """

    def __init__(self, shape: Shape, size: int, *, times: int, width: int, blocks: int) -> None:
        super().__init__()
        self.shape, self.grid = shape, grid_of(shape, times)
        inner = max(1, width // 2)
        sizes = [width, *[inner] * (times - 1), shape[0]]
        double = [m for a, b in itertools.pairwise(sizes) for m in (nn.SiLU(), nn.ConvTranspose2d(a, b, 4, 2, 1))]
        self.layers = nn.Sequential(
            nn.Conv2d(size, width, 3, padding=1), *(Residual(width) for _ in range(blocks)), *double
        )

    def forward(self, z: Tensor) -> Tensor:
        image = self.layers(z.transpose(1, 2).unflatten(2, self.grid))
        return image[:, :, : self.shape[1], : self.shape[2]].flatten(1)
