"""Fuzz targets: one per parser. Whatever the bytes, the answer is data or a `Problem` of one printable line.

`python -m tests.fuzz PARSER --seconds 60 [--seed 0]` runs one for longer than the tests do.
"""

from .mutate import mutated
from .targets import TARGETS, Target, shake

__all__ = ["TARGETS", "Target", "mutated", "shake"]
