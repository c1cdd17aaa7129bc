"""Model folders that somebody made on purpose: links, devices, bombs, texts that are no JSON, weights that lie about their size.

Every idea has a name, the good folder that it begins from, and what it does to it. Checksums are right wherever the idea is not the
checksums themselves. What settings, state and codec may claim is in `claims.py`.
"""

from __future__ import annotations

import gzip
import json
import os
import pickle
from collections.abc import Iterator

import torch

from genlearn import store

from . import claims
from .deeds import (
    CODEC,
    CONFIG,
    ESCAPE,
    WEIGHTS,
    Idea,
    Trap,
    aside,
    bind,
    checksum,
    codec,
    config,
    content,
    header,
    outside,
    replaced,
    sparse,
    tarred,
    tensor,
    torch_saved,
    zipped,
)  # fmt: skip


def ideas(*, large: bool = True) -> Iterator[Idea]:
    """Yield every idea; `large` ones take a while to make or to answer."""
    yield from _places()
    yield from _texts()
    yield from _weights()
    yield from claims.ideas()
    if large:
        yield from _large()


def _places() -> Iterator[Idea]:
    base = "gmm-table"
    for name in (CONFIG, CODEC, WEIGHTS):
        yield f"{name} is a link to /etc/passwd", base, replaced(name, lambda p: p.symlink_to("/etc/passwd"))
        yield f"{name} is a link to /dev/zero", base, replaced(name, lambda p: p.symlink_to("/dev/zero"))
        yield f"{name} is a link to itself", base, replaced(name, lambda p: p.symlink_to(p.name))
        yield f"{name} is a link to the same outside", base, outside(name)
        yield f"{name} is a hard link", base, outside(name, hard=True)
        yield f"{name} is a folder", base, replaced(name, lambda p: p.mkdir())
        yield f"{name} is a pipe", base, replaced(name, os.mkfifo)
        yield f"{name} is a socket", base, replaced(name, bind)
        yield f"{name} is empty", base, content(name, b"")
        yield f"{name} is a sparse terabyte", base, replaced(name, sparse(2**40))
        yield f"{name} is a sparse 2 GB", base, replaced(name, sparse(2**31))
        yield f"{name} is a pickle", base, content(name, pickle.dumps(Trap()))
        yield f"{name} is a torch file", base, content(name, torch_saved())
        yield f"{name} is a zip archive", base, content(name, zipped(b"{}"))
        yield f"{name} is a tar archive", base, content(name, tarred(b"{}"))
        yield f"{name} is gzipped zeros", base, content(name, gzip.compress(bytes(10**6)))
    for name in (CODEC, WEIGHTS):
        yield f"what was left of {name} is a link", base, aside(name, lambda p: p.symlink_to("/etc/passwd"))
        yield f"what was left of {name} is a pipe", base, aside(name, os.mkfifo)
        yield f"what was left of {name} is a terabyte", base, aside(name, sparse(2**40))
        for what in ("/../../../../etc/passwd", "../../../../../../etc/passwd", "A" * 64, "", [], 7, None):
            yield f"the checksum of {name} is {what!r:.20}", base, checksum(name, what)
        for size in (-1, 10**30, "1", None, [], 0):
            yield (
                f"the size of {name} is {size!r}",
                base,
                config(lambda c, n=name, s=size: c["bytes"].update({n: s}), sealed=False),
            )
    yield "the folder of a checksum exists", base, checksum(CODEC, "/../../../../etc/passwd", folder=True)


def _texts() -> Iterator[Idea]:
    digits = b"1" + b"0" * 100_000
    texts: dict[str, bytes] = {
        "deep lists": b"[" * 100_000, "deep objects": b'{"a":' * 100_000, "closed deep lists": b"[" * 900 + b"]" * 900,
        "many digits": b'{"a": ' + digits + b"}", "1e400": b'{"a": 1e400}', "NaN": b'{"a": NaN}', "Infinity": b"-Infinity",
        "a name twice": b'{"format": 1, "format": 1}', "UTF-16": '{"format": 1}'.encode("utf-16"), "a mark": b"\xef\xbb\xbf{}",
        "Latin-1": '{"ä": 1}'.encode("latin-1"), "zeros": bytes(1000), "more behind": b"{} {}", "a text": b'"x"', "a number": b"7",
        "null": b"null", "a list": b"[1]", "nothing in it": b"{}", "comments": b"{} // no", "Python": b"{'a': (1,)}",
        "code": b"exit(3)", "half a surrogate": b'{"\\ud800": 1}', "half a character": b'{"\xc3": 1}',
        "a long float": b'{"a": {"$float": "' + b"1" * 10**5 + b'"}}',
        "floats in floats": b'{"$float":' * 500 + b"0" + b"}" * 500,
    }  # fmt: skip
    for what, text in texts.items():
        for name in (CONFIG, CODEC):
            yield f"{name}: {what}", "vae-table", content(name, text)


