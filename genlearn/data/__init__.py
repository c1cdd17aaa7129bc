"""Readers: any source a person has, into records."""

from .records import Dataset, Records, as_records

__all__ = ["Dataset", "Records", "as_records"]
