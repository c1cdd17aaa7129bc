"""Backbones: multilayer perceptrons and convolutional nets that halve or double the resolution, for any image size."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

Shape = tuple[int, int, int]


def mlp(sizes: list[int], *, slope: float = 0.0, spectral: bool = False, linear_end: bool = True) -> nn.Sequential:
    """Return a multilayer perceptron with the given layer sizes.

    Arguments:
        sizes: Input, hidden and output sizes.
        slope: Negative slope of the rectifiers; 0 is ReLU.
        spectral: Constrain every layer to spectral norm 1.
        linear_end: End with a linear layer; else with a rectifier.

    Example:
        >>> mlp([3, 8, 2])(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        linear = nn.Linear(a, b)
        layers += [spectral_norm(linear) if spectral else linear, nn.LeakyReLU(slope) if slope else nn.ReLU()]
    return nn.Sequential(*(layers[:-1] if linear_end else layers))


def halvings(height: int, width: int) -> int:
    """Return how often an image is halved: until its smaller side is about 4, at least once.

    Example:
        >>> halvings(32, 32), halvings(28, 28), halvings(8, 8)
        (3, 3, 1)
    """
    return max(1, round(math.log2(max(4, min(height, width)) / 4)))


def convolves(net: str, image: Shape | None, *, above: int = 256) -> bool:
    """Return whether a model with the setting `net` (`auto`, `mlp`, `conv`, `resnet`) convolves.

    `auto` does where an image has more than `above` values; the smaller side must be at least 4 pixels.
    """
    if image is None or min(image[1:]) < 4:
        return False
    return net in ("conv", "resnet") or (net == "auto" and math.prod(image) > above)


class ConvFeatures(nn.Module):
    """Flat images to feature vectors: strided convolutions, each halving the resolution and doubling the channels.

    Arguments:
        shape: `(channels, height, width)`.
        width: Channels after the first convolution.
        normalize: Put group normalisation after every convolution but the first.
        spectral: Constrain every layer to spectral norm 1.
        slope: Negative slope of the leaky ReLU.

    References:
        DCGAN (Radford et al., 2016), https://arxiv.org/abs/1511.06434
        Spectral normalisation (Miyato et al., 2018), https://arxiv.org/abs/1802.05957
    """

    def __init__(
        self, shape: Shape, *, width: int = 32, normalize: bool = True, spectral: bool = False, slope: float = 0.2
    ) -> None:
        super().__init__()
        self.shape = shape
        channels, height, width_ = shape
        layers: list[nn.Module] = []
        for i in range(halvings(height, width_)):
            after = width * 2**i
            conv = nn.Conv2d(channels, after, 4, 2, 1)
            layers.append(spectral_norm(conv) if spectral else conv)
            if normalize and i > 0:
                layers.append(group_norm(after))
            layers.append(nn.LeakyReLU(slope))
            channels, height, width_ = after, height // 2, width_ // 2
        self.layers = nn.Sequential(*layers)
        self.size = channels * height * width_

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.view(-1, *self.shape)).flatten(1)


class ConvDecoder(nn.Module):
    """Vectors to flat images: a linear map to a small grid, then transposed convolutions, each doubling the resolution.

    Arguments:
        latent: Size of the input vector.
        shape: `(channels, height, width)` of the result; what is too large for it is cropped at the end.
        width: Channels before the last convolution.
    """

    def __init__(self, latent: int, shape: Shape, *, width: int = 32) -> None:
        super().__init__()
        self.shape = shape
        channels, height, width_ = shape
        count = halvings(height, width_)
        start = width * 2 ** (count - 1)
        self.grid = (start, math.ceil(height / 2**count), math.ceil(width_ / 2**count))
        layers: list[nn.Module] = [group_norm(start), nn.ReLU()]
        for i in reversed(range(count)):
            after = width * 2 ** (i - 1) if i > 0 else channels
            layers.append(nn.ConvTranspose2d(width * 2**i, after, 4, 2, 1))
            if i > 0:
                layers += [group_norm(after), nn.ReLU()]
        self.linear = nn.Linear(latent, math.prod(self.grid))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        grid = self.linear(z).view(-1, *self.grid)
        return self.layers(grid)[:, :, : self.shape[1], : self.shape[2]].flatten(1)


class Critic(nn.Module):
    r"""A score per record, \(f(x, y) = w^\top \phi(x) + v_y^\top \phi(x) + b\): features, a linear layer, and a projection of labels.

    Arguments:
        features: Maps `(n, d)` to `(n, size)`.
        size: Number of features.
        labels: Number of labels; 0 for none.
        spectral: Constrain the layers to spectral norm 1.

    References:
        cGANs with projection discriminator (Miyato & Koyama, 2018), https://arxiv.org/abs/1802.05637
    """

    def __init__(self, features: nn.Module, size: int, *, labels: int = 0, spectral: bool = False) -> None:
        super().__init__()
        constrain = spectral_norm if spectral else (lambda layer: layer)
        self.features = features
        self.out = constrain(nn.Linear(size, 1))
        self.project = constrain(nn.Linear(labels, size, bias=False)) if labels else None
        self.labels, self.size = labels, size

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        features = self.features(x)
        score = self.out(features)[:, 0]
        if self.project is not None:
            score = score + (self.project(one_hot(y, self.labels)) * features).sum(1)
        return score


def one_hot(y: Tensor | None, labels: int) -> Tensor:
    """Return `(n, labels)` float32 indicators; a zero row where the label is unknown (-1)."""
    assert y is not None
    return (y[:, None] == torch.arange(labels, device=y.device)).float()


def with_label(x: Tensor, y: Tensor | None, labels: int, image: Shape | None = None) -> Tensor:
    """Append one-hot labels to vectors, or as constant planes to flat images of shape `image`; nothing without labels."""
    if not labels:
        return x
    label = one_hot(y, labels)
    if image is not None:
        label = label[:, :, None].expand(-1, -1, image[1] * image[2]).flatten(1)
    return torch.cat([x, label], 1)


def group_norm(channels: int) -> nn.Module:
    """Return a normalisation in at most 8 groups of at least 4 channels: one channel alone would lose what is constant in it.

    References:
        Group Normalization (Wu & He, 2018), https://arxiv.org/abs/1803.08494
    """
    return nn.GroupNorm(math.gcd(channels // 4, 8) if channels % 4 == 0 else 1, channels)
