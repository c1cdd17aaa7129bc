"""Malformed inputs, each a case: what a person might hand over by mistake or in malice, and what the answer must name."""

from __future__ import annotations

from . import archives, arrays, flags, folders, images, tables, text
from .cases import Answer, Case, Place, answer, faults

FAMILIES: dict[str, tuple[Case, ...]] = {
    "tables": tables.CASES, "JSON, other files, paths": text.CASES, "images": images.CASES, "arrays": arrays.CASES,
    "zips": archives.CASES, "words of the command": flags.CASES, "run folders": folders.CASES,
}  # fmt: skip
CASES: tuple[Case, ...] = tuple(case for family in FAMILIES.values() for case in family)

__all__ = ["CASES", "FAMILIES", "Answer", "Case", "Place", "answer", "faults"]
