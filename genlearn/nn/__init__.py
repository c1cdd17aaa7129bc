"""Backbones: nets that know shapes, not models."""
