"""Feature spaces without downloads: two views of every record, A from no training at all, B learned on the training part.

A verdict that holds in one space only is worth a flag: `Yardstick` sets it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..data.records import Dataset, Records
from ..errors import Problem

Trees = Callable[[Records], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Space:
    """A feature space: call it with records.

    Arguments:
        name: `A` or `B`.
        note: How it was made, and how good what it learned is.
        embed: Maps records to `(n, d)` float32.
        trees: Maps records to `(n, d)` columns for tree classifiers and `(d,)` which of them are categories; None where a
            linear classifier on the features is the judge.
    """

    name: Literal["A", "B"]
    note: str
    embed: Callable[[Records], np.ndarray]
    trees: Trees | None = None

    def __call__(self, records: Records) -> np.ndarray:
        """Return `(n, d)` float32 features."""
        return self.embed(records)


def spaces(data: Dataset, *, seed: int = 0) -> dict[str, Space]:
    """Return the spaces A and B of a data set, fitted on its training part.

    Arguments:
        data: The data set; nothing but `train` is learned from, `valid` gives the accuracy in B's note.
        seed: Seed of B's training. A's random filters always have seed 0.

    Errors:
        Problem: If the modality has no feature spaces.
    """
    if data.modality == "image":
        from .image_features import image_spaces

        return image_spaces(data, seed)
    if data.modality == "table":
        from .table_features import table_spaces

        return table_spaces(data, seed)
    raise Problem(f'records of modality "{data.modality}" have no feature spaces. Judged are: table, image.')
