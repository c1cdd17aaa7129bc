"""Backbones: any image size in and out, spectral norms by singular values, the critic by its formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from genlearn.nn import (
    ConvDecoder,
    ConvFeatures,
    Critic,
    ResidualBlock,
    ResidualDecoder,
    ResidualFeatures,
    Shapes,
    convolves,
    critic_for,
    decoder_for,
    encoder_for,
    mlp,
    one_hot,
    with_label,
)
from genlearn.nn.nets import halvings
from genlearn.nn.residual import resolutions

SIZES = [(5, 7), (8, 8), (28, 28), (32, 32), (33, 47), (64, 64), (4, 90)]
SHAPES = pytest.mark.parametrize("shape", [(c, *s) for c in (1, 3) for s in SIZES], ids=lambda s: "x".join(map(str, s)))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def learns(net: nn.Module, out: Tensor) -> bool:
    """Whether every parameter gets a finite gradient that is not zero."""
    grads = torch.autograd.grad(out.square().sum(), list(net.parameters()))
    return all(bool(torch.isfinite(g).all() and g.abs().sum() > 0) for g in grads)


# -- shapes ----------------------------------------------------------------------------------------------------------
@SHAPES
def test_features_of_images_of_any_size(shape: tuple[int, int, int]) -> None:
    net = ConvFeatures(shape, width=8)
    out = net(torch.randn(3, math.prod(shape)))
    assert out.shape == (3, net.size)
    assert learns(net, out)
    side = min(shape[1:]) / 2 ** halvings(*shape[1:])
    assert 2 <= side < 6, "the grid at the end is a few pixels wide"


@SHAPES
def test_images_of_any_size_from_vectors(shape: tuple[int, int, int]) -> None:
    net = ConvDecoder(5, shape, width=8)
    out = net(torch.randn(3, 5))
    assert out.shape == (3, math.prod(shape))
    assert learns(net, out)


@SHAPES
def test_residual_nets_on_images_of_any_size(shape: tuple[int, int, int]) -> None:
    features, decoder = ResidualFeatures(shape, width=8), ResidualDecoder(5, shape, width=8)
    inward, outward = features(torch.randn(3, math.prod(shape))), decoder(torch.randn(3, 5))
    assert (inward.shape, outward.shape) == ((3, features.size), (3, math.prod(shape)))
    assert learns(features, inward)
    assert learns(decoder, outward)
    assert 2 <= min(resolutions(*shape[1:])[-1]) < 6, "the grid at the end is a few pixels wide"


def test_a_residual_block_without_its_branch_is_the_identity() -> None:
    block, x = ResidualBlock(8), torch.randn(2, 8, 5, 7)
    nn.init.zeros_(block.layers[-1].weight)  # type: ignore[arg-type]
    nn.init.zeros_(block.layers[-1].bias)  # type: ignore[arg-type]
    assert torch.equal(block(x), x)


def test_a_residual_net_moves_with_the_image() -> None:
    """Away from the edges, features of a shifted image are shifted features: convolutions only, none with a place of its own."""
    net = ResidualFeatures((1, 64, 64), width=4).eval()
    for m in net.modules():
        if isinstance(m, nn.GroupNorm):  # sees the whole image; everything else must see the neighbourhood only
            m.forward = lambda x: x  # type: ignore[method-assign]
    net.layers = net.layers[:4]  # type: ignore[assignment]  # conv, block, halving, block
    x = torch.zeros(1, 1, 64, 64)
    x[:, :, 20:28, 20:28] = torch.randn(8, 8)
    there, moved = net.layers(x)[0], net.layers(x.roll((6, 6), (2, 3)))[0]
    torch.testing.assert_close(there[:, 6:24, 6:24], moved[:, 9:27, 9:27])


@SHAPES
@pytest.mark.parametrize("labels", [0, 4])
@pytest.mark.parametrize("residual", [False, True], ids=["conv", "resnet"])
def test_encoders_and_decoders_fit_each_other(shape: tuple[int, int, int], labels: int, residual: bool) -> None:
    size, y = math.prod(shape), torch.tensor([1, -1, 3])
    for image in (shape, None):
        net = Shapes(image, (16, 8), 8, labels, residual)
        encoder, decoder = encoder_for(net, size, 6), decoder_for(net, 6, 2 * size)
        z = encoder(with_label(torch.randn(3, size), y, labels, image))
        assert z.shape == (3, 6)
        assert decoder(with_label(z, y, labels)).shape == (3, 2 * size)


@pytest.mark.parametrize("kind", [ConvFeatures, ResidualFeatures])
def test_one_record_alone_and_many_together_agree(kind: type[ConvFeatures] | type[ResidualFeatures]) -> None:
    """No layer mixes the records of a batch."""
    net = kind((1, 9, 9), width=8)
    x = torch.randn(5, 81)
    torch.testing.assert_close(net(x[2:3]), net(x)[2:3])


def test_perceptrons() -> None:
    assert [type(layer).__name__ for layer in mlp([3, 4, 2])] == ["Linear", "ReLU", "Linear"]
    assert [type(layer).__name__ for layer in mlp([3, 4, 2], slope=0.2, linear_end=False)] == [
        "Linear",
        "LeakyReLU",
    ] * 2
    assert len(mlp([3, 2])) == 1
    for critic, size in (
        (critic_for(Shapes(None, (16, 8), 4, 0), 7), 7),
        (critic_for(Shapes((1, 8, 8), (16,), 4, 0), 64), 64),
    ):
        assert critic.features(torch.randn(2, size)).shape == (2, critic.size)


@pytest.mark.parametrize(
    ("net", "image", "answer"),
    [
        ("auto", (1, 8, 8), False),
        ("auto", (1, 16, 16), False),
        ("auto", (1, 17, 17), True),
        ("auto", (3, 16, 16), True),
        ("conv", (1, 8, 8), True),
        ("conv", (1, 3, 80), False),
        ("resnet", (1, 8, 8), True),
        ("resnet", None, False),
        ("conv", None, False),
        ("mlp", (3, 64, 64), False),
    ],
)
def test_which_records_are_convolved(net: str, image: tuple[int, int, int] | None, answer: bool) -> None:
    assert convolves(net, image) is answer


# -- labels ----------------------------------------------------------------------------------------------------------
def test_labels_as_indicators_and_as_planes() -> None:
    y = torch.tensor([2, -1])
    assert one_hot(y, 3).tolist() == [[0, 0, 1], [0, 0, 0]]
    x = torch.randn(2, 2 * 2 * 3)
    assert with_label(x, y, 0) is x
    assert torch.equal(with_label(x, y, 3), torch.cat([x, one_hot(y, 3)], 1))
    planes = with_label(x, y, 3, (2, 2, 3)).view(2, 5, 2, 3)
    assert torch.equal(planes[:, :2].flatten(1), x)
    assert planes[0, 2:].flatten(1).tolist() == [[0.0] * 6, [0.0] * 6, [1.0] * 6]
    assert not planes[1, 2:].any()


# -- critics ---------------------------------------------------------------------------------------------------------
def largest_singular_value(layer: nn.Module) -> float:
    return float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2))  # type: ignore[operator,union-attr]


@pytest.mark.parametrize("shape", [None, (1, 8, 8), (3, 33, 47)], ids=["mlp", "8x8", "33x47"])
def test_spectral_norms_are_one(shape: tuple[int, int, int] | None) -> None:
    """By the full decomposition. Power iteration gains a digit in some ten passes; after 100, 1 % is allowed for close pairs."""
    size = 64 if shape is None else math.prod(shape)
    net = Shapes(shape, (32, 16), 8, 4)
    critic = critic_for(net, size, normalize=False, spectral=True)
    x, y = torch.randn(4, size), torch.arange(4)
    for _ in range(100):
        critic(x, y)
    layers = [m for m in critic.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len(layers) >= 3
    for layer in layers:
        assert largest_singular_value(layer) == pytest.approx(1, abs=0.01)
    free = critic_for(net, size)
    assert any(
        abs(largest_singular_value(m) - 1) > 0.05 for m in free.modules() if isinstance(m, nn.Linear | nn.Conv2d)
    )


def test_a_perceptron_under_spectral_norms_is_a_contraction() -> None:
    net = mlp([6, 32, 32, 1], slope=0.2, spectral=True)
    a, b = torch.randn(500, 6), torch.randn(500, 6)
    for _ in range(100):
        net(a)
    with torch.no_grad():
        slopes = (net(a) - net(b)).norm(dim=1) / (a - b).norm(dim=1)
    assert slopes.max() <= 1.01


def test_the_critic_is_its_formula() -> None:
    r"""f(x, y) = w . phi(x) + b + v_y . phi(x); without the second part where the label is unknown."""
    features = mlp([5, 7], linear_end=False)
    critic = Critic(features, 7, labels=3)
    x, y = torch.randn(4, 5), torch.tensor([0, 2, -1, 1])
    phi, v = features(x), critic.project.weight.T  # type: ignore[union-attr]
    project = torch.stack([v[k] @ p if k >= 0 else torch.zeros(()) for k, p in zip(y, phi, strict=True)])
    aim = phi @ critic.out.weight[0] + critic.out.bias + project  # type: ignore[operator,index]
    torch.testing.assert_close(critic(x, y), aim)
    plain = Critic(features, 7)
    assert plain.project is None
    torch.testing.assert_close(plain(x, None), plain.out(phi)[:, 0])
