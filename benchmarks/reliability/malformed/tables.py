"""Malformed tables: delimited text and Parquet."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from .archives import flood
from .cases import Case, Place, given, good_csv

GOOD = good_csv(12)
ROWS = GOOD.splitlines()


def swapped(row: int, new: str) -> str:
    """Return the good table with one line (1 is the header) replaced."""
    return "\n".join([*ROWS[: row - 1], new, *ROWS[row:], ""])


def parquet(frame: object) -> bytes:
    """Return a frame as Parquet."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer)  # type: ignore[attr-defined]
    return buffer.getvalue()


def _broken_parquet(damage: Callable[[bytes], bytes], place: Place) -> Sequence[str]:
    import pandas as pd

    whole = parquet(pd.DataFrame({"a": np.arange(50.0), "b": ["x", "y"] * 25}))
    (place.folder / "broken.parquet").write_bytes(damage(whole))
    return ("fit", "marginals", "broken.parquet")


def _odd_parquet(column: Callable[[], object], place: Place) -> Sequence[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1.5, 2.5, 3.5], "odd": column()}), place.folder / "odd.parquet")
    return ("fit", "marginals", "odd.parquet")


def _structs() -> object:
    import pyarrow as pa

    return pa.array([{"u": 1}, {"u": 2}, {"u": 3}])


def _maps() -> object:
    import pyarrow as pa

    return pa.array([[("k", 1)], [("k", 2)], []], pa.map_(pa.string(), pa.int64()))


def _two(first: tuple[str, str], second: tuple[str, str], *words: str) -> Callable[[Place], Sequence[str]]:
    """Return a maker of two files, of which the first is learned."""

    def make(place: Place) -> Sequence[str]:
        for file, text in (first, second):
            (place.folder / file).parent.mkdir(parents=True, exist_ok=True)
            (place.folder / file).write_text(text)
        return ("fit", "marginals", *(words or (first[0].split("/")[0],)))

    return make


def _wrong_words(*words: str) -> Callable[[Place], Sequence[str]]:
    return lambda place: ("fit", "marginals", place.table, *words)


WIDE = ",".join(f"c{i}" for i in range(100_000)) + "\n" + "1.5," * 99_999 + "2.5\n"

SHAPES = (
    given("a hundred thousand columns", "data.csv", WIDE, "100,000 columns"),
    given("a matrix on its side", "data.tsv", WIDE.replace(",", "\t"), "100,000 columns"),
    given("a row with a cell too many", "data.csv", swapped(6, "1,2,a,no,5"), "line 6", "5 values"),
    given("a row with a cell too few", "data.csv", swapped(7, "1,2,a"), "line 7", "3 values"),
    given("a last row that was cut off", "data.csv", GOOD + "1.5,30\n", "line 14", "2 values"),
    given("a row of one word", "data.csv", swapped(9, "total"), "line 9", "1 value"),
    given("a footer under the table", "data.csv", GOOD + "Source: statistics office, 2020\n", "line 14"),
    given("a header with a name too many", "data.csv", swapped(1, "height,age,city,churn,extra"), "5", "4"),
    given("a header with two names too few", "data.csv", swapped(1, "height,age"), "2", "4"),
    given("a quote that is never closed", "data.csv", swapped(5, '1.5,30,"a,no'), "line 5", "quote"),
    given("a quote that is never closed, in the last row", "data.csv", GOOD + '1.5,30,a,"no\n', "line 14", "quote"),
    given("a decimal comma in a table of commas", "data.csv", swapped(4, "1,5,30,a,no"), "line 4", "5 values"),
    given("thousands separators in some rows of a table of commas", "data.csv", swapped(8, "1,234,30,a,no"), "line 8"),
    given("semicolons in one row", "data.csv", swapped(5, "1.5;30;a;no"), "line 5"),
    given("tabs in one row", "data.tsv", GOOD.replace(",", "\t").replace("\t", ",", 30).replace(",", "\t", 27), "line"),
    given("two tables below each other", "data.csv", GOOD + "\nname,size\nAnn,1\nBo,2\n", "line 15"),
    given("a separator line under the header", "data.csv", swapped(2, "---"), "line 2"),
    given("a comment above the header", "data.csv", "# made by hand\n" + GOOD, "line 1"),
    given("a row long enough to be all of it", "data.csv", ",".join("1" * 9) + "\n" + "1,2\n" * 3, "line 1"),
    given("a markdown table", "data.csv", "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 | 5 |\n", "line 4"),
)

