r"""Residual nets on images of any size: blocks that add to what passes them, strided down, interpolated up."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .nets import Shape, group_norm, halvings

WIDEST = 4  # channels grow up to so many times the width


class ResidualBlock(nn.Module):
    r"""\(x + f(x)\), f two 3x3 convolutions, each after group normalisation and SiLU: the shape stays.

    Arguments:
        channels: Channels in and out.
        blocks: How many blocks the net has in all: f begins small where many sum up.

    References:
        Identity Mappings in Deep Residual Networks (He et al., 2016), https://arxiv.org/abs/1603.05027
        Very Deep VAEs (Child, 2021; weights that shrink with the depth), https://arxiv.org/abs/2011.10650

    Example:
        >>> ResidualBlock(8)(torch.zeros(2, 8, 5, 7)).shape
        torch.Size([2, 8, 5, 7])
    """

    def __init__(self, channels: int, blocks: int = 1) -> None:
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            last.weight.div_(math.sqrt(blocks))
        self.layers = nn.Sequential(
            group_norm(channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1), group_norm(channels), nn.SiLU(), last
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class ResidualFeatures(nn.Module):
    """Flat images to feature vectors: a block at each resolution, between them convolutions that halve it, rounded up.

    Arguments:
        shape: `(channels, height, width)`.
        width: Channels at the full resolution; twice as many at the next, four times as many from there on.
    """

    def __init__(self, shape: Shape, *, width: int = 32) -> None:
        super().__init__()
        self.shape = shape
        sizes = resolutions(*shape[1:])
        levels = [width * min(2**i, WIDEST) for i in range(len(sizes))]
        layers: list[nn.Module] = [nn.Conv2d(shape[0], levels[0], 3, padding=1)]
        for i, channels in enumerate(levels):
            layers.append(ResidualBlock(channels, len(levels)))
            if i + 1 < len(levels):
                layers.append(nn.Conv2d(channels, levels[i + 1], 3, 2, 1))
        self.layers = nn.Sequential(*layers, group_norm(levels[-1]), nn.SiLU())
        self.size = levels[-1] * math.prod(sizes[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.view(-1, *self.shape)).flatten(1)


class ResidualDecoder(nn.Module):
    """Vectors to flat images: a linear map to a small grid, then a block at each resolution, each about twice the last.

    Arguments:
        latent: Size of the input vector.
        shape: `(channels, height, width)` of the result.
        width: Channels at the full resolution; twice as many at the next, four times as many from there on.
    """

    def __init__(self, latent: int, shape: Shape, *, width: int = 32) -> None:
        super().__init__()
        self.shape = shape
        self.sizes = resolutions(*shape[1:])[::-1]
        levels = [width * min(2**i, WIDEST) for i in reversed(range(len(self.sizes)))]
        self.grid = (levels[0], *self.sizes[0])
        self.linear = nn.Linear(latent, math.prod(self.grid))
        self.blocks = nn.ModuleList(ResidualBlock(channels, len(levels)) for channels in levels)
        self.narrow = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in itertools.pairwise(levels))
        self.out = nn.Sequential(group_norm(levels[-1]), nn.SiLU(), nn.Conv2d(levels[-1], shape[0], 3, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        x = self.blocks[0](self.linear(z).view(-1, *self.grid))
        for narrow, block, size in zip(self.narrow, self.blocks[1:], self.sizes[1:], strict=True):
            x = block(F.interpolate(narrow(x), size=size))
        return self.out(x).flatten(1)


def resolutions(height: int, width: int) -> list[tuple[int, int]]:
    """Return the sizes of an image that is halved until its smaller side is about 4, rounded up each time.

    Example:
        >>> resolutions(28, 28), resolutions(5, 7)
        ([(28, 28), (14, 14), (7, 7), (4, 4)], [(5, 7), (3, 4)])
    """
    sizes = [(height, width)]
    for _ in range(halvings(height, width)):
        height, width = math.ceil(height / 2), math.ceil(width / 2)
        sizes.append((height, width))
    return sizes
