"""Tables: the schema, column shapes, pair trends, validity, usefulness against closed forms, scipy and scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.stats.contingency import association

from genlearn.data.records import Dataset, Records
from genlearn.errors import Problem
from genlearn.metrics.features import spaces
from genlearn.metrics.pairs import contingency, correlation, cramers_v, pair_trends, pairs
from genlearn.metrics.schema import Schema
from genlearn.metrics.shapes import column_shapes, ks_complement, shapes, tv_complement
from genlearn.metrics.useful import useful_classes, useful_features, useful_number
from genlearn.metrics.validity import validity


def people(n=300, seed=0):
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, n)
    income = np.where(rng.random(n) < 0.2, np.nan, age * 100 + rng.normal(0, 500, n))
    return pd.DataFrame(
        {
            "customer_id": [f"c{k:05d}" for k in rng.permutation(n)],
            "age": age,
            "income": income,
            "city": rng.choice(["Bern", "Genf", None], n, p=[0.6, 0.3, 0.1]),
            "member": rng.random(n) < 0.5,
            "since": (pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D")).strftime(
                "%Y-%m-%d"
            ),
            "country": "CH",
            "churn": np.where(age + rng.normal(0, 5, n) > 50, "yes", "no"),
        }
    )


def schema_of(frame, target=None):
    return Schema.of(Records("table", frame, target=target))


# -- schema ----------------------------------------------------------------------------------------------------------
def test_schema_tells_numbers_levels_and_what_is_not_judged():
    schema = schema_of(people(), "churn")
    assert set(schema.numbers) == {"age", "income", "since"}
    assert set(schema.levels) == {"city", "member", "country", "churn"}
    assert "customer_id" not in schema.columns
    assert "country" not in schema.varying
    assert schema.number(pd.DataFrame({"since": ["2020-01-02"]}), "since")[0] == pd.Timestamp("2020-01-02").timestamp()
    assert schema.level(pd.DataFrame({"city": ["Bern", None, "Rome"]}), "city").tolist() == [0, 2, 3]


def test_levels_read_alike_whatever_their_storage():
    schema = schema_of(pd.DataFrame({"k": [1, 2, 2, 2], "x": [0.5, 1.5, 2.5, 3.5]}), "k")
    assert schema.level(pd.DataFrame({"k": [2.0, 1.0, np.nan, 7.0]}), "k").tolist() == [0, 1, 2, 3]
    assert schema.level(pd.DataFrame({"k": pd.array([2, None], dtype="Int64")}), "k").tolist() == [0, 2]


def test_generated_infinities_and_lost_columns():
    schema = schema_of(people())
    assert np.isnan(schema.number(pd.DataFrame({"age": [np.inf]}), "age"))[0]
    with pytest.raises(Problem, match='lacks the column "age"'):
        schema.number(pd.DataFrame({"b": [1]}), "age")


def test_durations_and_numbers_as_text():
    frame = pd.DataFrame({"t": pd.to_timedelta([1, 2, 3, 3], unit="h"), "x": np.array([1, 2.5, 3, 3], object)})
    schema = schema_of(frame)
    assert schema.number(frame, "t").tolist() == [3600, 7200, 10800, 10800]
    assert schema.number(pd.DataFrame({"x": ["2.5", None]}), "x")[0] == 2.5


# -- shapes ----------------------------------------------------------------------------------------------------------
def test_shapes_agree_with_scipy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=200), rng.normal(0.4, 1.5, size=300)
    assert ks_complement(x, y) == pytest.approx(1 - stats.ks_2samp(x, y).statistic)
    assert tv_complement(np.array([0, 1, 1, 2]), np.array([1, 1, 1, 3])) == pytest.approx(0.5)


def test_missing_cells_are_part_of_the_shape():
    x = np.array([1.0, 2, 3, 4])
    assert ks_complement(x, np.array([1.0, 2, np.nan, np.nan])) == pytest.approx(0.5)
    assert ks_complement(np.array([1.0, np.nan]), np.array([1.0, np.nan])) == 1


def test_identical_tables_have_every_score_at_one():
    frame = people()
    schema = schema_of(frame, "churn")
    assert set(column_shapes(schema, frame, frame).values()) == {1.0}
    assert shapes(schema, frame, frame).value == pairs(schema, frame, frame).value == validity(schema, frame).value == 1


def test_a_shifted_column_is_named():
    frame = people()
    schema = schema_of(frame)
    moved = frame.assign(age=frame["age"] + 1000)
    assert column_shapes(schema, frame, moved)["age"] == 0
    assert "lowest: age" in shapes(schema, frame, moved).note


# -- pairs -----------------------------------------------------------------------------------------------------------
def test_correlation_and_cramers_v_agree_with_scipy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=100)
    y = x + rng.normal(size=100)
    assert correlation(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert correlation(x, np.full(100, 1e6 + 0.1)) == correlation(x, np.full(100, np.nan)) == 0
    a, b = rng.integers(0, 3, 500), rng.integers(0, 4, 500)
    joint = contingency(a, (a + b) % 4, (3, 4))
    assert cramers_v(joint) == pytest.approx(association((joint * 500).round().astype(int), method="cramer"))
    assert cramers_v(np.array([[0.5, 0.5], [0, 0]])) == 0


def test_a_flipped_correlation_scores_zero():
    x = np.arange(100.0)
    real, flipped = pd.DataFrame({"a": x, "b": x + 0.5}), pd.DataFrame({"a": x, "b": -x})
    trends = pair_trends(schema_of(real), real, flipped)
    assert trends.real[0, 1] == pytest.approx(1)
    assert trends.fake[0, 1] == pytest.approx(-1)
    assert trends.scores[0, 1] == pytest.approx(0)


def test_two_categories_by_hand():
    real = pd.DataFrame({"a": list("xxyy") * 5, "b": list("uuvv") * 5})
    fake = pd.DataFrame({"a": list("xxyy") * 5, "b": list("uvuv") * 5})
    trends = pair_trends(schema_of(real), real, fake)
    # Real mass 1/2 on two cells, generated 1/4 on four: they share one half.
    assert (trends.real[0, 1], trends.fake[0, 1], trends.scores[0, 1]) == pytest.approx((1, 0, 0.5))


def test_independent_columns_keep_their_shapes_but_lose_their_pairs():
    frame = people(2000)
    rng = np.random.default_rng(1)
    fake = frame.apply(lambda c: c.to_numpy()[rng.permutation(len(c))])
    schema = schema_of(frame, "churn")
    assert shapes(schema, frame, fake).value == 1
    trends = pair_trends(schema, frame, fake)
    at = [trends.names.index(c) for c in ("age", "churn")]
    assert trends.scores[at[0], at[1]] < 0.7
    assert trends.real[at[0], at[1]] > 0.7 > 0.2 > trends.fake[at[0], at[1]]


def test_wide_tables_judge_a_hundred_drawn_columns():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 130))).add_prefix("x")
    schema = schema_of(frame)
    assert len(pair_trends(schema, frame, frame).names) == 100
    assert pairs(schema_of(frame[["x0"]]), frame, frame).value is None


# -- validity --------------------------------------------------------------------------------------------------------
def test_validity_counts_rows_with_any_impossible_cell():
    train = people()
    schema = schema_of(train)
    fake = train.head(10).copy()
    assert validity(schema, fake).value == 1
    fake["age"] = fake["age"].astype(float)
    fake.loc[0, "age"] = 900  # out of range
    fake.loc[0, "city"] = "Rome"  # the same row
    fake.loc[1, "age"] = np.nan  # never missing in training
    fake.loc[2, "income"] = np.nan  # missing in training as well
    fake.loc[3, "country"] = "DE"
    result = validity(schema, fake)
    assert result.value == pytest.approx(0.7)
    assert result.note == "most often outside: age (2 of 10)"
    assert validity(schema, fake.head(0)).value is None


# -- useful ----------------------------------------------------------------------------------------------------------
def test_useful_of_a_threshold_is_one_and_of_noise_one_half():
    rng = np.random.default_rng(0)
    x, test = rng.normal(size=(2, 600, 2))
    y, test_y = (x[:, 0] > 0).astype(int), (test[:, 0] > 0).astype(int)
    good = useful_classes(x, y, test, test_y, names=["no", "yes"])
    bad = useful_classes(x, rng.permutation(y), test, test_y, names=["no", "yes"])
    assert good.value > 0.995
    assert bad.low < 0.5 < bad.high


def test_useful_of_many_classes_is_macro_and_names_the_lost_one():
    rng = np.random.default_rng(0)
    test_y = rng.integers(0, 3, 300)
    test = test_y[:, None] + 0.1 * rng.normal(size=(300, 1))
    y = rng.integers(0, 2, 300)
    lost = useful_classes(y[:, None] + 0.1 * rng.normal(size=(300, 1)), y, test, test_y, names=["a", "b", "c"])
    # Class a is perfect, c scores one half; b shares its leaf with c, so it beats a only: half of its rivals are ties.
    n = np.bincount(test_y)
    b = (n[0] + 0.5 * n[2]) / (n[0] + n[2])
    assert lost.value == pytest.approx((1 + b + 0.5) / 3, abs=0.01)
    assert lost.note == "AUC; no records of: c"


def test_useful_with_one_generated_class_is_a_guess():
    test_y = np.arange(100) % 2
    result = useful_classes(np.zeros((50, 1)), np.zeros(50, int), np.zeros((100, 1)), test_y, names=["a", "b"])
    assert result.value == 0.5
    assert "no records of: b" in result.note


def test_useful_number_is_r2():
    rng = np.random.default_rng(0)
    x, test = rng.uniform(-1, 1, size=(2, 800, 1))
    noise = 0.5
    law = lambda v: 2 * v[:, 0] + noise * rng.normal(size=len(v))  # noqa: E731
    result = useful_number(x, law(x), test, law(test))
    # The best is 1 - 0.25 / (4/3 + 0.25) = 0.842; a hundred trees on 800 rows lose some of it.
    assert 0.75 < result.value < 0.87
    assert result.note == "R2"
    assert useful_number(x, law(x), test, np.ones(800)).value is None
    assert useful_number(x, np.full(800, np.nan), test, law(test)).value is None


def test_useful_features_is_accuracy():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 400)
    x = np.eye(3)[y] * 10 + rng.normal(size=(400, 3))
    assert useful_features(x[:200], y[:200], x[200:], y[200:], names=list("abc")).value == 1
    unlabelled = useful_features(x, np.full(400, -1), x, y, names=list("abc"))
    assert unlabelled.value is None
    assert (
        useful_features(x, y, x, np.zeros(400, int), names=list("abc")).note == "real test records have one label only"
    )


# -- feature spaces --------------------------------------------------------------------------------------------------
def data_of(frame, target=None):
    records = Records("table", frame, target=target)
    n = len(frame)
    parts = (slice(0, n // 2), slice(n // 2, 3 * n // 4), slice(3 * n // 4, n))
    return Dataset("people", *(records.take(p) for p in parts))


def test_space_a_is_standardised_and_finite():
    data = data_of(people(), "churn")
    a = spaces(data)["A"](data.train)
    assert a.dtype == np.float32
    assert np.isfinite(a).all()
    assert a[:, 0].mean() == pytest.approx(0, abs=1e-5)
    assert a[:, 0].std() == pytest.approx(1, abs=1e-5)
    odd = data.test.x.assign(city="Rome", age=np.inf)
    assert spaces(data)["A"](Records("table", odd)).shape[1] == a.shape[1]


@pytest.mark.parametrize(
    "target, said", [("churn", "accuracy 0."), ("age", "R2 0."), (None, "ranks")], ids=["label", "number", "none"]
)
def test_space_b_is_learned_from_training_rows_only(target, said):
    data = data_of(people(400), target)
    space = spaces(data)["B"]
    assert said in space.note
    features = space(data.test)
    other = Dataset("people", data.train, data.valid, data.train)
    assert (spaces(other)["B"](data.test) == features).all()
    columns, categorical = space.trees(data.test)
    assert columns.shape == (100, len(categorical))


def test_ranks_are_uniform_on_training_rows():
    frame = pd.DataFrame({"x": np.exp(np.random.default_rng(0).normal(size=2000) * 3)})
    ranks = spaces(data_of(frame))["B"](Records("table", frame.head(1000)))[:, 0]
    assert ranks.mean() == pytest.approx(0, abs=1e-6)
    assert ranks.std() == pytest.approx(1, abs=1e-3)
    assert stats.kstest(ranks / np.sqrt(12) + 0.5, "uniform").statistic < 1e-3


def test_text_has_no_spaces_yet():
    records = Records("text", ["a"])
    with pytest.raises(Problem, match="no feature spaces"):
        spaces(Dataset("t", records, records, records))
