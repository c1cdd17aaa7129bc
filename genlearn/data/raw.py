"""Bytes before anybody reads them: unpacked within bounds, decoded to text, or told what they are instead."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import re
import zlib
from collections.abc import Iterator

from ..errors import Problem

# What unpacks to more than both is a bomb: text packs 5 to 20 times, the best case of the method is 1,032 times.
MOST_UNPACKED, MOST_RATIO = 2**28, 300
_KNOWN = {
    b"\x89PNG": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture", b"GIF8": "a GIF picture", b"RIFF": "sound or film",
    b"%PDF": "a PDF", b"PAR1": "Parquet", b"PK\x03\x04": "a zip file", b"\x1f\x8b": "gzip inside gzip",
    b"\x93NUMPY": "a numpy array", b"\x89HDF": "HDF5", b"SQLite format 3": "a SQLite database", b"\x7fELF": "a program",
    b"\xd0\xcf\x11\xe0": "an old Excel file", b"\x80\x04\x95": "a pickle", b"ARROW1": "Arrow",
    codecs.BOM_UTF32_LE: "UTF-32 text", codecs.BOM_UTF32_BE: "UTF-32 text",
}  # fmt: skip
_FORMS = "Give UTF-8 text, or a file whose ending says what it is."
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f\x7f]")
_PROBE, _PIECE = 65536, 2**24


def decode_text(data: bytes, where: str) -> tuple[str, list[str]]:
    """Return text with `\\n` line ends, and notes; unpacks gzip, honours byte order marks, falls back to Latin-1.

    Errors:
        Problem: If the bytes are no text; says what they are, or where the first zero byte stands.
    """
    data = gunzip(data, where)
    if known := next((what for magic, what in _KNOWN.items() if data.startswith(magic)), None):
        raise Problem(f"{where} is {known}, not text. {_FORMS}")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return _with_plain_ends(data.decode("utf-16"), where), []
        except UnicodeDecodeError as e:
            raise Problem(f"{where} is broken UTF-16 (byte {e.start}). Save it as UTF-8.") from None
    if (zero := data.find(b"\0")) >= 0:
        even, odd = data[:_PROBE:2].count(0), data[1:_PROBE:2].count(0)
        if min(even, odd) == 0 and max(even, odd) > 0.4 * len(data[:_PROBE:2]):
            raise Problem(f"{where} looks like UTF-16 without a byte order mark. Save it as UTF-8.")
        line = data.count(b"\n", 0, zero) + 1
        raise Problem(f"{where} is not text: it holds zero bytes (line {line}). {_FORMS}")
    try:
        return _with_plain_ends(data.decode("utf-8-sig"), where), []
    except UnicodeDecodeError as e:
        if len(_CONTROL.findall(data[:_PROBE])) > 0.01 * len(data[:_PROBE]):
            raise Problem(f"{where} is not text: it holds control characters. {_FORMS}") from None
        line = data.count(b"\n", 0, e.start) + 1
        note = f"{where} is not UTF-8 (line {line}, byte {e.start}), read as Latin-1."
    try:  # Windows' superset of Latin-1, in which a few bytes have no meaning
        return _with_plain_ends(data.decode("cp1252"), where), [note]
    except UnicodeDecodeError:
        return _with_plain_ends(data.decode("latin-1"), where), [note]


def _with_plain_ends(text: str, where: str) -> str:
    if text[:64].lstrip().lower().startswith(("<!doctype html", "<html")):
        raise Problem(f"{where} is a web page, perhaps in place of a download that failed. Download the file itself.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def gunzip(data: bytes, where: str) -> bytes:
    """Return the bytes, unpacked if they are gzip.

    Errors:
        Problem: If the packed data is damaged, or unpacks to far more than data do.
    """
    if not data.startswith(b"\x1f\x8b"):
        return data
    packed = io.BytesIO(data)
    pieces, size = [], 0
    try:
        with gzip.GzipFile(fileobj=packed) as file:
            while piece := file.read(_PIECE):
                pieces.append(piece)
                size += len(piece)
                refuse_bomb(packed.tell(), size, where)  # of what was read so far
    except Problem:
        raise
    except (OSError, EOFError, zlib.error) as e:
        raise Problem(f"{where} is damaged ({e}). Download or pack it again.") from None
    return b"".join(pieces)


def refuse_bomb(packed: int, unpacked: int, where: str) -> None:
    """Raise `Problem` if so many packed bytes unpack to more than data do."""
    if unpacked > max(MOST_UNPACKED, MOST_RATIO * packed):
        raise Problem(
            f"{where} unpacks from {packed / 1e6:.1f} MB to {unpacked / 1e6:,.0f} MB or more: data do not pack so well. "
            "Unpack it yourself if you trust it."
        )


@contextlib.contextmanager
def readable(where: str) -> Iterator[None]:
    """Turn what a disk or a memory has against reading a source into a `Problem`."""
    try:
        yield
    except OSError as e:
        shown = str(where if e.filename is None else e.filename)
        shown = shown if len(shown) < 300 else f"{shown[:100]}..."
        raise Problem(f"{shown} cannot be read ({e.strerror or e}). Check the path and its permissions.") from None
    except MemoryError:
        raise Problem(f"{where} does not fit into memory. Give fewer records.") from None
