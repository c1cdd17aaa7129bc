"""Splits: which record is learned from, chosen by or judged by; the same seed gives the same split on every machine."""

from __future__ import annotations

import math

import numpy as np

VALID_SHARE, TEST_SHARE = 0.1, 0.2
MANY = 2**20  # more records are not counted: each group goes where its hash falls, and shares hold on average
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def assign(content: np.ndarray, *, valid: float = VALID_SHARE, test: float = TEST_SHARE, seed: int = 0) -> np.ndarray:
    """Return `(n,)` part numbers (0 train, 1 valid, 2 test); records with equal content go to the same part.

    Groups of equal records are ordered by a hash of their first position and the seed, then fill test, valid and train.
    A group that does not fit into what is left of a part goes to the next one. Of more than a million records, each goes
    where a hash of its content and the seed falls.

    Arguments:
        content: `(n,)` hashes: equal where records are equal.
        valid: Share of the validation part.
        test: Share of the test part.
        seed: Another seed, another split.

    Example:
        >>> np.bincount(assign(np.arange(1797)))
        array([1257,  180,  360])
    """
    n = len(content)
    if n > MANY:
        return _fallen(content, valid, test, seed)
    room_test = min(math.ceil(test * n - 1e-9), max(n - 1, 0))
    room_valid = min(math.floor(valid * n + 0.5), max(n - 1 - room_test, 0))
    _, first, group, size = np.unique(content, return_index=True, return_inverse=True, return_counts=True)
    part_of_group = np.zeros(len(size), dtype=np.int64)
    for g in np.argsort(_hash(first, seed), kind="stable"):
        if size[g] <= room_test:
            part_of_group[g], room_test = 2, room_test - size[g]
        elif size[g] <= room_valid:
            part_of_group[g], room_valid = 1, room_valid - size[g]
        elif room_test == room_valid == 0:
            break
    return part_of_group[group]


def _fallen(content: np.ndarray, valid: float, test: float, seed: int) -> np.ndarray:
    part = np.empty(len(content), dtype=np.int8)
    for start in range(0, len(part), MANY):
        place = _hash(content[start : start + MANY], seed) / 2.0**64
        part[start : start + MANY] = np.where(place < test, 2, np.where(place < test + valid, 1, 0))
    return part


def _hash(position: np.ndarray, seed: int) -> np.ndarray:
    """Return `(n,)` uint64 hashes of positions: the generator splitmix64, one stream per seed.

    References:
        Fast splittable pseudorandom number generators (Steele, Lea, Flood, 2014), https://doi.org/10.1145/2714064.2660195
    """
    start = _mix(np.array([seed], dtype=np.uint64))
    return _mix(start + (position.astype(np.uint64) + np.uint64(1)) * _GOLDEN)


def _mix(z: np.ndarray) -> np.ndarray:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return z ^ (z >> np.uint64(31))
