"""What a model's nets look like, and the nets: perceptrons for tables, convolutional or residual ones for images."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from .nets import ConvDecoder, ConvFeatures, Critic, Shape, mlp
from .residual import ResidualDecoder, ResidualFeatures


class Shapes(NamedTuple):
    """What a model's nets look like.

    Arguments:
        image: `(channels, height, width)` to convolve on, or None for perceptrons.
        hidden: Hidden layers of a perceptron, from records inwards.
        width: Channels after the first convolution.
        labels: Number of labels that are a condition.
        residual: Whether convolutional nets are residual ones.
    """

    image: Shape | None
    hidden: tuple[int, ...]
    width: int
    labels: int
    residual: bool = False


def encoder_for(net: Shapes, size: int, out: int) -> nn.Module:
    """Return a net from `size` values, with labels appended, to `out` numbers."""
    if net.image is None:
        return mlp([size + net.labels, *net.hidden, out])
    kind = ResidualFeatures if net.residual else ConvFeatures
    features = kind((net.image[0] + net.labels, *net.image[1:]), width=net.width)
    return nn.Sequential(features, nn.Linear(features.size, out))


def decoder_for(net: Shapes, latent: int, out: int) -> nn.Module:
    """Return a net from latent vectors, with labels appended, to `out` numbers: for images, some for every pixel."""
    if net.image is None:
        return mlp([latent + net.labels, *reversed(net.hidden), out])
    _, height, width = net.image
    kind = ResidualDecoder if net.residual else ConvDecoder
    return kind(latent + net.labels, (out // (height * width), height, width), width=net.width)


def critic_for(net: Shapes, size: int, *, normalize: bool = True, spectral: bool = False) -> Critic:
    """Return a critic of `size` values, with a projection of labels."""
    if net.image is not None:
        features = ConvFeatures(net.image, width=net.width, normalize=normalize, spectral=spectral)
        return Critic(features, features.size, labels=net.labels, spectral=spectral)
    body = mlp([size, *net.hidden], slope=0.2, spectral=spectral, linear_end=False)
    return Critic(body, (size, *net.hidden)[-1], labels=net.labels, spectral=spectral)
