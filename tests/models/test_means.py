"""Means of unknown values are means in the units of the records: what draws average to, gates, atoms and curved scales included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from genlearn.model import model_class

ROWS, DRAWS = 400, 2000
FALSE_ALARM = 5.0  # standard errors of the average of draws: one in 1.7 million, 120 comparisons

MODELS: dict[str, dict[str, Any]] = {
    "gmm": {"components": 4},
    "mixture": {"components": 12},
    "forest": {"trees": 5},
    "treemixture": {"components": 2},
    "bayesnet": {},
    "densitytree": {},
    "marginals": {},
    "kde": {},
}
SETTINGS = [*MODELS.items(), ("forest", {"trees": 2, "leaf": "gaussian"}), ("bayesnet", {"numbers": "gaussian"})]


def people(n: int = ROWS) -> pd.DataFrame:
    """A skewed number, one that is mostly 0 and sometimes missing, a whole number with six values, and a category."""
    rng = np.random.default_rng(0)
    rich = rng.random(n) < 0.4
    gain = np.where(rng.random(n) < np.where(rich, 0.5, 0.15), 300 + 40 * rng.standard_normal(n), 0.0)
    gain[rng.random(n) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "cost": np.exp(rng.normal(np.where(rich, 3.0, 1.0), 0.9)),
            "gain": gain,
            "grade": np.clip(np.rint(rng.normal(np.where(rich, 9.0, 5.0), 2.0)), 1, 12).astype(int),
            "city": np.where(rng.random(n) < np.where(rich, 0.8, 0.3), "Rome", "Oslo"),
        }
    )


@pytest.mark.parametrize("name, settings", SETTINGS, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v)))
def test_the_mean_is_what_draws_average_to(name: str, settings: dict[str, Any]) -> None:
    frame = people()
    model = model_class(name)(random_state=0, **settings).fit(frame)  # type: ignore[call-arg]
    holes, mask = frame[:4], np.zeros((4, 4), bool)
    mask[0, 0] = mask[1, 1] = mask[2, 2] = mask[3, :3] = True
    mean = model.impute(holes, mask, how="mean", random_state=0)  # type: ignore[attr-defined]
    again = holes.loc[np.repeat(np.arange(4), DRAWS)].reset_index(drop=True)
    drawn = model.impute(again, np.repeat(mask, DRAWS, 0), how="draw", random_state=1)  # type: ignore[attr-defined]
    for row in range(4):
        for i, column in enumerate(("cost", "gain", "grade")):
            if mask[row, i]:
                some = drawn[column].to_numpy(float)[row * DRAWS : (row + 1) * DRAWS]
                error = FALSE_ALARM * some.std() / np.sqrt(DRAWS) + (0.5 if column == "grade" else 0.0)
                assert abs(float(mean[column].iloc[row]) - some.mean()) <= error, (row, column)


def test_numbers_that_are_names_have_no_mean() -> None:
    frame = people()
    coded = frame.assign(grade=np.where(frame["grade"] > 6, 1, np.where(frame["cost"] > 4, 12, 6)))
    from genlearn.data.records import Records

    for types, possible in ((None, {6}), ({"grade": "category"}, {1, 12})):
        options = {} if types is None else {"types": types}
        model = model_class("gmm")(components=1, random_state=0).fit(Records("table", coded, options=options))  # type: ignore[call-arg]
        filled = model.impute(coded[:1], np.array([[True, False, True, True]]), how="mean")  # type: ignore[attr-defined]
        assert int(filled["grade"].iloc[0]) in possible
