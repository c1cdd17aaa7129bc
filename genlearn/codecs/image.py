"""Images to codes and back: pixel levels as they are, or dequantised; two-valued images as binary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..data.records import Records
from ..errors import Problem, did_you_mean
from ..layout import Code, Field, Layout
from .base import Codec, Given
from .levels import MISSING, UNSEEN, Levels
from .numbers import check_array_type
from .stored import typed

FEW_LEVELS = 32
DYNAMIC = "dynamic"
KEPT_OPTIONS: dict[str, Any] = {"origin": str, "squeeze": bool, "levels": int, "binarize": str}
MOST_VALUES = 2**22  # per image: lists of as many columns still fit anywhere


@dataclass
class ParsedImages:
    """Images as levels.

    Arguments:
        k: `(n, d)` uint8 levels, channel first.
        y: `(n,)` int64 labels, -1 where unknown; None without a target.
        log_det: `(n,)` log probabilities of labels unlike all of training.
    """

    k: Tensor
    y: Tensor | None
    log_det: Tensor

    def __len__(self) -> int:
        return len(self.k)

    def __getitem__(self, rows: slice) -> ParsedImages:
        return ParsedImages(self.k[rows], None if self.y is None else self.y[rows], self.log_det[rows])


class ImageCodec(Codec):
    r"""Images to codes and back.

    Levels \(k = 0..L-1\) stay as they are where the model takes `ordered` (or `binary`, if only two values occur). Else they
    are dequantised: \(z = 2 (k + u)/L - 1\) with \(u \in (0, 1)\), which adds \(d \log(2/L)\) to the log density.

    Options of the records: `levels` (grey levels per channel; found from the data if absent); `binarize="dynamic"`: a pixel is 1 with
    probability level / 255, drawn anew for every batch, and for scores with numbers that all records share.

    Example:
        >>> images = np.array([[[[0], [255]]], [[[255], [255]]]], dtype=np.uint8)
        >>> codec = ImageCodec().fit(Records("image", images))
        >>> codec.layout.fields[0].kind, codec.encode(Records("image", images)).x.tolist()
        ('binary', [[0, 1], [1, 1]])
    """

    modality: ClassVar[str] = "image"

    shape: tuple[int, int, int]
    pair: tuple[int, int] | None
    levels: int
    redraw: bool
    labels: Levels | None
    label_type: str
    target: str
    rows: int
    options: dict[str, Any]

    @property
    def features(self) -> int:
        """Height x width x channels."""
        return math.prod(self.shape)

    # -- fitting -----------------------------------------------------------------------------------------------------
    def fit(self, records: Records) -> Self:
        """Learn the number of levels and the labels; set `layout` and `notes`."""
        x = records.x
        _check(x)
        _, h, w, c = x.shape
        self.shape, self.rows = (c, h, w), len(x)
        self.options = {k: records.options[k] for k in KEPT_OPTIONS if k in records.options}
        self.redraw = records.options.get("binarize") == DYNAMIC
        self.pair, self.levels = ((0, 255), 2) if self.redraw else _levels_of(x, records.options.get("levels"))
        self.labels, self.label_type, self.target = None, "object", records.target or "label"
        self.notes = []
        if records.y is not None:
            labels = pd.Series(records.y)
            found = Levels.of(labels)
            self.labels = found if len(found) else None
            self.label_type = str(np.asarray(records.y).dtype)
            if (lost := int(labels.isna().sum())) and len(found):
                self.notes.append(f"images without a label: {lost} of {len(x)}")
        self._arrange()
        if self.redraw:
            self.notes.append("pixels are drawn anew in every pass: white with probability level / 255")
        if self.layout.fields[0].width:
            self.notes.append(f"pixels are dequantised: uniform noise within each of {self.levels} levels")
        return self

    def _arrange(self) -> None:
        if self._pixels > MOST_VALUES:
            raise Problem(f"images of {self._pixels:,} values are too large, at most {MOST_VALUES:,}. Resize them.")
        middle = (self.levels - 1) / 2
        if self.pair is not None:
            kind: Any = "binary" if "binary" in self.takes else "category"
            pixels = Field("pixels", kind, self.shape, levels=2, labels=tuple(map(str, self.pair)))
        elif "ordered" in self.takes:
            pixels = Field("pixels", "ordered", self.shape, levels=self.levels, loc=middle, scale=middle)
        else:
            pixels = Field("pixels", "real", self.shape, levels=self.levels, width=2 / self.levels)
        target = None
        if self.labels is not None:
            names = self.labels.labels
            target = Field(self.target, "category", levels=len(names), role="target", labels=names)
        c, h, w = self.shape
        measure = f"pixels: counts, {h} x {w} x {c}" + (f"; {self.target}: levels" if target else "")
        layout = Layout((pixels,), target, measure)
        self.layout = layout.with_target_as_field() if self.fold else layout

    @property
    def _pixels(self) -> int:
        return math.prod(self.shape)

    # -- records to codes --------------------------------------------------------------------------------------------
    def parse(self, records: Records) -> ParsedImages:
        """Turn images into levels; raise `Problem` for a wrong size or pixels beyond the levels of training."""
        x = records.x
        if records.modality != "image":
            raise Problem(f"this model was fitted on images, not on {records.modality} records.")
        _check(x)
        c, h, w = self.shape
        if x.shape[1:] != (h, w, c):
            came = " x ".join(map(str, x.shape[1:]))
            raise Problem(
                f"images are {came}, the model was fitted on {h} x {w} x {c} (height x width x channels). Resize them."
            )
        flat = np.array(x.transpose(0, 3, 1, 2), order="C").reshape(len(x), -1)
        if self.redraw:
            k = flat
        elif self.pair is not None:
            low, high = self.pair
            k = (flat == high).view(np.uint8)
            if ((flat != low) & (flat != high)).any():
                raise Problem(
                    f"the model was fitted on images of two values, {low} and {high}; these have others. Threshold them."
                )
        else:
            k = flat
            if len(k) and int(k.max()) >= self.levels:
                raise Problem(
                    f"a pixel has value {int(k.max())}, in training they were 0..{self.levels - 1}. Rescale the images."
                )
        log_det = np.zeros(len(x))
        y = None
        if self.labels is not None:
            level = np.full(len(x), MISSING) if records.y is None else self.labels.index(pd.Series(records.y))
            log_det[level == UNSEEN] = -math.log(self.rows + 2)
            y = torch.from_numpy(np.maximum(level, MISSING))
        return ParsedImages(torch.from_numpy(k), y, torch.from_numpy(log_det))

    def transform(
        self, raw: ParsedImages, noise: Tensor | torch.Generator | None = None, unknown: np.ndarray | None = None
    ) -> Code:
        """Turn levels into a code; see `Codec.transform`."""
        x, log_det, y = raw.k, raw.log_det.clone(), raw.y
        chance = x if self.redraw else None
        if chance is not None:
            x = bernoulli(
                chance, noise if isinstance(noise, torch.Generator) or noise is None else noise[: self._pixels]
            )
        if self.layout.fields[0].width:
            x = x.float()
            if isinstance(noise, torch.Generator):
                u: Tensor | float = torch.rand(x.shape, generator=noise)
            else:
                u = 0.5 if noise is None else noise[: self._pixels].float()
            x = x.add_(u).mul_(2 / self.levels).sub_(1)
            log_det += self._pixels * math.log(2 / self.levels)
        mask = None
        if unknown is not None:
            cells = np.broadcast_to(unknown if unknown.ndim == 4 else unknown[..., None], (len(x), *self._hwc))
            hidden = torch.from_numpy(np.array(cells.transpose(0, 3, 1, 2), order="C").reshape(len(x), -1))
            x, mask = x.float().masked_fill(hidden, math.nan), ~hidden
        if self.fold and y is not None:
            column = torch.where(y < 0, math.nan, y.float())[:, None]
            x = torch.cat([x.float(), column], 1)
            mask = None if mask is None else torch.cat([mask, y[:, None] >= 0], 1)
            y = None
        return Code(x, y, mask, log_det, chance)

    @property
    def _hwc(self) -> tuple[int, int, int]:
        c, h, w = self.shape
        return h, w, c

    # -- codes to records --------------------------------------------------------------------------------------------
    def decode(self, code: Code) -> Records:
        """Turn codes into uint8 images `(n, h, w, c)`, with labels if there are any."""
        x, y = code.x.detach().cpu(), None if code.y is None else code.y.cpu()
        if self.fold and self.labels is not None:
            x, y = x[:, :-1], torch.nan_to_num(x[:, -1].float(), nan=-1.0).long()
        if self.layout.fields[0].width:
            k = ((x.float() + 1) * (self.levels / 2)).floor()
        else:
            k = x.float().round() if x.is_floating_point() else x
        if k.is_floating_point():
            k = torch.nan_to_num(k)
        pixels = k.clamp(0, self.levels - 1).to(torch.uint8).numpy()
        if self.pair is not None:
            pixels = np.array(self.pair, dtype=np.uint8)[pixels]
        images = np.ascontiguousarray(pixels.reshape(len(pixels), *self.shape).transpose(0, 2, 3, 1))
        labels = None if self.labels is None or y is None else self._names(y.numpy())
        return Records("image", images, labels, self.target if self.labels is not None else None, self.options)

    def _names(self, y: np.ndarray) -> np.ndarray:
        assert self.labels is not None
        names = np.array([*self.labels.values, math.nan], dtype=object)[np.where(y < 0, len(self.labels), y)]
        dtype = np.dtype(self.label_type)
        return names.astype(dtype) if dtype.kind in "biufU" and (dtype.kind == "f" or (y >= 0).all()) else names

    # -- conditions and holes ----------------------------------------------------------------------------------------
    def given(self, conditions: Mapping[str, Any]) -> Given:
        """Translate a condition on the label."""
        wanted = Given(torch.full((1, self.layout.size), math.nan), names=tuple(conditions))
        for name, value in conditions.items():
            if self.labels is None:
                raise Problem(
                    f'cannot ask for "{name}": the images had no labels when the model was fitted. Fit with labels.'
                )
            if name not in (self.target, "label"):
                close = did_you_mean(str(name), [self.target])
                raise Problem(f'images have no "{name}".{close} Conditions take the label: "{self.target}".')
            level = self.labels.one(self.target, value)
            if self.fold:
                wanted.x[0, -1] = level
            else:
                wanted.y = level
        return wanted

    def missing(self, records: Records, mask: Any | None) -> np.ndarray:
        """Return `(n, h, w, c)`, True where a pixel is to be filled: `mask`, white or True, one for all or one per image."""
        h, w, c = self._hwc
        n = len(records)
        if mask is None:
            raise Problem(f"images have no missing pixels of their own: give a mask ({h} x {w}), white where to fill.")
        cells = np.asarray(mask)
        if cells.dtype != bool:
            cells = cells > (127 if cells.size and cells.max() > 1 else 0)
        shapes = {(h, w): (None, ..., None), (n, h, w): (..., None), (n, h, w, c): (...,), (n, h, w, 1): (...,)}
        if cells.shape not in shapes:
            raise Problem(
                f"the mask has shape {cells.shape}, the images are {h} x {w}. Give ({h}, {w}) or ({n}, {h}, {w})."
            )
        return np.broadcast_to(cells[shapes[cells.shape]], (n, h, w, c))

    def fill(self, records: Records, filled: Records, unknown: np.ndarray) -> Records:
        """Return the images with unknown pixels taken from `filled`."""
        cells = unknown if unknown.ndim == 4 else unknown[..., None]
        return Records("image", np.where(cells, filled.x, records.x), records.y, records.target, records.options)

    # -- storage -----------------------------------------------------------------------------------------------------
    def to_json(self) -> dict[str, Any]:
        """Return everything that `from_json` needs."""
        return {
            "takes": sorted(self.takes),
            "fold": self.fold,
            "shape": list(self.shape),
            "pair": None if self.pair is None else list(self.pair),
            "levels": self.levels,
            "redraw": self.redraw,
            "labels": None if self.labels is None else list(self.labels.values),
            "label_type": self.label_type,
            "target": self.target,
            "rows": self.rows,
            "options": self.options,
            "notes": self.notes,
        }

    @classmethod
    def from_json(cls, spec: dict[str, Any]) -> Self:
        """Rebuild a fitted codec."""
        codec = cls(frozenset(typed(spec["takes"], tuple[str, ...])), typed(spec["fold"], bool))
        codec.shape, codec.levels = typed(spec["shape"], tuple[int, int, int]), typed(spec["levels"], int)
        codec.pair, codec.redraw = typed(spec["pair"], tuple[int, int] | None), typed(spec.get("redraw", False), bool)
        if not 2 <= codec.levels <= 256 or not all(0 <= v <= 255 for v in codec.pair or ()) or min(codec.shape) < 1:
            raise ValueError(f"no images of shape {codec.shape} have {codec.levels} levels from {codec.pair or 0}")
        labels = typed(spec["labels"], tuple[Any, ...] | None)
        codec.labels = None if labels is None else Levels(labels)
        codec.label_type, codec.target = typed(spec["label_type"], str), typed(spec["target"], str)
        check_array_type(codec.label_type)
        codec.rows, codec.notes = typed(spec["rows"], int), list(typed(spec["notes"], tuple[str, ...]))
        codec.options = {k: typed(v, KEPT_OPTIONS[k], k) for k, v in spec["options"].items()}
        codec._arrange()
        return codec


codec = ImageCodec


def bernoulli(chance: Tensor, noise: Tensor | torch.Generator | None) -> Tensor:
    """Return uint8 draws that are 1 with probability `chance / 255`: from a generator, from uniform numbers, or the likelier value.

    Example:
        >>> bernoulli(torch.tensor([0, 100, 200, 255], dtype=torch.uint8), None).tolist()
        [0, 0, 1, 1]
    """
    if noise is None:
        return (chance > 127).to(torch.uint8)
    u = torch.rand(chance.shape, generator=noise, device=chance.device) if isinstance(noise, torch.Generator) else noise
    return (u * 255 < chance).to(torch.uint8)


def _check(x: Any) -> None:
    if not isinstance(x, np.ndarray) or x.dtype != np.uint8 or x.ndim != 4:
        what = f"{x.dtype} of shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
        raise Problem(f"images must be a uint8 array (n, height, width, channels), not {what}.")


def _levels_of(x: np.ndarray, told: int | None) -> tuple[tuple[int, int] | None, int]:
    """Return the two values of two-valued images (else None) and the number of levels."""
    seen = np.zeros(256, dtype=np.int64)
    for block in np.array_split(x.reshape(-1), 1 + x.size // 2**20):  # bincount widens its input to eight bytes a pixel
        seen += np.bincount(block, minlength=256)
    values = np.flatnonzero(seen)
    low, high = int(values[0]), int(values[-1])
    if told is not None:
        if not 2 <= told <= 256:
            raise Problem(f"levels must lie in 2..256, not {told}.")
        if told > 2:
            if high >= told:
                raise Problem(
                    f"a pixel has value {high}, but levels={told} allows 0..{told - 1}. Leave levels out or rescale."
                )
            return None, told
        if len(values) > 2:
            raise Problem(f"levels=2 was asked for, but the images have {len(values)} values. Threshold them first.")
    if len(values) == 2:
        return (low, high), 2
    if high <= 1:
        return (0, 1), 2
    return None, (high + 1 if high < FEW_LEVELS else 256)