def _weights() -> Iterator[Idea]:
    one, name = tensor([1], 0, 4), ESCAPE + "_"
    twice = b"{" + b",".join([b'"a_":' + json.dumps(one).encode()] * 2) + b"}"
    files: dict[str, bytes] = {
        "a header of an exabyte": header({}, length=2**60),
        "a header of all bits": header({}, length=2**64 - 1),
        "a petabyte promised": header({"means_": tensor([250 * 10**12], 0, 10**15)}),
        "a shape beyond all": header({"means_": tensor([10**9, 10**9], 0, 8)}, bytes(8)),
        "a shape that overflows": header({"means_": tensor([2**33, 2**33], 0, 16)}, bytes(16)),
        "no numbers, large shape": header({"means_": tensor([0, 2**60], 0, 0)}),
        "no components, large shape": header({"weights_": tensor([0], 0, 0), "means_": tensor([0, 2**40], 0, 0)}),
        "tensors on each other": header({f"t{i}_": tensor([2], 0, 8) for i in range(3)}, bytes(8)),
        "holes between tensors": header({"a_": one, "b_": tensor([1], 90, 94)}, bytes(94)),
        "an end before the start": header({"a_": tensor([1], 8, 4)}, bytes(8)),
        "negative places": header({"a_": tensor([1], -4, 0)}, bytes(4)),
        "an unknown type": header({"a_": tensor([1], 0, 4, "Q99")}, bytes(4)),
        "four bits": header({"a_": tensor([2], 0, 1, "F4")}, bytes(1)),
        "more behind": header({}, bytes(10**6)),
        "a name twice": header(twice, bytes(4)),
        "a deep header": header(b'{"a":' * 50_000),
        "no UTF-8": header(b'{"\xff": 1}'),
        "a long name": header({"x" * 10**6: one}, bytes(4)),
        "a name that acts": header({name: one}, bytes(4)),
        "metadata": header({"__metadata__": {"x": "y" * 10**6}}),
        "metadata of the wrong kind": header({"__metadata__": 7}),
        "a shape of thousands": header({"a_": tensor([1] * 5000, 0, 4)}, bytes(4)),
        "a list for a header": header([1, 2]),
        "eight bytes": bytes(8),
        "seven bytes": bytes(7),
    }
    for what, data in files.items():
        yield f"weights: {what}", "gmm-matrix", content(WEIGHTS, data)
    none = {"weights_": [0], "means_": [0, 192], "tables_": [0, 3], "noise_": [0, 192]}
    for rank in (0, 30_000):
        shapes = {**none, "factors_": [0, 192, rank]}
        data = header({key: tensor(shape, 0, 0, "F64") for key, shape in shapes.items()})
        yield f"weights: no components of rank {rank}", "gmm-colour", content(WEIGHTS, data)


def _large() -> Iterator[Idea]:
    base = "vae-table"
    for name in (CONFIG, CODEC):
        yield f"{name}: a million lists", base, content(name, b"[" + b"[]," * 10**6 + b"[]]")
        yield f"{name}: many texts", base, content(name, b"[" + b'"aa",' * 6_000_000 + b"0]")
    yield "config.json: many settings", base, config(lambda c: c["params"].update({f"a{i}": 0 for i in range(10**5)}))
    yield "config.json: a long list", base, config(lambda c: c["params"].update(hidden=[1] * 10**5))
    yield "weights: a header of 100 MB", base, content(WEIGHTS, header(b" " * 10**8))
    for count in (30_000, 60_000):
        data = header({f"t{i}_": tensor([0], 0, 0) for i in range(count)})
        yield f"weights: {count:,} tensors", base, content(WEIGHTS, data)
    yield "a gigabyte of one-hot levels", "kde-codes", content(WEIGHTS, store.tensor_bytes({
        "levels_": torch.zeros(1_000_000, 1, dtype=torch.int32), "numbers_": torch.zeros(1_000_000, 1),
        "centre_": torch.zeros(1).double(), "scale_": torch.ones(1).double(),
    }))  # fmt: skip
    shape = [1, 2048, 2048]
    for folder in ("marginals-grey", "vae-colour", "copycat-colour", "gmm-colour", "kde-binary"):
        yield f"images of shape {shape} of {folder}", folder, codec(lambda s: s.update(shape=shape))
    labels = [f"l{i}" for i in range(500_000)]
    yield "half a million labels", "copycat-colour", codec(lambda s: s.update(labels=labels))
    yield "a hundred thousand columns", "copycat-table", codec(lambda s: s.update(columns=s["columns"][:1] * 100_000))
    yield "thousands of columns", "copycat-table", codec(lambda s: s.update(columns=_named(s["columns"][0], 5000)))
    yield "files left aside", "gmm-table", lambda p: [(p / f".{CODEC}.{i:016x}").touch() for i in range(5000)]


def _named(column: dict[str, object], count: int) -> list[dict[str, object]]:
    return [{**column, "name": f"a{i}", "key": f"a{i}"} for i in range(count)]
