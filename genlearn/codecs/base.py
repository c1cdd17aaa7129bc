"""What every codec does: records to codes and back, one codec per modality, fitted on training records only."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from ..data.memory import block_rows, room
from ..data.records import Records
from ..errors import Problem
from ..layout import Code, Layout
from .units import Units

Exactness = Literal["exact", "bound", "estimate"]
EVERY_KIND = frozenset({"real", "ordered", "binary", "category"})
MODALITIES = ("table", "image")  # each a file of this folder


def weakest(*kinds: Exactness) -> Exactness:
    """Return the weakest of several score kinds: exact > bound > estimate.

    Example:
        >>> weakest("exact", "bound")
        'bound'
    """
    order: tuple[Exactness, ...] = ("exact", "bound", "estimate")
    return order[max(order.index(k) for k in kinds)]


@dataclass
class Given:
    """Conditions in code units.

    Arguments:
        x: `(1, d)` code, NaN where nothing is asked.
        y: Level of the layout's target, or None.
        ranges: Column number -> (low, high) in code units.
        names: The fields that conditions name, for messages.
    """

    x: Tensor
    y: int | None = None
    ranges: dict[int, tuple[float, float]] = field(default_factory=dict)
    names: tuple[str, ...] = ()


class Codec(ABC):
    """Invertible map between records and codes.

    Subclasses live in `genlearn/codecs/<modality>.py` under the name `codec`. A codec is fitted on training records, is stored
    as JSON, and returns the log-determinant of its change of variables, so that every score is in nats per record in data units.

    Arguments:
        takes: Field kinds that the model can handle. Where `ordered` is not among them, integers are dequantised: they
            become `real` fields with `width > 0`, uniform noise fills the lattice cell, and scores become lower bounds
            (Jensen). Where `binary` is not among them, binary values become categories with two levels.
        fold: Put a label into the last column of `x` instead of `y`.
        scale: Scale of the numbers in tables where the records ask for none, see `codecs.scales`.
    """

    modality: ClassVar[str]
    layout: Layout
    notes: list[str]

    def __init__(self, takes: frozenset[str] = EVERY_KIND, fold: bool = False, scale: str = "auto") -> None:
        self.takes, self.fold, self.scale, self.notes = takes, fold, scale, []

    @property
    def kind(self) -> Exactness:
        """`bound` if integers are dequantised, else `exact`."""
        return "bound" if any(f.width for f in self.layout.fields) else "exact"

    @property
    def units(self) -> Units:
        """What the codes say in the units of their columns, where the codes themselves do not."""
        return Units()

    @property
    @abstractmethod
    def features(self) -> int:
        """How many values a record has, labels that were given apart from it left out."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of these values; empty where they have none."""
        return ()

    @abstractmethod
    def fit(self, records: Records) -> Self:
        """Learn levels, scales and atoms from training records; sets `layout` and `notes`."""

    @abstractmethod
    def parse(self, records: Records) -> Any:
        """Turn records into plain numbers (and indices of categories); raise `Problem` where they do not fit.

        What it returns has a length and can be sliced by rows.
        """

    @abstractmethod
    def transform(
        self, raw: Any, noise: Tensor | torch.Generator | None = None, unknown: np.ndarray | None = None
    ) -> Code:
        """Turn parsed records into a code with its `log_det`.

        Arguments:
            raw: What `parse` returned.
            noise: Where dequantised integers lie in their cells: `(layout.size,)` numbers in (0, 1) shared by all rows, a
                generator for a fresh draw per cell, or None for the middle.
            unknown: True where a value is to be filled in: `(n, columns)` for tables, `(n, h, w)` for images.
        """

    @abstractmethod
    def decode(self, code: Code) -> Records:
        """Turn codes back into records that look like those of `fit`."""

    @abstractmethod
    def given(self, conditions: Mapping[str, Any]) -> Given:
        """Translate `{"churn": "yes", "age": "30:40"}` into code units; raise `Problem` for unknown names or values."""

    @abstractmethod
    def fill(self, records: Records, filled: Records, unknown: np.ndarray) -> Records:
        """Return `records` with the cells where `unknown` is True taken from `filled`; all others untouched."""

    @abstractmethod
    def missing(self, records: Records, mask: Any | None) -> np.ndarray:
        """Return which cells are to be filled: `mask` brought to the right shape, or the missing cells of `records`."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return everything that `from_json` needs."""

    @classmethod
    @abstractmethod
    def from_json(cls, spec: dict[str, Any]) -> Self:
        """Rebuild a fitted codec."""

    def encode(
        self, records: Records, noise: Tensor | torch.Generator | None = None, unknown: np.ndarray | None = None
    ) -> Code:
        """`transform(parse(records))`, block by block; a code that does not fit into memory lies on the disk."""
        n = len(records)
        if n <= block_rows(records.width):
            return self.transform(self.parse(records), noise, unknown)
        whole: Code | None = None
        for rows, block in records.blocks():
            code = self.transform(self.parse(block), noise, None if unknown is None else unknown[rows])
            if whole is None:
                whole = Code(*(None if t is None else _room(n, t) for t in _tensors(code)))  # type: ignore[arg-type]
            for there, here in zip(_tensors(whole), _tensors(code), strict=True):
                if there is not None and here is not None:
                    there[rows] = here
        assert whole is not None
        return whole


def _tensors(code: Code) -> tuple[Tensor | None, ...]:
    return code.x, code.y, code.mask, code.log_det, code.chance


def _room(n: int, like: Tensor) -> Tensor:
    """Return an uninitialised tensor of `n` rows, on the disk if it is too large for the memory."""
    return torch.from_numpy(room((n, *like.shape[1:]), like.numpy().dtype))


def codec_for(modality: str) -> type[Codec]:
    """Return the codec class of a modality.

    Example:
        >>> codec_for("image").modality
        'image'
    """
    if modality not in MODALITIES:
        raise Problem(f'no codec for modality "{modality}". Known: {", ".join(MODALITIES)}.')
    return importlib.import_module(f"genlearn.codecs.{modality}").codec
