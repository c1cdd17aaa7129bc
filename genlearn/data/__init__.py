"""Readers: any source a person has, into records."""

from .catalog import Entry, datasets
from .reading import read, read_all
from .records import Dataset, Records, as_records
from .toys import toy_log_density, toy_sample

__all__ = [
    "Dataset", "Entry", "Records", "as_records", "datasets", "read", "read_all", "toy_log_density", "toy_sample",
]  # fmt: skip
