"""Seeded mutations of good inputs: bytes changed, cut, repeated, moved, spliced with others, and words that parsers stumble over."""

from __future__ import annotations

import random
from collections.abc import Sequence

WORDS = (
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\n\n", b"\t", b'"', b"'", b",", b";", b"=", b":", b"..", b"{", b"[", b"}",
    b"]", b"-", b"+", b"e", b"1e999", b"-1", b"0x10", b"NaN", b"inf", b"null", b"true", b"9" * 30, b"2147483648", b"\x1f\x8b",
    b"PK\x03\x04", b"\x89PNG", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\xe2\x80\xae", b"\xf0\x9f\x98\x80", b"%s",
    b"{0.__class__}", b"../", b"\x1b[2J",
)  # fmt: skip


def mutated(seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """Return one of the seeds after one to eight mutations."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        to = min(len(data), at + rng.choice((1, 2, 4, 16, 200)))
        match rng.randrange(9):
            case 0 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[at % len(data)] = rng.randrange(256)
            case 2:
                del data[at:to]
            case 3:
                data[at:at] = data[at:to]
            case 4:
                data[at:at] = rng.choice(WORDS)
            case 5:
                data[at:to] = rng.choice(WORDS)
            case 6:
                del data[at:]
            case 7:
                other = rng.choice(seeds)
                data[at:] = other[rng.randrange(len(other) + 1) :]
            case _:
                data[at:to] = bytes(rng.randrange(256) for _ in range(to - at))
    return bytes(data)
