"""Backbones: nets that know shapes, not models."""

from .nets import (
    ConvDecoder,
    ConvFeatures,
    Critic,
    Shape,
    convolves,
    decoder_for,
    encoder_for,
    features_for,
    mlp,
    one_hot,
    with_label,
)

__all__ = [
    "ConvDecoder", "ConvFeatures", "Critic", "Shape", "convolves", "decoder_for", "encoder_for", "features_for", "mlp",
    "one_hot", "with_label",
]  # fmt: skip
