"""How a column writes its numbers: dtype, decimals, dates and durations; read to float64 and written back alike."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from ..data.columns import EXACT, date_format
from ..errors import Problem

DECIMALS = 10
_EPOCH = np.datetime64(0, "us")
_DAY, _SECOND = 86_400_000_000, 1_000_000  # in microseconds
_FIRST, _LAST = np.datetime64("0001-01-01", "us"), np.datetime64("9999-12-31", "us")


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
            moments = pd.to_datetime(series, errors="coerce", format=fmt or "ISO8601")
            if fmt and (moments.isna() & series.notna()).any():
                moments = pd.to_datetime(series, errors="coerce", format="ISO8601")
            self._refuse((moments.isna() & series.notna()).to_numpy(), series, f"is not a date ({fmt or 'ISO'})")
        if isinstance(moments.dtype, pd.DatetimeTZDtype):
            moments = moments.dt.tz_localize(None) if local else moments.dt.tz_convert("UTC").dt.tz_localize(None)
        return moments.to_numpy(dtype="datetime64[us]")

    def _refuse(self, bad: np.ndarray, series: pd.Series, why: str) -> None:
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise Problem(
                f'column "{self.name}", row {row + 1}: "{series.iloc[row]}" {why}. '
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


def decimals_of(numbers: np.ndarray, eps: float = 2.0**-52) -> int | None:
    """Return how many digits after the point all numbers get by with, or None if more than ten or more than float holds.

    Arguments:
        numbers: `(n,)`, NaN where missing.
        eps: Relative precision that the numbers came with.

    Example:
        >>> decimals_of(np.array([0.5, 12.25, np.nan])), decimals_of(np.array([0.1 + 0.2])), decimals_of(np.array([1 / 3]))
        (2, 1, None)
    """
    values = numbers[~np.isnan(numbers)]
    if not len(values):
        return None
    size = np.abs(values)
    for decimals in range(DECIMALS + 1):
        if size.max() * 10.0**decimals * eps * 64 > 1:  # digits near the precision tell nothing
            return None
        if (np.abs(np.round(values, decimals) - values) <= 4 * eps * size).all():
            return decimals
    return None
