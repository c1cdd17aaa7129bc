"""Backbones: nets that know shapes, not models."""

from .flows import Autoregressive, Flow
from .nets import ConvDecoder, ConvFeatures, Critic, Shape, convolves, mlp, one_hot, with_label
from .priors import FlowPrior, MixturePrior, NormalPrior, Prior, VampPrior
from .residual import ResidualBlock, ResidualDecoder, ResidualFeatures
from .shapes import Shapes, critic_for, decoder_for, encoder_for

__all__ = [
    "Autoregressive",
    "ConvDecoder",
    "ConvFeatures",
    "Critic",
    "Flow",
    "FlowPrior",
    "MixturePrior",
    "NormalPrior",
    "Prior",
    "ResidualBlock",
    "ResidualDecoder",
    "ResidualFeatures",
    "Shape",
    "Shapes",
    "VampPrior",
    "convolves",
    "critic_for",
    "decoder_for",
    "encoder_for",
    "mlp",
    "one_hot",
    "with_label",
]  # fmt: skip
