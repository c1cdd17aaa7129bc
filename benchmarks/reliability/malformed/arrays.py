"""Malformed arrays: numpy files and idx files."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .archives import bomb, packed, patched
from .cases import Case, Place

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)


def npy(array: Any) -> bytes:
    """Return an array as a .npy file, pickled if need be."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npz(**arrays: Any) -> bytes:
    """Return arrays as a .npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


def head(text: str, *, version: tuple[int, int] = (1, 0), body: bytes = b"") -> bytes:
    """Return a .npy file whose header is any text."""
    padded = text.encode() + b" " * (64 - (len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(padded)) + padded + body


def described(shape: str, kind: str = "<f8", order: str = "False", body: bytes = bytes(80)) -> bytes:
    """Return a .npy file with a header of its own."""
    return head(f"{{'descr': '{kind}', 'fortran_order': {order}, 'shape': {shape}, }}", body=body)


def idx(array: np.ndarray, *, kind: int = 8, sizes: Sequence[int] | None = None) -> bytes:
    """Return an idx file; `sizes` is what its header promises."""
    shape = array.shape if sizes is None else sizes
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}i", *shape) + array.astype(np.uint8).tobytes()


def _case(name: str, file: str, content: Callable[[], bytes], *says: str) -> Case:
    def make(place: Place) -> Sequence[str]:
        (place.folder / file).write_bytes(content())
        return ("fit", "marginals", file)

    return Case(f"array: {name}", make, (file, *says))


OBJECTS = np.array([[1, "a"], [2, None]], dtype=object)
NUMBERS = np.random.default_rng(0).normal(size=(20, 3))

NPY = (
    _case("objects, which unpickling could run", "a.npy", lambda: npy(OBJECTS), "Python objects"),
    _case("complex numbers", "a.npy", lambda: npy(NUMBERS + 1j), "complex"),
    _case("dates", "a.npy", lambda: npy(np.array(["2020-01-01"], "M8[D]")), "datetime64"),
    _case("durations", "a.npy", lambda: npy(np.array([5], "m8[s]")), "timedelta64"),
    _case("words", "a.npy", lambda: npy(np.array(["a", "b"])), "<U1"),
    _case("bytes", "a.npy", lambda: npy(np.array([b"a", b"b"])), "|S1"),
    _case("raw cells", "a.npy", lambda: npy(np.zeros(3, "V8")), "V8"),
    _case("one number", "a.npy", lambda: npy(np.array(3.0)), "()"),
    _case("no numbers", "a.npy", lambda: npy(np.zeros(0)), "no"),
    _case("no rows", "a.npy", lambda: npy(np.zeros((0, 4))), "(0, 4)"),
    _case("no columns", "a.npy", lambda: npy(np.zeros((4, 0))), "(4, 0)"),
    _case("no images", "a.npy", lambda: npy(np.zeros((0, 8, 8), np.uint8)), "(0, 8, 8)"),
    _case("images of no height", "a.npy", lambda: npy(np.zeros((5, 0, 8), np.uint8)), "(5, 0, 8)"),
    _case("images of no channels", "a.npy", lambda: npy(np.zeros((5, 8, 8, 0), np.uint8)), "(5, 8, 8, 0)"),
    _case("images of two channels", "a.npy", lambda: npy(np.zeros((5, 8, 8, 2), np.uint8)), "(5, 8, 8, 2)"),
    _case("images of seven channels", "a.npy", lambda: npy(np.zeros((5, 8, 8, 7), np.uint8)), "(5, 8, 8, 7)"),
    _case("five axes", "a.npy", lambda: npy(np.zeros((2, 3, 4, 5, 6), np.uint8)), "(2, 3, 4, 5, 6)"),
    _case("nine axes", "a.npy", lambda: npy(np.zeros((1,) * 9)), "(1, 1"),
    _case("pixels that are not numbers", "a.npy", lambda: npy(np.full((3, 4, 4), np.nan)), "NaN"),
    _case("pixels without bounds", "a.npy", lambda: npy(np.full((3, 4, 4), np.inf)), "infinite"),
    _case("pixels below nothing", "a.npy", lambda: npy(PIXELS.astype(np.int64) - 500), "-500"),
    _case("pixels beyond 16 bits", "a.npy", lambda: npy(PIXELS.astype(np.int64) * 10**6), "0..255"),
    _case("fields with arrays in them", "a.npy", lambda: npy(np.zeros(4, [("a", "f8", (2,))])), '"a"'),
    _case("fields with names only", "a.npy", lambda: npy(np.zeros(0, [("a", "f8")])), "no"),
    _case("nothing", "a.npy", bytes),
    _case("its magic word only", "a.npy", lambda: b"\x93NUMPY"),
    _case("cut in its header", "a.npy", lambda: npy(NUMBERS)[:40]),
    _case("cut behind its header", "a.npy", lambda: npy(NUMBERS)[:128]),
    _case("cut in its last number", "a.npy", lambda: npy(NUMBERS)[:-3]),
    _case("a version of the future", "a.npy", lambda: head("{}", version=(9, 9))),
    _case("a header of noise", "a.npy", lambda: head("\x01\x02\x03")),
    _case("a header that is a program", "a.npy", lambda: head("__import__('os').system('touch ran')")),
    _case("a header without a shape", "a.npy", lambda: head("{'descr': '<f8', 'fortran_order': False}")),
    _case("an unknown type", "a.npy", lambda: described("(10,)", "<q9")),
    _case("a shape that is no list", "a.npy", lambda: described("'ten'")),
    _case("a shape below nothing", "a.npy", lambda: described("(-10,)")),
    _case("a shape that turns positive", "a.npy", lambda: described("(-5, -2)")),
    _case("a shape of a trillion", "a.npy", lambda: described("(1000000, 1000000)")),
    _case("a shape beyond 64 bits", "a.npy", lambda: described(f"({10**30},)")),
    _case("a shape of ten billion bytes", "a.npy", lambda: described("(10000000000,)", "|u1")),
    _case("a row of ten billion axes' worth", "a.npy", lambda: described("(1, 100000, 100000)", "|u1")),
    _case("a pickle called npy", "a.npy", lambda: b"\x80\x04\x95\x0c\0\0\0\0\0\0\0\x8c\x02os\x94\x8c\x06system\x93."),
    _case("a picture called npy", "a.npy", lambda: b"\x89PNG\r\n\x1a\n" + bytes(60)),
    _case("CSV called npy", "a.npy", lambda: b"a,b\n1,2\n"),
)

NPZ = (
    _case("npz of objects", "a.npz", lambda: npz(x=OBJECTS), "Python objects"),
    _case(
        "npz with labels that are objects", "a.npz", lambda: npz(x=PIXELS, y=np.array([None] * 20)), "Python objects"
    ),
    _case("npz without arrays", "a.npz", lambda: npz(), "nothing"),
    _case("npz with names that say nothing", "a.npz", lambda: npz(foo=PIXELS, bar=PIXELS), "foo"),
    _case("npz with two arrays of records", "a.npz", lambda: npz(x=PIXELS, images=PIXELS), "x ", "images"),
    _case("npz with labels only", "a.npz", lambda: npz(y_train=np.arange(9), y_test=np.arange(9))),
    _case(
        "npz with labels of no records",
        "a.npz",
        lambda: npz(x_train=PIXELS, y_train=np.arange(20), y_test=np.arange(3)),
        "test",
    ),
    _case("npz with fewer labels than records", "a.npz", lambda: npz(x=PIXELS, y=np.arange(19)), "(19,)", "20"),
    _case("npz with labels of two axes", "a.npz", lambda: npz(x=PIXELS, y=np.eye(20)), "(20, 20)"),
    _case("npz with labels that are images", "a.npz", lambda: npz(x=PIXELS, y=PIXELS), "(20, 8, 8)"),
    _case("npz with complex labels", "a.npz", lambda: npz(x=PIXELS, y=np.ones(20) * 1j), "complex"),
    _case("npz with train and test of other sizes", "a.npz", lambda: npz(train=PIXELS, test=PIXELS[:, :4]), "test"),
    _case("npz with train and test of other columns", "a.npz", lambda: npz(train=NUMBERS, test=NUMBERS[:, :2]), "test"),
    _case("npz with a table and images", "a.npz", lambda: npz(train=NUMBERS, test=PIXELS), "test"),
    _case("npz of one number", "a.npz", lambda: npz(x=3.0), "()"),
    _case("npz cut in half", "a.npz", lambda: npz(x=PIXELS)[:700], "damaged"),
    _case("npz without bytes", "a.npz", bytes, "Save"),
    _case(
        "npz with a damaged array",
        "a.npz",
        lambda: npz(x=PIXELS).replace(PIXELS.tobytes()[:50], bytes(50), 1),
        "damaged",
    ),
    _case("npz that holds other files", "a.npz", lambda: packed(("a.txt", b"Dear Ann"))),
    _case("npz that holds a cut array", "a.npz", lambda: packed(("x.npy", npy(PIXELS)[:200]))),
    _case("npz that holds a lying shape", "a.npz", lambda: packed(("x.npy", described("(1000000, 1000000)")))),
    _case("npz that holds a pickle", "a.npz", lambda: packed(("x.npy", b"\x80\x04."))),
    _case("npz that is a bomb", "a.npz", lambda: bomb(3 * 2**30, "x.npy"), "unpacks"),
    _case("npz that is locked", "a.npz", lambda: patched(packed(("x.npy", npy(PIXELS))), 8, b"\1\0")),
    _case("a picture called npz", "a.npz", lambda: b"\x89PNG\r\n\x1a\n" + bytes(60)),
    _case("CSV called npz", "a.npz", lambda: b"a,b\n1,2\n"),
)

IMAGES = "train-images-idx3-ubyte"
IDX = (
    _case("idx without bytes", IMAGES, bytes),
    _case("idx of two bytes", IMAGES, lambda: b"\0\0"),
    _case("idx with a wrong magic word", IMAGES, lambda: b"\1\2" + idx(PIXELS)[2:], "0102"),
    _case("idx of an unknown type", IMAGES, lambda: idx(PIXELS, kind=7)),
    _case("idx of wider numbers than it holds", IMAGES, lambda: idx(PIXELS, kind=0x0D), "damaged"),
    _case("idx cut in its sizes", IMAGES, lambda: idx(PIXELS)[:9]),
    _case("idx cut in its pixels", IMAGES, lambda: idx(PIXELS)[:-5], "damaged"),
    _case("idx with pixels left over", IMAGES, lambda: idx(PIXELS) + bytes(7), "damaged"),
    _case("idx that promises more images", IMAGES, lambda: idx(PIXELS, sizes=(21, 8, 8)), "damaged"),
    _case("idx of a billion images", IMAGES, lambda: idx(PIXELS, sizes=(2**31 - 1, 2**31 - 1, 2**31 - 1)), "damaged"),
    _case("idx of fewer than no images", IMAGES, lambda: idx(PIXELS, sizes=(-20, 8, 8)), "damaged"),
    _case("idx whose sizes turn positive", IMAGES, lambda: idx(PIXELS, sizes=(20, -8, -8)), "damaged"),
    _case("idx without images", IMAGES, lambda: idx(PIXELS[:0]), "no"),
    _case("idx of images of no height", IMAGES, lambda: idx(PIXELS[:, :0])),
    _case("idx without axes", IMAGES, lambda: b"\0\0\x08\0\1"),
    _case("idx of nine axes", IMAGES, lambda: idx(PIXELS.reshape(1, 1, 1, 1, 1, 1, 20, 8, 8))),
    _case("idx packed and cut", IMAGES + ".gz", lambda: gzip.compress(idx(PIXELS))[:-20], "damaged"),
    _case("idx packed and damaged", IMAGES + ".gz", lambda: gzip.compress(idx(PIXELS))[:-9] + bytes(9), "damaged"),
    _case("a web page called idx", IMAGES, lambda: b"<!DOCTYPE html><html>404</html>"),
)


def _pair(name: str, images: bytes | None, labels: bytes, *says: str, test: bytes | None = None) -> Case:
    def make(place: Place) -> Sequence[str]:
        (place.folder / "d").mkdir()
        parts = {IMAGES: images, "train-labels-idx1-ubyte": labels, "t10k-labels-idx1-ubyte": test}
        for file, content in parts.items():
            if content is not None:
                (place.folder / "d" / file).write_bytes(content)
        if images is not None and test is None:
            (place.folder / "d/t10k-images-idx3-ubyte").write_bytes(idx(PIXELS))
        return ("fit", "marginals", "d")

    return Case(f"array: {name}", make, ("d/", *says))


PAIRS = (
    _pair("idx with fewer labels than images", idx(PIXELS), idx(np.arange(19)), "19", "20"),
    _pair("idx with labels of two axes", idx(PIXELS), idx(np.zeros((20, 2)))),
    _pair("idx with labels but no images", None, idx(np.arange(20)), "images"),
    _pair("idx with images as labels", idx(PIXELS), idx(PIXELS)),
    _pair("idx with labels as images", idx(np.arange(20)), idx(np.arange(20))),
    _pair("idx with labels that are cut", idx(PIXELS), idx(np.arange(20))[:-2], "labels"),
    _pair("idx of a test part without images", idx(PIXELS), idx(np.arange(20)), "t10k", test=idx(np.arange(3))),
)

CASES: tuple[Case, ...] = (*NPY, *NPZ, *IDX, *PAIRS)
