"""Malformed JSON, files of other kinds, and paths that lead nowhere."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Sequence

from .cases import Case, Place, given, good_csv

GOOD = good_csv()
LINES = "".join(json.dumps({"age": i, "city": "ab"[i % 2]}) + "\n" for i in range(9))


def _json(name: str, content: bytes | str, *says: str) -> Case:
    return given(f"JSON: {name}", "data.jsonl", content, *says)


JSON = (
    _json("a line that is cut off", LINES + '{"age": 3, "ci\n', "line 10"),
    _json("a line of plain words", LINES + "hello\n", "line 10"),
    _json("single quotes", "{'age': 3}\n", "line 1"),
    _json("a comma at the end", LINES + '{"age": 3,}\n', "line 10"),
    _json("comments", "// people\n" + LINES, "line 1"),
    _json("two objects in a line", LINES + '{"age": 1} {"age": 2}\n', "line 10"),
    _json("a list that is not closed", '[{"age": 1}, {"age": 2}', "data.jsonl"),
    _json("an object over several lines", '{\n "age": 3\n}\n', "line 1"),
    _json("numbers", "1\n2\n3\n", "object"),
    _json("words", '"a"\n"b"\n', "object"),
    _json("lists", "[1, 2]\n[3, 4]\n", "data.jsonl"),
    _json("a list of numbers", "[1, 2, 3]", "object"),
    _json("null", "null\n", "object"),
    _json("one line that is null", LINES + "null\n", "line 10"),
    _json("an empty list", "[]", "no records"),
    _json("nothing", "", "no records"),
    _json("empty objects", "{}\n{}\n", "no columns"),
    _json("lists in cells", '{"a": [1, 2]}\n{"a": [3]}\n', '"a"'),
    _json("nesting without an end", "[" * 100_000, "nested"),
    _json("nested objects without an end", '{"a":' * 3_000 + "1" + "}" * 3_000 + "\n", "nested"),
    _json("a number of five thousand digits", '{"a": ' + "9" * 5_000 + "}\n", "line 1"),
    _json("a table of columns", '{"a": {"0": 1, "1": 2}, "b": [1, 2]}', '"b"'),
    _json("zero bytes", LINES.encode() + b"\0\0", "zero bytes"),
    _json("half a character", LINES.encode() + b'{"city": "\xc3', "line 10"),
    _json("CSV", "a,b\n1,2\n", "line 1"),
    given("JSON: an object of lists called json", "data.json", '{"a": [1, 2], "b": [3, 4]}', "data.json", '"a"'),
    given("JSON: broken off, called json", "data.json", '{"a": [1, 2', "data.json"),
)

OTHER = tuple(
    given(f"a file of another kind: {file}", file, content, word)
    for file, content, word in (
        ("book.xlsx", b"PK\x05\x06" + bytes(18), "CSV"),
        ("book.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "CSV"),
        ("data.feather", b"ARROW1\0\0", "Parquet"),
        ("data.h5", b"\x89HDF\r\n\x1a\n", ".npz"),
        ("data.mat", b"MATLAB 5.0 MAT-file", ".npz"),
        ("data.pkl", b"\x80\x04\x95\x00.", "CSV"),
        ("data.pt", b"PK\x03\x04junk", ".npz"),
        ("data.sav", b"$FL2@(#) SPSS", "CSV"),
        ("data.db", b"SQLite format 3\0", "CSV"),
        ("data.yaml", b"a: 1\n", "CSV"),
        ("data.xml", b"<rows><row a='1'/></rows>", "CSV"),
        ("pictures.tar", b"a.png" + bytes(507), "Unpack"),
        ("pictures.tar.gz", b"\x1f\x8b\x08\0junk", "Unpack"),
        ("pictures.7z", b"7z\xbc\xaf'\x1c", "Unpack"),
        ("pictures.rar", b"Rar!\x1a\x07\0", "Unpack"),
        ("sound.wav", b"RIFF\x24\0\0\0WAVEfmt ", "sound"),
        ("film.mp4", b"\0\0\0\x18ftypmp42", "images"),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "images"),
        ("photo.heic", b"\0\0\0\x18ftypheic", "images"),
        ("script.py", b"print('hello')\n", "CSV"),
        ("letter.txt", b"Dear Ann,\nall is well.\nYours, Bo\n", "text"),
        ("letter.md", b"# Title\n\nWords.\n", "text"),
        ("noname", b"one word\nand another, or two\n", "text"),
        ("model.safetensors", b"\x08\0\0\0\0\0\0\0{}      ", "CSV"),
    )
)


def _path(written: str) -> Callable[[Place], Sequence[str]]:
    """Return a maker of a command that learns a path; a few good files lie beside it."""

    def make(place: Place) -> Sequence[str]:
        assert place.table
        return ("fit", "marginals", written)

    return make


def _folder(files: dict[str, bytes], *words: str) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        (place.folder / "d").mkdir()
        for file, content in files.items():
            (place.folder / "d" / file).parent.mkdir(parents=True, exist_ok=True)
            (place.folder / "d" / file).write_bytes(content)
        return ("fit", "marginals", "d", *words)

    return make


def _strange(kind: str, place: Place) -> Sequence[str]:
    path = place.folder / "strange.csv"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "broken link":
        path.symlink_to("gone.csv")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as s:
            s.bind("strange.csv")
    else:
        path.mkdir()
    return ("fit", "marginals", "strange.csv")


PATHS = (
    Case("a path that is not there", _path("nothing/at/all.csv"), ("nothing/at/all.csv",)),
    Case("a path with a typo", _path("godo.csv"), ('"good.csv"',)),
    Case("a data set with a typo", _path("digitz"), ('"digits"',)),
    Case("an empty path", _path(""), ("source",)),
    Case("a path below a file", _path("good.csv/train"), ("good.csv/train",)),
    Case("a path longer than any", _path("a" * 5000), ("too long",)),
    Case("a path with a zero byte", _path("a\0b.csv"), ("does not exist",)),
    Case("a path with a line end", _path("a\nb.csv"), ("does not exist",)),
    Case("a path with terminal codes", _path("a\x1b[31mb.csv"), ("does not exist",)),
    Case("an address in the web", _path("https://example.org/data.csv"), ("https://example.org/data.csv", "Download")),
    Case("an address in a bucket", _path("s3://bucket/data.csv"), ("s3://bucket/data.csv", "Download")),
    Case("an address of a file", _path("file:///tmp/data.csv"), ("file:///tmp/data.csv",)),
    Case("a pattern for files", _path("*.csv"), ("*.csv",)),
    Case("a home that is nobody's", _path("~nobodyhere/data.csv"), ("~nobodyhere",)),
    Case("a name with a dash in front", lambda place: given("", "-data.csv", GOOD).make(place), ("./-data.csv",)),
    Case("a device without an end", _path("/dev/zero"), ("/dev/zero", "file")),
    Case("a device without a byte", _path("/dev/null"), ("/dev/null", "file")),
    Case("a pipe", lambda p: _strange("pipe", p), ("strange.csv", "file")),
    Case("a socket", lambda p: _strange("socket", p), ("strange.csv", "file")),
    Case("a link to itself", lambda p: _strange("loop", p), ("strange.csv",)),
    Case("a link to nothing", lambda p: _strange("broken link", p), ("strange.csv",)),
    Case("a folder called csv", lambda p: _strange("folder", p), ("strange.csv", "empty")),
    Case("an empty folder", _folder({}), ("d/", "empty")),
    Case("a folder of hidden files", _folder({".a.csv": b"a,b\n1,2\n"}), ("d/", "hidden")),
    Case("a folder of empty folders", _folder({"a/b/.keep": b""}), ("d/", "hidden")),
    Case("a folder of letters", _folder({"a.txt": b"Dear Ann", "b.txt": b"Dear Bo"}), ("d/", "a.txt")),
    Case("a folder of sounds", _folder({"a.wav": b"RIFF", "b.wav": b"RIFF"}), ("d/", "sound")),
    Case("a folder of programs", _folder({"a.py": b"pass", "b.py": b"pass"}), ("d/", "a.py")),
    Case("a folder of several arrays", _folder({"a.npy": b"", "b.npy": b""}), ("d/", "a.npy")),
    Case("a run in place of data", lambda p: ("fit", "marginals", p.run("pictures")), ("pictures", "genlearn sample")),
    Case("data in place of a run", lambda p: ("sample", p.table), ("good.csv", "genlearn fit")),
)

CASES: tuple[Case, ...] = (*JSON, *OTHER, *PATHS)
