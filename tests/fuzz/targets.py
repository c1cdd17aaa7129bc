"""One target per parser: seeds, and what to do with bytes made of them."""

from __future__ import annotations

import gzip
import io
import json
import math
import random
import time
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from benchmarks.reliability.malformed.arrays import idx, npy, npz
from benchmarks.reliability.malformed.cases import good_csv
from benchmarks.reliability.malformed.images import encoded
from genlearn.cli.flags import Reading, pairs
from genlearn.cli.runs import OpenRun, read_facts
from genlearn.codecs import Codec, codec_for
from genlearn.data.arrays import read_idx, read_numpy
from genlearn.data.images import ImageFile, load_images
from genlearn.data.reading import read
from genlearn.data.records import Records
from genlearn.data.tables import TableFile, load_tables
from genlearn.errors import Problem
from genlearn.model import model_class
from genlearn.training.budget import seconds_of


@dataclass(frozen=True)
class Target:
    """A parser that is fed with broken inputs.

    Arguments:
        seeds: Good inputs.
        read: Reads bytes; raises nothing but `Problem`.
    """

    seeds: Sequence[bytes]
    read: Callable[[bytes], object]


def shake(target: Target, *, seed: int = 0, times: int | None = None, seconds: float = math.inf) -> tuple[int, int]:
    """Feed a target with mutations of its seeds; return how many it got and how many it refused.

    Errors:
        AssertionError: For an answer that is neither data nor one printable line; names the seed and the number of the input.
    """
    from . import mutated

    rng, end, tried, refused = random.Random(seed), time.monotonic() + seconds, 0, 0
    while (times is None or tried < times) and time.monotonic() < end:
        data = mutated(target.seeds, rng)
        tried += 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # libraries warn of what they mend; the command shows it as a note
                target.read(data)
        except Exception as e:
            if not isinstance(e, Problem) or not str(e).isprintable():
                raise AssertionError(f"seed {seed}, input {tried}: {type(e).__name__}: {e} for {data[:200]!r}") from e
            refused += 1
    return tried, refused


# -- what the targets do -----------------------------------------------------------------------------------------------
def _table(name: str) -> Callable[[bytes], object]:
    return lambda data: load_tables([TableFile(name, lambda: data)])


def _image(data: bytes) -> object:
    return load_images([ImageFile("a.png", lambda: data)], 8)


def _source(name: str) -> Callable[[bytes], object]:
    """Return a reader of bytes that lie in a file of that name."""

    def act(data: bytes) -> object:
        with TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            return read(path)

    return act


def _facts(data: bytes) -> object:
    """Read `run.json` and what it says of data and settings."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "run.json").write_bytes(data)
        return OpenRun(Path(folder), None, read_facts(Path(folder))).data({})


def _words(data: bytes) -> object:
    """Read words of the command line, each in one of the ways that there are: types, sizes, durations, settings."""
    text = data.decode("utf-8", "replace")
    ways: tuple[Callable[[], object], ...] = (
        lambda: Reading(types=text).options(),
        lambda: Reading(size=text).options(),
        lambda: seconds_of(text),
        *(partial(setting.parse, text, "vae") for setting in model_class("vae").settings().values()),
    )
    return ways[sum(data) % len(ways)]()


def _given(data: bytes) -> object:
    """Read conditions on a table with every kind of column."""
    return _codec().given(pairs(data.decode("utf-8", "replace"), "--given"))


@cache
def _codec() -> Codec:
    frame = pd.DataFrame({"age": range(30, 90), "height": np.linspace(1.5, 2, 60), "city": ["Bern", "Genf"] * 30})
    frame["since"] = pd.date_range("2020-01-01", periods=60).strftime("%Y-%m-%d")
    return codec_for("table")().fit(Records("table", frame))


# -- good inputs -------------------------------------------------------------------------------------------------------
CSV = good_csv(12).encode()
QUOTED = b'name;when;"size, cm"\r\n"M\xc3\xbcller; Ann";31.12.2020;"1,5"\r\nBo;1.1.2021;"2,5"\r\n'
LINES = b"".join(json.dumps({"age": i, "city": "ab"[i % 2], "in": {"a": i / 2}}).encode() + b"\n" for i in range(5))
LIST = json.dumps([{"age": 1, "b": None}, {"age": 2.5, "b": True}]).encode()
PIXELS = np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 4, 4)
RUN = json.dumps({
    "model": "gmm", "settings": {"components": 1}, "seed": 0,
    "data": {"source": "wine", "split": "ab12", "reading": {"target": "hue", "seed": 3, "types": {"ash": "real"}}},
}).encode()  # fmt: skip


def _parquet() -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame({"a": [1.5, 2.5, None], "b": ["x", None, "y"], "c": [1, 2, 3]}).to_parquet(buffer)
    return buffer.getvalue()


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(3):
            archive.writestr(f"{'cat' if i else 'dog'}/{i}.png", encoded(size=(4, 4)))
    return buffer.getvalue()


IMAGES = [encoded(form, (6, 5), mode) for form, mode in (
    ("PNG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "RGB"), ("GIF", "P"), ("BMP", "RGB"), ("TIFF", "L"), ("WEBP", "RGB"),
    ("PPM", "RGB"), ("TGA", "RGB"),
)]  # fmt: skip

TARGETS: dict[str, Target] = {
    "delimited": Target([CSV, QUOTED, gzip.compress(CSV), CSV.decode().encode("utf-16")], _table("a.csv")),
    "jsonl": Target([LINES, LIST], _table("a.jsonl")),
    "parquet": Target([_parquet()], _table("a.parquet")),
    "numpy": Target(
        [npy(PIXELS), npy(PIXELS[0] / 7), npy(np.array([(1, 2.5)], "i4,f8")), npz(x=PIXELS, y=np.arange(5))],
        lambda data: read_numpy(data, "a.npz"),
    ),
    "idx": Target([idx(PIXELS), gzip.compress(idx(PIXELS)), idx(np.arange(5))], lambda data: read_idx(data, "a.idx")),
    "image": Target(IMAGES, _image),
    "zip": Target([_zip()], _source("a.zip")),
    "file": Target([CSV, LINES, idx(PIXELS), npz(x=PIXELS), IMAGES[0], _parquet(), _zip()], _source("a.txt")),
    "run": Target([RUN], _facts),
    "words": Target([b"age=30:40,city=Bern", b"1h30m", b"32x48", b"256,128", b"0.5", b"none", b"true"], _words),
    "given": Target([b"age=30:40", b"city=Bern,age=31", b"since=2020-01-01:2020-02-01", b"height=:1.7"], _given),
}
