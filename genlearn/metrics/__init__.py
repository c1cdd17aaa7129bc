"""Metrics: one question per file, pure functions of real and generated records, each with its uncertainty.

`Yardstick` asks them all of one data set; `METRICS` says what each answer means.
"""

from .base import Metric, Result
from .copies import Copies, tail_test
from .copies import copies as copies_of
from .intervals import paired_difference
from .latent_diagnosis import Finding, diagnose
from .nats import bits_per_dim, nats
from .registry import METRICS
from .yardstick import Columns, Judgement, Yardstick

__all__ = [
    "METRICS",
    "Columns",
    "Copies",
    "Finding",
    "Judgement",
    "Metric",
    "Result",
    "Yardstick",
    "bits_per_dim",
    "copies_of",
    "diagnose",
    "nats",
    "paired_difference",
    "tail_test",
]
