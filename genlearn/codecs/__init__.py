"""Records to codes and back: one codec per modality."""

from .base import EVERY_KIND, Codec, Exactness, Given, codec_for, weakest

__all__ = ["EVERY_KIND", "Codec", "Exactness", "Given", "codec_for", "weakest"]
