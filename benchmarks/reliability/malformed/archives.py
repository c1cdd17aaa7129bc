"""Malformed and hostile zip files."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence

from .cases import Case, Place, good_csv
from .images import encoded


def packed(*files: tuple[str, bytes], mode: int = 0o644 | stat.S_IFREG) -> bytes:
    """Return a zip of files, with any names and any kind of entry."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that occur twice
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in files:
                info = zipfile.ZipInfo(name)
                info.external_attr = mode << 16
                archive.writestr(info, content)
    return buffer.getvalue()


def flood(size: int) -> bytes:
    """Return deflated zeros, `size` bytes of them, at no cost: one packed block over and over."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (size // 2**20) + zlib.compressobj(9, zlib.DEFLATED, -15).flush()


def bomb(size: int, *names: str) -> bytes:
    """Return a zip of files that unpack to `size` bytes each, as its directory truly says."""
    data = packed(*((name, flood(size)) for name in names))
    return patched(patched(data, 10, b"\x08\0"), 24, struct.pack("<I", size))


def patched(data: bytes, field: int, value: bytes) -> bytes:
    """Return a zip with bytes of every entry of its directory replaced, at an offset behind the entry's magic word."""
    begin = data.find(b"PK\x01\x02")
    while begin >= 0:
        data = data[: begin + field] + value + data[begin + field + len(value) :]
        begin = data.find(b"PK\x01\x02", begin + 1)
    return data


def _case(name: str, content: Callable[[], bytes], *says: str) -> Case:
    def make(place: Place) -> Sequence[str]:
        (place.folder / "a.zip").write_bytes(content())
        return ("fit", "marginals", "a.zip")

    return Case(f"zip: {name}", make, ("a.zip", *says))


PICTURE, TABLE = encoded(), good_csv().encode()
LINK = 0o777 | stat.S_IFLNK

CASES: tuple[Case, ...] = (
    _case("no bytes", bytes, "damaged"),
    _case("letters", lambda: b"Dear Ann", "damaged"),
    _case("nothing inside", packed, "empty"),
    _case("folders only", lambda: packed(("a/", b""), ("b/", b"")), "empty"),
    _case("hidden files only", lambda: packed(("__MACOSX/._a.png", PICTURE), (".DS_Store", b"x")), "hidden"),
    _case("letters inside", lambda: packed(("a.txt", b"Dear Ann"), ("b.txt", b"Dear Bo")), "a.txt"),
    _case("a zip inside", lambda: packed(("inner.zip", packed(("a.png", PICTURE)))), "inner.zip"),
    _case("two tables inside", lambda: packed(("a.csv", TABLE), ("b.csv", TABLE)), "a.csv, b.csv"),
    _case("an empty table inside", lambda: packed(("a.csv", b"")), "a.csv"),
    _case("a ragged table inside", lambda: packed(("a.csv", TABLE + b"1,2\n")), "a.csv", "line 42"),
    _case("pictures that are cut", lambda: packed(("a.png", PICTURE[:90]), ("b.png", PICTURE[:90])), "a.png"),
    _case("cut in half", lambda: packed(("a.png", PICTURE), ("b.png", PICTURE))[:400], "damaged"),
    _case(
        "a directory that is noise",
        lambda: packed(("a.png", PICTURE)).replace(b"PK\x01\x02", b"\xff\xff\xff\xff"),
        "damaged",
    ),
    _case(
        "a directory that lies elsewhere", lambda: packed(("a.png", PICTURE))[:-6] + b"\xff\xff\xff\x7f\0\0", "damaged"
    ),
    _case("a damaged table", lambda: packed(("a.csv", TABLE)).replace(b"height", b"weight", 1), "a.csv", "damaged"),
    _case("a table of another checksum", lambda: patched(packed(("a.csv", TABLE)), 16, bytes(4)), "a.csv", "damaged"),
    _case("a table in an unknown packing", lambda: patched(packed(("a.csv", TABLE)), 10, b"\x63\0"), "a.csv"),
    _case("locked with a password", lambda: patched(packed(("a.csv", TABLE)), 8, b"\1\0"), "password"),
    _case(
        "a table that says it is longer",
        lambda: patched(packed(("a.csv", TABLE)), 20, struct.pack("<II", 10**6, 10**6)),
        "a.csv",
    ),
    _case("a name that leads out", lambda: packed(("../../evil.csv", TABLE)), "../../evil.csv"),
    _case(
        "a name that leads out of a folder",
        lambda: packed(("a/../../evil.png", PICTURE), ("a/b.png", PICTURE)),
        "evil.png",
    ),
    _case("a name from the root", lambda: packed(("/etc/evil.csv", TABLE)), "/etc/evil.csv"),
    _case("a name on a drive", lambda: packed(("C:\\evil.csv", TABLE)), "evil.csv"),
    _case("a name that leads out, in the way of Windows", lambda: packed(("..\\..\\evil.csv", TABLE)), "evil.csv"),
    _case("a name with terminal codes", lambda: packed(("\x1b[2Ja.csv", b"1,2\n1,2,3\n")), "a.csv"),
    _case("a link to another file", lambda: packed(("a.csv", b"/etc/passwd"), mode=LINK), "a.csv", "link"),
    _case(
        "a link among pictures",
        lambda: packed(("a.png", b"/etc/passwd"), ("b.png", b"../x"), mode=LINK),
        "a.png",
        "link",
    ),
    _case("a device", lambda: packed(("a.csv", b""), mode=0o644 | stat.S_IFCHR), "a.csv"),
    _case("one name twice", lambda: packed(("a.csv", TABLE), ("a.csv", b"x,y\n1,2\n")), "a.csv"),
    _case("pictures of one name", lambda: packed(("a.png", PICTURE), ("a.png", PICTURE)), "a.png"),
    _case("a bomb", lambda: bomb(3 * 2**30, "a.csv"), "unpacks"),
    _case("a bomb of pictures", lambda: bomb(2**26, *(f"{i}.png" for i in range(48))), "unpacks"),
    _case(
        "a directory that promises a terabyte",
        lambda: patched(packed(("a.csv", TABLE)), 24, b"\xfe\xff\xff\xff"),
        "a.zip",
    ),
    _case("an array that is a bomb", lambda: bomb(3 * 2**30, "x.npy"), "unpacks"),
)
