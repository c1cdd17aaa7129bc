"""The form of a compressed file: a short header, 32-bit words, a checksum. Safe to read from anywhere.

| bytes | what |
|---|---|
| 4 | `GLRN` |
| 1, 1 | version; 0 lossless, 1 lossy |
| 2, 2 | lanes of the stack; records that the nets see at a time |
| 4, 4, 4 | records; how many of them bring a label; blocks that are written without latent numbers |
| 4 | step of a lossy file, float32 |
| 8, 4 | digests of the model's weights and of the layout |
| 4 | CRC-32 of what was coded |
| 4 each | words |
| 4 | CRC-32 of all before |
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..data.memory import fits, in_words
from ..errors import Problem
from ..store import to_jsonable

MAGIC, VERSION = b"GLRN", 1
MOST_LANES, MOST_BLOCK = 256, 64
MOST_PER_BYTE = 512  # records: so reading takes a time that the size of the file bounds


@dataclass
class Container:
    """A compressed file.

    Arguments:
        lossy: Whether the records come back approximately.
        lanes: Lanes of the stack.
        block: Records that the nets see at a time.
        count: Records.
        labelled: How many of them bring a label.
        rounded: Blocks of a lossless file, the last ones, whose latent numbers are rounded.
        step: Of a lossy file.
        model: Digest of the model.
        layout: Digest of the layout.
        check: CRC-32 of what was coded.
        words: The stack.
    """

    lossy: bool
    lanes: int
    block: int
    count: int
    labelled: int
    rounded: int
    step: float
    model: bytes
    layout: bytes
    check: int
    words: np.ndarray

    HEADER: ClassVar[struct.Struct] = struct.Struct("<4sBBHHIIIf8s4sI")

    def to_bytes(self) -> bytes:
        """Return the file."""
        head = self.HEADER.pack(
            MAGIC, VERSION, self.lossy, self.lanes, self.block, self.count, self.labelled, self.rounded, self.step, self.model,
            self.layout, self.check,
        )  # fmt: skip
        body = head + self.words.astype("<u4").tobytes()
        return body + struct.pack("<I", zlib.crc32(body))

    @staticmethod
    def fewest_words(count: int) -> int:
        """Return how many words a file of so many records has at least."""
        return count // MOST_PER_BYTE // 4 + 1

    @classmethod
    def from_bytes(cls, data: bytes) -> Container:
        """Read a file.

        Errors:
            Problem: If it is none, is damaged, or asks for what no file asks for.
        """
        size = cls.HEADER.size
        if len(data) < size + 4 or data[:4] != MAGIC:
            raise Problem("this is no compressed file of genlearn. Give one that `genlearn compress` wrote.")
        if data[4] != VERSION:
            raise Problem(f"the file has version {data[4]}, this genlearn reads {VERSION}. Use the one that wrote it.")
        if zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0] or (len(data) - size) % 4:
            raise Problem("the file is damaged (its checksum does not fit). Compress again, or restore the file.")
        _, _, lossy, lanes, block, count, labelled, rounded, step, model, layout, check = cls.HEADER.unpack_from(data)
        words = np.frombuffer(data, "<u4", offset=size)[:-1]
        found = cls(lossy == 1, lanes, block, count, labelled, rounded, step, model, layout, check, words)
        sound = lossy <= 1 and 1 <= found.lanes <= MOST_LANES and 1 <= found.block <= MOST_BLOCK
        sound = sound and 2 * found.lanes <= len(words) and max(found.labelled, found.rounded) <= found.count
        sound = sound and 1 <= found.count <= MOST_PER_BYTE * len(data) and math.isfinite(found.step)
        if not sound or (not 1e-4 < found.step < 1e4 if found.lossy else found.step != 0):
            raise Problem("the file is damaged (its header makes no sense). Compress again, or restore the file.")
        return found

    def check_model(self, model: Any) -> None:
        """Raise `Problem` unless this model wrote the file, and its records fit into memory."""
        if self.layout != digest_of_layout(model):
            raise Problem("the file holds other columns than this model knows. Use the model that wrote it.")
        if self.model != digest_of_model(model):
            raise Problem("another model wrote the file. Use that one: weights of another fit cannot read it.")
        size = 8 * self.count * model.layout_.size
        if not fits(size):
            raise Problem(f"{self.count:,} records take {in_words(size)}, more than fits. Allow more: GENLEARN_MEMORY.")


def digest_of_model(model: Any) -> bytes:
    """Return eight bytes that depend on the model's name, codec and every learned number."""
    tensors, _ = model._state()
    digest = hashlib.sha256(json.dumps([model.name(), to_jsonable(model.codec_.to_json())], sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.digest()[:8]


def digest_of_layout(model: Any) -> bytes:
    """Return four bytes that depend on the layout."""
    return hashlib.sha256(json.dumps(to_jsonable(model.layout_.to_json()), sort_keys=True).encode()).digest()[:4]
