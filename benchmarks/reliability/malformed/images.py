"""Malformed images, alone and in folders."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from .cases import Case, Place, given


def encoded(form: str = "PNG", size: tuple[int, int] = (16, 16), mode: str = "L") -> bytes:
    """Return a good picture of noise as a file."""
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, format=form)
    return buffer.getvalue()


def png(width: int, height: int, *, depth: int = 8, colour: int = 0, body: bytes = b"") -> bytes:
    """Return a PNG that says what it likes about its size; its checksums are right."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def flooded(side: int) -> bytes:
    """Return a small file that unpacks to a black square of `side` pixels: a bomb."""
    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    good = png(side, side, depth=1)
    at = good.index(b"IDAT") - 4
    data = b"IDAT" + packed
    return good[:at] + struct.pack(">I", len(packed)) + data + struct.pack(">I", zlib.crc32(data)) + good[-12:]


def small() -> bytes:
    """Return a good picture of the size of the run's."""
    return encoded(size=(8, 8))


def _alone(name: str, file: str, content: Callable[[], bytes], *says: str) -> Case:
    return Case(f"image: {name}", lambda place: given(name, file, content()).make(place), (file, *says))


ALONE = (
    _alone("no bytes", "a.png", bytes),
    _alone("cut in half", "a.png", lambda: encoded()[:120]),
    _alone("cut in its head", "a.png", lambda: encoded()[:20]),
    _alone("its magic word only", "a.png", lambda: encoded()[:8]),
    _alone("letters called png", "a.png", lambda: b"Dear Ann, all is well."),
    _alone("a web page called jpg", "a.jpg", lambda: b"<!DOCTYPE html><html>404</html>"),
    _alone("a drawing in words called png", "a.png", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    _alone("noise called jpg", "a.jpg", lambda: np.random.default_rng(0).bytes(500)),
    _alone("a JPEG cut in its head", "a.jpg", lambda: encoded("JPEG")[:100]),
    _alone("a JPEG cut in half", "a.jpg", lambda: encoded("JPEG", (64, 64))[:900]),
    _alone("a GIF cut in its head", "a.gif", lambda: encoded("GIF")[:9]),
    _alone("a BMP without pixels", "a.bmp", lambda: encoded("BMP")[:60]),
    _alone(
        "a BMP with absurd sizes",
        "a.bmp",
        lambda: encoded("BMP")[:18] + struct.pack("<ii", 2**30, 2**30) + encoded("BMP")[26:],
    ),
    _alone("a TIFF whose offsets lie", "a.tif", lambda: b"II*\0\xff\xff\xff\x7f" + bytes(50)),
    _alone("a TIFF cut in half", "a.tif", lambda: encoded("TIFF")[:150]),
    _alone("a WebP cut in half", "a.webp", lambda: encoded("WEBP", mode="RGB")[:80]),
    _alone("a PPM with words for sizes", "a.ppm", lambda: b"P6 wide high 255\n" + bytes(30)),
    _alone("a PPM with absurd sizes", "a.ppm", lambda: b"P6 99999 99999 255\n" + bytes(30)),
    _alone("a PPM without pixels", "a.ppm", lambda: b"P6 16 16 255\n"),
    _alone("an icon without pictures", "a.ico", lambda: b"\0\0\1\0\0\0"),
    _alone("a PNG of no width", "a.png", lambda: png(0, 16)),
    _alone("a PNG of no height", "a.png", lambda: png(16, 0)),
    _alone("a PNG without pixels", "a.png", lambda: png(16, 16)),
    _alone("a PNG of an unknown depth", "a.png", lambda: png(16, 16, depth=7, body=bytes(300))),
    _alone("a PNG with a wrong checksum", "a.png", lambda: encoded()[:29] + b"\0\0\0\0" + encoded()[33:]),
    _alone("a PNG that says it is 30,000 pixels wide and high", "a.png", lambda: png(30_000, 30_000), "pixels"),
    _alone("a PNG as wide as its format allows", "a.png", lambda: png(2**31 - 1, 2**31 - 1), "pixels"),
    _alone("a bomb of 10,000 x 10,000", "a.png", lambda: flooded(10_000), "pixels"),
    _alone("a bomb of 20,000 x 20,000", "a.png", lambda: flooded(20_000), "pixels"),
)


def _album(files: dict[str, Callable[[], bytes]], *words: str) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        for file, content in files.items():
            path = place.folder / "album" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content())
        return ("fit", "marginals", "album", *words)

    return make


CATS = {f"{kind}/{i}.png": encoded for kind in ("cat", "dog") for i in range(4)}


def _told(name: str, *words: str, says: Sequence[str] = ()) -> Case:
    return Case(f"album: {name}", _album(CATS, *words), tuple(says))


