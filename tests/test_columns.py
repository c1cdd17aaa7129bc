"""Column types as a person would read them."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest

from genlearn.data.columns import date_format, infer_columns
from genlearn.errors import Problem

N = 200
RNG = np.random.default_rng(0)


def kind(values: object, name: str = "x", **options: object) -> str:
    frame = pd.DataFrame({name: values})
    return infer_columns(frame, **options)[name].type  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values, expected",
    [
        (RNG.normal(size=N), "real"),
        (RNG.integers(0, 90, N), "integer"),
        (RNG.integers(0, 90, N).astype(float), "integer"),
        (np.where(RNG.random(N) < 0.2, np.nan, RNG.integers(0, 9, N)), "integer"),
        (pd.array([1, None] * (N // 2), dtype="Int64"), "integer"),
        (RNG.random(N) < 0.5, "boolean"),
        ([True, None] * (N // 2), "boolean"),
        (pd.array([True, False, None, True] * (N // 4), dtype="boolean"), "boolean"),
        (["True", "False"] * (N // 2), "category"),
        (["yes", "no", None, "no"] * (N // 4), "category"),
        ([f"street {i // 2}" for i in range(N)], "category"),
        ([f"a story that is told only once, number {i}" for i in range(N)], "text"),
        ([f"C{i:05d}" for i in range(N)], "id"),
        (pd.Categorical(["low", "high"] * (N // 2), categories=["low", "high"]), "category"),
        (pd.date_range("2020-01-01", periods=N), "date"),
        ([f"2020-{m:02d}-{d:02d}" for m in range(1, 11) for d in range(1, 21)], "date"),
        ([datetime.date(2020, 1, 1 + i % 28) for i in range(N)], "date"),
        (pd.to_timedelta(np.arange(N), unit="h"), "real"),
        ([3.5] * N, "constant"),
        ([None] * N, "constant"),
        ([f"{i}.{i}.99" for i in range(N)], "id"),
        (np.full(N, 2.0**60) + np.arange(N) * 4096.0, "real"),
    ],
)
def test_types(values: object, expected: str) -> None:
    found = kind(values)
    # One value beside missing cells is no constant: whether it is there tells something.
    also = {"integer": "integer", "boolean": "boolean"}
    assert found == also.get(expected, expected)


@pytest.mark.parametrize(
    "name, values, expected",
    [
        ("customer_id", RNG.permutation(10**6)[:N], "id"),
        ("PassengerId", np.arange(N), "id"),
        ("Unnamed: 0", np.arange(N), "id"),
        ("No.", np.arange(1, N + 1), "id"),
        ("row", np.arange(1, N + 1), "id"),
        ("year", np.arange(1850, 1850 + N), "integer"),
        ("humid", RNG.permutation(10**6)[:N], "integer"),
        ("customer_id", RNG.integers(0, 20, N), "integer"),
        ("key", [f"name {i}" for i in range(N)], "id"),
    ],
)
def test_whole_numbers_are_identifiers_only_if_their_name_says_so(name: str, values: object, expected: str) -> None:
    assert kind(values, name) == expected


def test_a_target_is_never_an_identifier_or_text() -> None:
    assert kind([f"C{i:05d}" for i in range(N)], "c", target="c") == "category"
    assert kind(np.arange(N), "id", target="id") == "integer"


def test_told_types_win_and_are_checked() -> None:
    frame = pd.DataFrame({"zip": [8000, 3000, 8000], "name": ["a", "b", "c"]})
    assert infer_columns(frame, {"zip": "category"})["zip"].type == "category"
    with pytest.raises(Problem, match=r'"zap".*Did you mean "zip"'):
        infer_columns(frame, {"zap": "category"})
    with pytest.raises(Problem, match=r'"categry".*Did you mean "category"'):
        infer_columns(frame, {"zip": "categry"})


def test_counts_of_missing_and_distinct_cells() -> None:
    info = infer_columns(pd.DataFrame({"x": [1.5, np.nan, 1.5, 2.5], "l": [[1], [2], [1], None]}))
    assert (info["x"].n_missing, info["x"].n_distinct) == (1, 2)
    assert (info["l"].type, info["l"].n_distinct) == ("category", 2)


@pytest.mark.parametrize(
    "text, fmt",
    [
        ("2024-02-29", "%Y-%m-%d"),
        ("31.12.2023", "%d.%m.%Y"),
        ("12/31/2023", "%m/%d/%Y"),
        ("31/12/2023", "%d/%m/%Y"),
        ("2024-02-29 10:11", "%Y-%m-%d %H:%M"),
        ("2024-02-29T10:11:12.5", "%Y-%m-%dT%H:%M:%S.%f"),
        ("2023-02-29", None),
        ("10.5.7.1", None),
        ("about 2020", None),
    ],
)
def test_date_formats(text: str, fmt: str | None) -> None:
    assert date_format(pd.Series([text, None])) == fmt
