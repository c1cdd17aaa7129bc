"""Grey images made two-valued: by a threshold, or by drawing every pixel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np

from ..errors import Problem, did_you_mean
from .records import Part, Records

Binarize = Literal["threshold", "dynamic"]


def check_binarize(how: Any) -> None:
    """Raise `Problem` unless this is a way to make images two-valued, or None."""
    if how is not None and how not in get_args(Binarize):
        close = did_you_mean(str(how), get_args(Binarize))
        raise Problem(f'--binarize must be one of {", ".join(get_args(Binarize))}, not "{how}".{close}')


def binarized(records: Records, how: Binarize, part: Part, seed: int) -> Records:
    """Return a part of a data set with two-valued pixels; for `dynamic` the training part stays grey, and models draw from it.

    Errors:
        Problem: If the records are no images.

    References:
        On the quantitative analysis of deep belief networks (Salakhutdinov & Murray, 2008): the binary MNIST of the literature,
        https://doi.org/10.1145/1390156.1390266
    """
    if records.modality != "image":
        raise Problem("--binarize is for images; these are tables. Leave it out.")
    if how == "dynamic" and part == "train":
        return replace(records, options={**records.options, "binarize": how})
    if how == "threshold":
        white = records.x > 127
    else:
        rng = np.random.default_rng((seed, 0 if part == "valid" else 1))
        white = np.concatenate(
            [rng.random(x.shape, np.float32) * 255 < x for x in np.array_split(records.x, 1 + len(records) // 1000)]
        )
    return replace(records, x=np.where(white, np.uint8(255), np.uint8(0)))