ALBUMS = (
    Case("album: all files are empty", _album({"a.png": bytes, "b.png": bytes}), ("album/", "a.png")),
    Case(
        "album: all files are cut", _album({f"{i}.png": lambda: encoded()[:90] for i in range(3)}), ("album/", "0.png")
    ),
    Case(
        "album: bombs only",
        _album({f"{i}.png": lambda: png(30_000, 30_000) for i in range(3)}),
        ("album/", "0.png", "pixels"),
    ),
    Case(
        "album: idx beside pictures",
        _album({"a.png": encoded, "train-images-idx3-ubyte": bytes, "train-labels-idx1-ubyte": bytes}),
        ("album/", "idx"),
    ),
    _told("a size of nothing", "--size", "0", says=["--size"]),
    _told("a size below nothing", "--size", "-8", says=["--size"]),
    _told("a size in words", "--size", "small", says=["--size", "small"]),
    _told("a size with its unit", "--size", "32px", says=["--size", "32px"]),
    _told("half a size", "--size", "32x", says=["--size", "32x"]),
    _told("a size of three numbers", "--size", "32x32x3", says=["--size"]),
    _told("a size with a fraction", "--size", "32.5", says=["--size"]),
    _told("a size beyond any", "--size", "100000", says=["--size"]),
    _told("an empty size", "--size", "", says=["--size"]),
    _told("a label by a folder that is not there", "--label", "7", says=["--label", "7"]),
    _told("a label by the folder before the first", "--label", "0", says=["--label"]),
    _told("a label by a broken expression", "--label", "(cat", says=["--label", "(cat"]),
    _told("a label by an expression without a group", "--label", "cat_.*", says=["--label", "group"]),
    _told("a label by an expression with two groups", "--label", r"(\d)(\d)", says=["--label", "group"]),
    _told("a label that matches nothing", "--label", r"mouse_(\d+)", says=["--label", "mouse"]),
    _told("a label by a pattern that matches nothing", "--label", "(*)_*.png", says=["--label"]),
    _told("types for images", "--types", "age=real", says=["--types", "images"]),
    _told("images said to be a table", "--modality", "table", says=["album/", "table"]),
    _told("a test part that is a table", "--test", "album/../t.csv", says=["t.csv"]),
    _told("a column for images", "--target", "age", says=["age"]),
)


def _with(file: str, content: Callable[[], bytes], *words: str) -> Callable[[Place], Sequence[str]]:
    """Return a maker of a file and of a command in which `{}` stands for the run of images."""

    def make(place: Place) -> Sequence[str]:
        (place.folder / file).write_bytes(content())
        return [w.format(place.run("pictures")) for w in words]

    return make


MASK = ("--mask", "m.png")
RUNS = (
    Case("mask: not there", _with("a.png", small, "impute", "{}", "a.png", *MASK), ("m.png",)),
    Case("mask: not a picture", _with("m.png", lambda: b"white", "impute", "{}", *MASK), ("m.png",)),
    Case(
        "mask: all black", _with("m.png", lambda: png(8, 8, body=bytes(72)), "impute", "{}", *MASK), ("m.png", "white")
    ),
    Case("mask: no such half", _with("m.png", encoded, "impute", "{}", "--mask", "lefft"), ('"left"',)),
    Case("mask: none", _with("m.png", encoded, "impute", "{}"), ("--mask",)),
    Case("mask: a bomb", _with("m.png", lambda: png(30_000, 30_000), "impute", "{}", *MASK), ("m.png", "pixels")),
    Case("mask: cut off", _with("m.png", lambda: encoded()[:90], "impute", "{}", *MASK), ("m.png",)),
    Case(
        "repair: a picture that is not there",
        _with("a.png", encoded, "impute", "{}", "b.png", "--mask", "left"),
        ("b.png",),
    ),
    Case(
        "repair: a picture that is cut",
        _with("a.png", lambda: encoded()[:90], "impute", "{}", "a.png", "--mask", "left"),
        ("a.png",),
    ),
    Case(
        "repair: a bomb",
        _with("a.png", lambda: png(30_000, 30_000), "impute", "{}", "a.png", "--mask", "left"),
        ("a.png", "pixels"),
    ),
    Case(
        "repair: a picture and a table",
        _with("a.csv", lambda: b"a,b\n1,2\n", "impute", "{}", "a.csv", "b.csv", "--mask", "left"),
        ("b.csv",),
    ),
    Case("encode: a picture that is cut", _with("a.png", lambda: encoded()[:90], "encode", "{}", "a.png"), ("a.png",)),
    Case(
        "score: a table by a model of images",
        _with("a.csv", lambda: b"a,b\n1,2\n3,4\n", "score", "{}", "a.csv"),
        ("a.csv",),
    ),
    Case(
        "score: letters by a model of images", _with("a.txt", lambda: b"Dear Ann", "score", "{}", "a.txt"), ("a.txt",)
    ),
    Case(
        "interpolate: a picture that is not there",
        _with("a.png", small, "interpolate", "{}", "a.png", "b.png"),
        ("b.png",),
    ),
    Case(
        "interpolate: a number beyond the last", _with("a.png", encoded, "interpolate", "{}", "0", "99999"), ("99999",)
    ),
    Case("traverse: a number below the first", _with("a.png", encoded, "traverse", "{}", "--", "-1"), ("-1",)),
)

CASES: tuple[Case, ...] = (*ALONE, *ALBUMS, *RUNS)
