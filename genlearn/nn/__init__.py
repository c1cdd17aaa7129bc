"""Backbones: nets that know shapes, not models."""

from .nets import (
    ConvDecoder,
    ConvFeatures,
    Critic,
    Shape,
    Shapes,
    convolves,
    critic_for,
    decoder_for,
    encoder_for,
    mlp,
    one_hot,
    with_label,
)

__all__ = [
    "ConvDecoder", "ConvFeatures", "Critic", "Shape", "Shapes", "convolves", "critic_for", "decoder_for", "encoder_for", "mlp",
    "one_hot", "with_label",
]  # fmt: skip