EMPTY = (
    given("no bytes at all", "data.csv", b"", "empty"),
    given("spaces only", "data.csv", "   \n  \n", "empty"),
    given("line ends only", "data.csv", "\n" * 50, "empty"),
    given("a byte order mark only", "data.csv", b"\xef\xbb\xbf", "empty"),
    given("a header only", "data.csv", "a,b,c\n", "no rows"),
    given("a header without a line end", "data.csv", "a,b,c", "no rows"),
    given("a header and empty lines", "data.csv", "a,b,c\n\n\n", "no rows"),
    given("an empty tsv", "data.tsv", b"", "empty"),
    given("commas only", "data.csv", ",,,\n,,,\n", "empty"),
    given("an empty gzip", "data.csv.gz", gzip.compress(b""), "empty"),
    given("a UTF-16 mark only", "data.csv", b"\xff\xfe", "empty"),
)

BYTES = (
    given("zero bytes at the start", "data.csv", b"\0\0\0" + GOOD.encode(), "zero bytes"),
    given("zero bytes in one row", "data.csv", swapped(6, "1.5,\0,a,no"), "zero bytes"),
    given("zero bytes far behind the start", "data.csv", GOOD * 40 + "1.5,\0\0\0,a,no\n", "zero bytes"),
    given("UTF-16 without its mark", "data.csv", GOOD.encode("utf-16-le"), "UTF-16"),
    given("UTF-16, other way round, without its mark", "data.csv", GOOD.encode("utf-16-be"), "UTF-16"),
    given("UTF-16 cut in the middle of a character", "data.csv", GOOD.encode("utf-16")[:-1], "UTF-16"),
    given("UTF-32", "data.csv", GOOD.encode("utf-32"), "UTF-32"),
    given("random bytes", "data.csv", np.random.default_rng(0).bytes(3000), "not text"),
    given(
        "random bytes without zeros",
        "data.csv",
        bytes(np.random.default_rng(1).integers(1, 256, 3000, np.uint8)),
        "not text",
    ),
    given("a picture called csv", "data.csv", b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG"),
    given("a JPEG called csv", "data.csv", b"\xff\xd8\xff\xe0\x10JFIF" + bytes(range(1, 200)), "JPEG"),
    given("a PDF called csv", "data.csv", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj<</Type/Catalog>>endobj\n", "PDF"),
    given("Parquet called csv", "data.csv", b"PAR1" + bytes(range(1, 60)) + b"PAR1", "Parquet"),
    given(
        "a web page called csv", "data.csv", "<!DOCTYPE html>\n<html><body>404, not found</body></html>\n", "web page"
    ),
    given("SQLite called csv", "data.csv", b"SQLite format 3\0" + bytes(100), "SQLite"),
    given("gzip cut off", "data.csv.gz", gzip.compress(GOOD.encode() * 20)[:-30], "damaged"),
    given("gzip cut in its head", "data.csv.gz", gzip.compress(GOOD.encode())[:6], "damaged"),
    given("gzip with a wrong checksum", "data.csv.gz", gzip.compress(GOOD.encode())[:-8] + b"\1" * 8, "damaged"),
    given("gzip with a damaged body", "data.csv.gz", gzip.compress(GOOD.encode())[:20] + b"\xff" * 60, "damaged"),
    given("gzip in gzip", "data.csv.gz", gzip.compress(gzip.compress(GOOD.encode())), "gzip"),
    given("a gzip bomb", "bomb.csv.gz", gzip.compress(b"")[:10] + flood(3 * 2**30), "unpacks"),
    given("a tar called csv.gz", "data.csv.gz", gzip.compress(b"inner.csv" + bytes(503)), "zero bytes"),
)

CHOICES = (
    Case("a target that is misspelt", _wrong_words("--target", "chrun"), ("good.csv", '"chrun"', '"churn"')),
    Case("a target in capitals", _wrong_words("--target", "CHURN"), ("good.csv", '"churn"')),
    Case(
        "a target that is no column", _wrong_words("--target", "zzz"), ("good.csv", '"zzz"', "height, age, city, churn")
    ),
    Case("an empty target", _wrong_words("--target", ""), ("good.csv", "height, age, city, churn")),
    Case("a target with spaces around it", _wrong_words("--target", " churn "), ("good.csv", '"churn"')),
    Case("a label that is no column", _wrong_words("--label", "chum"), ("good.csv", '"churn"')),
    Case("a label that is a folder level", _wrong_words("--label", "1"), ("good.csv", '"1"', "height")),
    Case("a label that is not the target", _wrong_words("--label", "age", "--target", "city"), ("age", "city")),
    Case("types of a column that is not there", _wrong_words("--types", "agee=real"), ('"agee"', '"age"')),
    Case("a type that is misspelt", _wrong_words("--types", "age=reall"), ('"reall"', '"age"', '"real"')),
    Case("a type by its Python name", _wrong_words("--types", "age=float"), ('"float"', "real")),
    Case("a type in capitals", _wrong_words("--types", "age=REAL"), ('"REAL"', '"real"')),
    Case("an empty type", _wrong_words("--types", "age="), ('"age"', "real")),
    Case("types without columns", _wrong_words("--types", "real"), ("--types", "name=value")),
    Case("types with colons", _wrong_words("--types", "age:real"), ("--types", '"age:real"')),
    Case("types as JSON", _wrong_words("--types", '{"age": "real"}'), ("--types",)),
    Case("an empty list of types", _wrong_words("--types", "=real"), ("types", "height, age")),
    Case("words as real numbers", _wrong_words("--types", "city=real"), ("good.csv", "city", "row 1", "no number")),
    Case("words as whole numbers", _wrong_words("--types", "city=integer"), ("city", "row 1")),
    Case("words as dates", _wrong_words("--types", "city=date"), ("city", "date")),
    Case("numbers with decimals as whole numbers", _wrong_words("--types", "height=integer"), ("height", "row 1")),
    Case("a constant that varies", _wrong_words("--types", "age=constant"), ("age", "constant")),
    Case("everything an identifier", _wrong_words("--types", "height=id,age=id,city=id,churn=text"), ("identifiers",)),
    given(
        "free text only",
        "data.csv",
        "note\n" + "".join(f"entry {i} says {i * i}\n" for i in range(40)),
        "note",
        words=("--modality", "table"),
    ),
    given(
        "no header where a row is a header",
        "data.csv",
        GOOD,
        "x0",
        "row 1",
        words=("--no-header", "--types", "x0=real"),
    ),
    Case("a scale that is misspelt", _wrong_words("--scale", "standrad"), ("--scale", '"standard"')),
    Case("a modality that is misspelt", _wrong_words("--modality", "tabel"), ('"tabel"', "table")),
    Case("a table said to be images", _wrong_words("--modality", "image"), ("good.csv", "images")),
    Case("a table said to be text", _wrong_words("--modality", "text"), ("text",)),
    Case("a negative split seed", _wrong_words("--split-seed", "-1"), ("-1",)),
    Case("a size for a table", _wrong_words("--size", "32"), ("--size",)),
)

PARTS = (
    Case("two tables in a folder", _two(("d/a.csv", GOOD), ("d/b.csv", GOOD)), ("a.csv, b.csv",)),
    Case(
        "train and test with other columns",
        _two(("d/train.csv", GOOD), ("d/test.csv", GOOD.replace("age", "years"))),
        ("test.csv", '"age"'),
    ),
    Case(
        "words in train's numbers of test",
        _two(("d/train.csv", GOOD), ("d/test.csv", GOOD.replace(",a,", ",,a,"))),
        ("test.csv", "line"),
    ),
    Case("an empty test file", _two(("d/train.csv", GOOD), ("d/test.csv", "")), ("test.csv", "empty")),
    Case(
        "a test file with a header only", _two(("d/train.csv", GOOD), ("d/test.csv", ROWS[0])), ("test.csv", "no rows")
    ),
    Case(
        "a train file with a broken quote",
        _two(("d/train.csv", swapped(5, '1,2,"a,no')), ("d/test.csv", GOOD)),
        ("train.csv", "line 5"),
    ),
    Case("--test that is not there", _wrong_words("--test", "nothing.csv"), ("nothing.csv",)),
    Case(
        "--valid that is not there, but nearly",
        _two(("good.csv", GOOD), ("valid.csv", GOOD), "good.csv", "--valid", "vaild.csv"),
        ('"valid.csv"',),
    ),
    Case(
        "--test with other columns",
        _two(("good.csv", GOOD), ("other.csv", "x,y\n1,2\n"), "good.csv", "--test", "other.csv"),
        ("other.csv", '"height"'),
    ),
    Case(
        "--test with a ragged row",
        _two(("good.csv", GOOD), ("t.csv", swapped(3, "1")), "good.csv", "--test", "t.csv"),
        ("t.csv", "line 3"),
    ),
    Case(
        "--valid that is empty",
        _two(("good.csv", GOOD), ("v.csv", ""), "good.csv", "--valid", "v.csv"),
        ("v.csv", "empty"),
    ),
    Case("--test without a value", lambda place: ("fit", "marginals", place.table, "--test"), ("--test",)),
)

PARQUET = (
    Case("Parquet cut in half", partial(_broken_parquet, lambda b: b[: len(b) // 2]), ("broken.parquet",)),
    Case("Parquet without its tail", partial(_broken_parquet, lambda b: b[:-4]), ("broken.parquet",)),
    Case("Parquet without its head", partial(_broken_parquet, lambda b: b[4:]), ("broken.parquet",)),
    Case(
        "Parquet whose pages are noise",
        partial(_broken_parquet, lambda b: b[:4] + b"\xff" * 200 + b[204:]),
        ("broken.parquet",),
    ),
    Case(
        "Parquet whose footer is noise",
        partial(_broken_parquet, lambda b: b[:-200] + b"\xff" * 192 + b[-8:]),
        ("broken.parquet",),
    ),
    Case(
        "Parquet whose footer lies about its length",
        partial(_broken_parquet, lambda b: b[:-8] + b"\xff\xff\xff\x7fPAR1"),
        ("broken.parquet",),
    ),
    Case("an empty Parquet file", partial(_broken_parquet, lambda b: b""), ("broken.parquet",)),
    Case("text called Parquet", partial(_broken_parquet, lambda b: GOOD.encode()), ("broken.parquet",)),
    Case("Parquet's magic word only", partial(_broken_parquet, lambda b: b"PAR1PAR1"), ("broken.parquet",)),
    Case("Parquet with lists in its cells", partial(_odd_parquet, lambda: [[1], [2, 3], []]), ("odd.parquet", '"odd"')),
    Case("Parquet with structs in its cells", partial(_odd_parquet, _structs), ("odd.parquet", '"odd"')),
    Case("Parquet with maps in its cells", partial(_odd_parquet, _maps), ("odd.parquet", '"odd"')),
    Case(
        "Parquet with bytes in its cells",
        partial(_odd_parquet, lambda: [b"\0\1", b"\2", b"\3"]),
        ("odd.parquet", '"odd"'),
    ),
)


def _nothing_in_parquet(columns: dict[str, list[float]], place: Place) -> Sequence[str]:
    import pandas as pd

    (place.folder / "none.parquet").write_bytes(parquet(pd.DataFrame(columns, dtype=float)))
    return ("fit", "marginals", "none.parquet")


NOTHING = (
    Case("Parquet without rows", partial(_nothing_in_parquet, {"a": [], "b": []}), ("none.parquet", "no rows")),
    Case("Parquet without columns", partial(_nothing_in_parquet, {}), ("none.parquet",)),
)

CASES: tuple[Case, ...] = (*SHAPES, *EMPTY, *BYTES, *CHOICES, *PARTS, *PARQUET, *NOTHING)
