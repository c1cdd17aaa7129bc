"""How a column writes its numbers: dtype, decimals, dates and durations; read to float64 and written back alike."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..data.columns import DATE_FORMATS, EXACT, date_format
from ..data.digest import decimals_of
from ..errors import Problem

_EPOCH = np.datetime64(0, "us")
_DAY, _SECOND = 86_400_000_000, 1_000_000  # in microseconds
_FIRST, _LAST = np.datetime64("0001-01-01", "us"), np.datetime64("9999-12-31", "us")


MOST_DECIMALS = 15  # digits after the point that float64 holds

# What pandas makes of a name of a type may open files (a time zone of dateutil is a path) or import packages.
_ZONE = re.compile(r"(?!dateutil)[A-Za-z][\w+-]*(/[A-Za-z][\w+-]*){0,2}|UTC[+-]\d\d:\d\d|tz(local|utc)\(\)")
_DTYPE = re.compile(
    r"(u?int|U?Int|[fF]loat|complex)\d{1,3}|[A-Za-z_]{1,40}"
    rf"|timedelta64\[(s|ms|us|ns)\]|datetime64\[(s|ms|us|ns)(, ({_ZONE.pattern}))?\]"
    r"|(?!.*dateutil)(period|interval|Sparse)\[[\w, .:+/\[\]-]{1,80}\]|(?P<arrow>[\w, =:<>()/+-]{1,80}\[pyarrow\])"
)


def check_dtype(text: str) -> None:
    """Raise ValueError unless `text` names a type that a column can have."""
    found = _DTYPE.fullmatch(text)
    if found is None:
        raise ValueError(f'"{text}" is no type of a column')
    if found["arrow"] and "pyarrow" not in sys.modules:
        raise Problem(f"{text} needs pyarrow, which is not installed. Run: pip install pyarrow.")


def check_array_type(text: str) -> None:
    """Raise ValueError unless `text` names a type that an array of numbers or labels can have."""
    if not re.fullmatch(r"[<>=|]?[a-zA-Z]+\d{0,4}(\[\w{1,4}\])?", text) or np.dtype(text).itemsize > 2**16:
        raise ValueError(f'"{text}" is no type of an array')


@dataclass(frozen=True)
class NumberFormat:
    """How the numbers of a column are written.

    Arguments:
        name: The column, for messages.
        dtype: The pandas dtype, as text.
        form: `number`, `date` (whole days since 1970), `time` (seconds since `origin`) or `duration` (seconds).
        decimals: Digits after the point; None if they are not a fixed few.
        pattern: The format of dates that are text; `date` for Python's own date objects; empty for datetimes.
        zone: Time zone of datetimes; empty without one.
        origin: Microseconds since 1970 that `time` counts from.
    """

    name: str
    dtype: str
    form: Literal["number", "date", "time", "duration"] = "number"
    decimals: int | None = None
    pattern: str = ""
    zone: str = ""
    origin: int = 0

    def __post_init__(self) -> None:
        check_dtype(self.dtype)
        if self.decimals is not None and not 0 <= self.decimals <= MOST_DECIMALS:
            raise ValueError(f'column "{self.name}": {self.decimals} digits after the point are too many')
        if self.pattern not in ("", "date", *DATE_FORMATS):
            raise ValueError(f'column "{self.name}": "{self.pattern}" is no format of dates')
        if self.zone and not _ZONE.fullmatch(self.zone):
            raise ValueError(f'column "{self.name}": "{self.zone}" is no time zone')

    @classmethod
    def of(
        cls, name: str, series: pd.Series, *, date: bool, round_to: int | Literal["found"] | None = "found"
    ) -> tuple[NumberFormat, np.ndarray]:
        """Learn the format of a column; return it with the numbers `(n,)`, NaN where missing."""
        fmt = cls(name, str(series.dtype))
        if date:
            fmt = fmt._of_dates(series)
        elif pd.api.types.is_timedelta64_dtype(series):
            fmt = cls(name, str(series.dtype), "duration")
        numbers = fmt.read(series)
        if fmt.form == "date":
            return fmt, numbers
        eps = 2.0**-23 if "float32" in fmt.dtype.lower() else 2.0**-52
        decimals = decimals_of(numbers, eps) if round_to == "found" else round_to
        if "%f" in fmt.pattern:
            decimals = max(len(re.sub(r".*[.](\d+).*", r"\1", text)) for text in series.dropna().unique())
        return cls(**{**asdict(fmt), "decimals": decimals}), numbers

    def _of_dates(self, series: pd.Series) -> NumberFormat:
        pattern, zone = "", ""
        if series.dtype == object or pd.api.types.is_string_dtype(series):
            content = pd.api.types.infer_dtype(series, skipna=True)
            pattern = (date_format(series) or "") if content == "string" else "date" if content == "date" else ""
            if content == "string" and not pattern:
                raise Problem(f'column "{self.name}" is said to hold dates, but no usual format reads all its cells.')
        elif isinstance(series.dtype, pd.DatetimeTZDtype):
            zone = str(series.dtype.tz)
        draft = NumberFormat(self.name, self.dtype, "date", None, pattern, zone)
        moments = draft._moments(series, local=True)
        known = moments[~np.isnat(moments)]
        if not ((known - _EPOCH).astype(np.int64) % _DAY).any():
            return draft
        exact = draft._moments(series, local=False)
        first = exact[~np.isnat(exact)].min()
        origin = int((first - _EPOCH).astype(np.int64)) // _SECOND * _SECOND
        return NumberFormat(self.name, self.dtype, "time", None, pattern, zone, origin)

    # -- reading -----------------------------------------------------------------------------------------------------
    def read(self, series: pd.Series) -> np.ndarray:
        """Return the cells as `(n,)` float64, NaN where missing; raise `Problem` for cells that are no such number."""
        if self.form in ("date", "time"):
            moments = self._moments(series, local=self.form == "date")
            since = (moments - _EPOCH).astype(np.int64) - self.origin
            numbers = since / (_DAY if self.form == "date" else _SECOND)
            return np.where(np.isnat(moments), np.nan, numbers)
        if self.form == "duration":
            return pd.to_timedelta(series).dt.total_seconds().to_numpy(dtype=np.float64)
        return self._numbers(series)

    def _numbers(self, series: pd.Series) -> np.ndarray:
        if pd.api.types.is_numeric_dtype(series):
            values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            plain = series.astype(object) if isinstance(series.dtype, pd.CategoricalDtype) else series
            values = pd.to_numeric(plain, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
            self._refuse(np.isnan(values) & series.notna().to_numpy(), series, "is not a number")
        self._refuse(np.isinf(values), series, "is not finite")
        return values

    def _moments(self, series: pd.Series, *, local: bool) -> np.ndarray:
        """Return datetime64[us], in the column's own zone or in UTC."""
        fmt = self.pattern if self.pattern not in ("", "date") else None
        if pd.api.types.is_datetime64_any_dtype(series):
            moments = series
        else:
            # Texts may carry offsets that change with the season: all are brought to UTC, then to the column's zone.
            moments = pd.to_datetime(series, errors="coerce", format=fmt or "ISO8601", utc=True)
            if fmt and (moments.isna() & series.notna()).any():
                moments = pd.to_datetime(series, errors="coerce", format="ISO8601", utc=True)
            self._refuse((moments.isna() & series.notna()).to_numpy(), series, f"is not a date ({fmt or 'ISO'})")
            moments = moments.dt.tz_convert(self.zone or "UTC")
        if isinstance(moments.dtype, pd.DatetimeTZDtype):
            moments = moments.dt.tz_localize(None) if local else moments.dt.tz_convert("UTC").dt.tz_localize(None)
        return moments.to_numpy(dtype="datetime64[us]")

    def _refuse(self, bad: np.ndarray, series: pd.Series, why: str) -> None:
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise Problem(
                f'column "{self.name}", row {series.index[row] + 1}: "{series.iloc[row]}" {why}. '
                f"Mend the cell, leave it empty, or set the column's type (types: {self.name}=category)."
            )

    # -- writing -----------------------------------------------------------------------------------------------------
    def write(self, numbers: np.ndarray) -> pd.Series:
        """Return a column as it was in training, from numbers `(n,)` with NaN for missing."""
        if self.form in ("date", "time"):
            return self._write_moments(numbers)
        if self.decimals is not None:
            numbers = np.round(numbers, self.decimals)
        if self.form == "duration":
            return pd.Series(pd.to_timedelta(numbers, unit="s")).astype(pd.api.types.pandas_dtype(self.dtype))
        return self._write_numbers(numbers)

    def _write_numbers(self, numbers: np.ndarray) -> pd.Series:
        dtype = pd.api.types.pandas_dtype(self.dtype)
        missing = np.isnan(numbers)
        if isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_object_dtype(dtype):
            whole = self.decimals == 0
            return pd.Series(
                [None if math.isnan(v) else int(v) if whole else v for v in numbers.tolist()], dtype=object
            )
        if pd.api.types.is_string_dtype(dtype):
            text = [
                None if math.isnan(v) else repr(v) if self.decimals is None else f"{v:.{self.decimals}f}"
                for v in numbers.tolist()
            ]
            return pd.Series(text, dtype=dtype)
        if pd.api.types.is_integer_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
            if isinstance(dtype, np.dtype) and missing.any():
                return pd.Series(np.rint(numbers))
            low, high = (0, 1) if pd.api.types.is_bool_dtype(dtype) else _bounds(dtype)
            numbers = np.clip(np.rint(np.where(missing, low, numbers)), low, high).astype(np.int64)
            column = pd.Series(numbers).astype(dtype)
            return column.mask(missing) if missing.any() else column
        return pd.Series(numbers).astype(dtype)

    def _write_moments(self, numbers: np.ndarray) -> pd.Series:
        missing = np.isnan(numbers)
        if self.decimals is not None:
            numbers = np.round(numbers, self.decimals)
        unit = _DAY if self.form == "date" else _SECOND
        low, high = (int((edge - _EPOCH).astype(np.int64)) for edge in (_FIRST, _LAST))
        since = np.clip(np.rint(np.where(missing, 0, numbers) * unit) + self.origin, low, high).astype(np.int64)
        if self.form == "date":
            since = np.rint(since / _DAY).astype(np.int64) * _DAY
        moments = pd.Series(since.astype("timedelta64[us]") + _EPOCH).mask(missing)
        if self.pattern == "date":
            return moments.dt.date.astype(object).where(~missing, None)
        if self.pattern:
            return self._write_text(moments, missing)
        if self.zone:
            local = moments.dt.tz_localize("UTC").dt.tz_convert(self.zone)
            if self.form == "date":
                first = np.ones(len(moments), dtype=bool)
                local = moments.dt.tz_localize(self.zone, ambiguous=first, nonexistent="shift_forward")
            return local.astype(pd.api.types.pandas_dtype(self.dtype))
        return moments if self.dtype == "object" else moments.astype(pd.api.types.pandas_dtype(self.dtype))

    def _write_text(self, moments: pd.Series, missing: np.ndarray) -> pd.Series:
        text = moments.dt.strftime(self.pattern).astype(object).where(~missing, None)
        if "%f" in self.pattern:
            text = text.str.replace(rf"([.]\d{{{self.decimals}}})\d*", r"\1", regex=True)
        return text.astype(pd.api.types.pandas_dtype(self.dtype))


def _bounds(dtype: Any) -> tuple[float, float]:
    info = np.iinfo(getattr(dtype, "numpy_dtype", dtype))
    return max(float(info.min), -EXACT), min(float(info.max), EXACT)
