"""Delimited text (CSV and its kin) into a DataFrame: delimiter, header and decimal sign are found by looking."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..errors import Problem

if TYPE_CHECKING:
    import pandas as pd

MISSING = frozenset({"", "?", "-", ".", "NA", "N/A", "n/a", "na", "#N/A", "NaN", "nan", "NAN", "null", "NULL", "None"})
MOST_COLUMNS = 20_000
_DELIMITERS = ",;\t|"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf", re.I)
_COMMA_NUMBER = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?")
_WHOLE = re.compile(r"[+-]?\d+")
_LEADING_ZERO = re.compile(r"0\d+")
_DATE = re.compile(r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([ T]\d{1,2}:\d{2}.*)?")
_SAMPLE_ROWS, _SAMPLE_CHARACTERS, _SAMPLE_CELLS = 500, 1_000_000, 20_000
_LONGEST_CELL = 2**31 - 1  # Python's own limit, 131,072, is shorter than some texts


@dataclass(frozen=True)
class Dialect:
    """How one delimited file is written.

    Arguments:
        delimiter: The character between cells.
        decimal: `.` or `,`.
        names: Column names of the header; None if the first row is data.
        text: Columns whose numbers are codes with leading zeros ("007") and stay text.
        whole: Columns whose numbers are written without a decimal sign.
    """

    delimiter: str
    decimal: str
    names: tuple[str, ...] | None
    text: frozenset[int] = frozenset()
    whole: frozenset[int] = frozenset()


def looks_tabular(text: str) -> bool:
    """Whether nearly every line splits into the same number (two or more) of cells.

    Example:
        >>> looks_tabular("a,b\\n1,2\\n"), looks_tabular("emma\\nolivia\\n")
        (True, False)
    """
    return any(_consistency(_sample(text, d))[0] >= 0.98 for d in _DELIMITERS)


def sniff(text: str, where: str, header: bool = True) -> Dialect:
    """Find out how a delimited text is written from its first rows.

    Arguments:
        text: The whole file.
        where: Its name, for messages.
        header: False: the first row is data. True: the first row is a header unless it parses like the body.
    """
    delimiter = max(_DELIMITERS, key=lambda d: _plausibility(_sample(text, d), d))
    if _consistency(_sample(text, delimiter))[1] < 2:
        delimiter = ","
    rows = _sample(text, delimiter)
    if not rows:
        raise Problem(f"{where} is empty. Give a file with at least one row.")
    refuse_width(_consistency(rows)[1], where)
    names = tuple(rows[0]) if header and _is_header(rows, delimiter) else None
    body = rows[1:] if names else rows
    width = max(Counter(map(len, body)).most_common(1)[0][0] if body else 0, 1)
    columns = [[r[j].strip() for r in body if j < len(r) and r[j].strip() not in MISSING] for j in range(width)]
    decimal = "."
    if delimiter != ",":
        commas = [c for column in columns for c in column if "," in c]
        decimal = "," if commas and sum(bool(_COMMA_NUMBER.fullmatch(c)) for c in commas) > 0.5 * len(commas) else "."
    return Dialect(
        delimiter,
        decimal,
        names,
        text=frozenset(j for j, c in enumerate(columns) if any(map(_LEADING_ZERO.fullmatch, c))),
        whole=frozenset(j for j, c in enumerate(columns) if c and all(map(_WHOLE.fullmatch, c))),
    )


def refuse_width(width: int, where: str) -> None:
    """Raise `Problem` for more columns than anybody waits for: each costs about a millisecond at every turn."""
    if width > MOST_COLUMNS:
        fix = "Give fewer columns, or a matrix the other way round"
        raise Problem(f"{where} has {width:,} columns, more than the {MOST_COLUMNS:,} that can be learned. {fix}.")


def parse(text: str, dialect: Dialect, where: str) -> tuple[pd.DataFrame, list[str]]:
    """Parse delimited text; columns are named by the header or x0, x1, ...

    Errors:
        Problem: If a row is too long or too short, with its line.
    """
    import pandas as pd

    body = _after_header(text, dialect.delimiter) if dialect.names else text
    if not body.strip():
        raise Problem(f"{where} has a header but no rows. Give a file with at least one record.")
    try:
        frame = pd.read_csv(
            io.StringIO(body),
            sep=dialect.delimiter,
            header=None,
            decimal=dialect.decimal,
            thousands="." if dialect.decimal == "," else None,
            dtype=dict.fromkeys(dialect.text, str),
            keep_default_na=False,
            na_values=[""],
            skipinitialspace=True,
            low_memory=False,
        )
    except pd.errors.ParserError as e:
        _find_ragged_row(text, dialect, where)
        _find_open_quote(text, dialect, where)
        reason = str(e).rsplit("C error: ", 1)[-1].strip()
        raise Problem(f"{where} cannot be read as a table ({reason}). Look for an unclosed quote.") from None
    if frame.isna().all(axis=None):
        raise Problem(f"{where}: all cells are empty. Give a file with at least one value.")
    if frame[frame.columns[-1]].isna().any() or frame.shape[1] < len(dialect.names or ()):
        _find_ragged_row(text, dialect, where)
    for j in dialect.whole:
        if j < frame.shape[1] and frame[j].dtype.kind == "f" and (frame[j].dropna() % 1 == 0).all():
            frame[j] = frame[j].astype("Int64")
    return _name_columns(frame, dialect, where)


# -- header and names --------------------------------------------------------------------------------------------------
def _name_columns(frame: pd.DataFrame, dialect: Dialect, where: str) -> tuple[pd.DataFrame, list[str]]:
    if dialect.names is None:
        frame.columns = [f"x{j}" for j in range(frame.shape[1])]
        return frame, [f"{where} has no header row: columns are called x0, x1, ..."]
    given, notes = [n.strip() for n in dialect.names], []
    while len(given) > frame.shape[1] and not given[-1]:
        given.pop()
    if len(given) == frame.shape[1] - 1:
        if frame[frame.columns[-1]].isna().all():
            frame = frame.iloc[:, :-1]  # every row ends with a delimiter
        else:
            given = ["", *given]  # R writes row names without a name of their own
    if len(given) != frame.shape[1]:
        named = f"the header names {len(given)} column{'s' * (len(given) != 1)} but rows have {frame.shape[1]} values"
        raise Problem(f"{where}, line 1: {named}. Make them agree, or delete the line if it is no header.")
    empty = [j for j, name in enumerate(given) if not name and frame.iloc[:, j].isna().all()]
    if empty and len(empty) < len(given):
        frame = frame.drop(columns=frame.columns[empty])
        given = [name for j, name in enumerate(given) if j not in empty]
        notes.append(f"{where}: empty columns without a name were left out ({len(empty)}).")
    names: list[str] = []
    taken, written, k = set[str](), set(given), dict[str, int]()
    for j, name in enumerate(given):
        new = base = name or ("index" if j == 0 else f"column_{j + 1}")
        while new in taken or (new != name and new in written):
            k[base] = k.get(base, 1) + 1
            new = f"{base}_{k[base]}"
        names.append(new)
        taken.add(new)
    frame.columns = names
    if renamed := [f'{n} (was "{g}")' for n, g in zip(names, given, strict=True) if n != g]:
        more = f" and {len(renamed) - 6:,} more" if len(renamed) > 6 else ""
        notes.append(f"{where}: columns without a name of their own are called {', '.join(renamed[:6])}{more}.")
    return frame, notes


def _after_header(text: str, delimiter: str) -> str:
    reader = _reader(text, delimiter)
    while not any(cell.strip() for cell in next(reader)):
        continue
    return text.split("\n", reader.line_num)[-1] if text.count("\n") >= reader.line_num else ""


def _is_header(rows: list[list[str]], delimiter: str) -> bool:
    first, body = [c.strip() for c in rows[0]], rows[1:]
    if len(first) >= 3 and first == [str(j) for j in range(len(first))]:
        return True  # what pandas writes for unnamed columns
    if not body:
        return not all(_kind(c, delimiter) in ("number", "missing") for c in first)
    typed = False
    for j, cell in enumerate(first):
        column = [r[j].strip() for r in body if j < len(r)]
        kinds = {k for k in (_kind(c, delimiter) for c in column) if k != "missing"}
        if len(kinds) == 1 and kinds != {"text"}:
            typed = True
            if _kind(cell, delimiter) == "text":
                return True
        elif "text" in kinds and cell in column:
            return False
    numbers = sum(_kind(c, delimiter) in ("number", "date") for c in first)
    return not typed and not numbers and len(set(first)) == len(first)


def _kind(cell: str, delimiter: str) -> str:
    if cell in MISSING:
        return "missing"
    if _NUMBER.fullmatch(cell) or (delimiter != "," and _COMMA_NUMBER.fullmatch(cell)):
        return "number"
    return "date" if _DATE.fullmatch(cell) else "text"


# -- shape -------------------------------------------------------------------------------------------------------------
def _sample(text: str, delimiter: str) -> list[list[str]]:
    head = text[:_SAMPLE_CHARACTERS]
    try:
        rows = list(islice(_reader(head, delimiter), _SAMPLE_ROWS))
    except csv.Error:
        return []
    if len(rows) > 1 and len(rows) < _SAMPLE_ROWS and len(head) < len(text):
        rows.pop()  # the sample ends inside this row
    return [r for r in rows if any(c.strip() for c in r)]


def _consistency(rows: list[list[str]]) -> tuple[float, int]:
    """Return the share of rows that have the most common width, and that width (0 and 0 if it is 1)."""
    if not rows:
        return 0.0, 0
    width, count = Counter(map(len, rows)).most_common(1)[0]
    return (count / len(rows), width) if width > 1 else (0.0, 0)


def _plausibility(rows: list[list[str]], delimiter: str) -> tuple[float, float, int]:
    share, width = _consistency(rows)
    cells = [c.strip() for r in rows[1:] or rows for c in r[:_SAMPLE_CELLS]][:_SAMPLE_CELLS]
    numbers = sum(_kind(c, delimiter) in ("number", "date") for c in cells)
    return (round(share, 1), numbers / max(len(cells), 1), width)


def _find_ragged_row(text: str, dialect: Dialect, where: str) -> None:
    """Raise `Problem` for the first row whose length is not that of most rows."""
    width = len(dialect.names) if dialect.names else 0
    body = _sample(text, dialect.delimiter)[1 if dialect.names else 0 :]
    common = Counter(map(len, body)).most_common(1)[0][0] if body else width
    if not width or common == width + 1:
        width = common
    reader = _reader(text, dialect.delimiter)
    begins = 1
    try:
        for row in reader:
            odd = (
                len(row) != width
                and any(c.strip() for c in row)
                and not (dialect.names and tuple(row) == dialect.names)
            )
            if odd and reader.line_num > begins:
                raise Problem(
                    f"{where}, line {begins}: a quote opens a cell that ends in line {reader.line_num}. Close the quote."
                )
            if odd:
                count = f"{len(row)} value{'s' * (len(row) != 1)}"
                raise Problem(
                    f"{where}, line {begins}: {count} where {width} are expected. "
                    "Quote cells that hold the delimiter, or delete the row."
                )
            begins = reader.line_num + 1
    except csv.Error as e:
        raise Problem(f"{where}, line {begins}: {e}. Look for an unclosed quote.") from None


def _find_open_quote(text: str, dialect: Dialect, where: str) -> None:
    """Raise `Problem` for a quote that is never closed."""
    reader, begins = _reader(text, dialect.delimiter, strict=True), 1
    try:
        for _ in reader:
            begins = reader.line_num + 1
    except csv.Error:
        raise Problem(f"{where}, line {begins}: a quote opens a cell that never ends. Close the quote.") from None


def _reader(text: str, delimiter: str, *, strict: bool = False) -> Any:
    csv.field_size_limit(_LONGEST_CELL)
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=strict)
