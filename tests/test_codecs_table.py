"""Tables to codes: round trips, mass one in data units, declared losses, helpful errors."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from genlearn import store
from genlearn.codecs import EVERY_KIND
from genlearn.codecs.choose import find_atoms, find_lattice
from genlearn.codecs.numbers import check_dtype
from genlearn.codecs.table import TableCodec
from genlearn.data.records import Records, as_records
from genlearn.errors import Problem
from genlearn.layout import Code

NUMBERS_ONLY = frozenset({"real", "category"})
RNG = np.random.default_rng(0)
N = 400


def table(frame: pd.DataFrame, target: Any = None, **options: Any) -> Records:
    return Records("table", frame, target=target, options={"origin": "dataframe", **options})


def fitted(
    frame: pd.DataFrame, target: Any = None, takes: frozenset[str] = EVERY_KIND, fold: bool = False, **options: Any
):
    return TableCodec(takes, fold).fit(table(frame, target, **options))


def mixed() -> pd.DataFrame:
    age = RNG.integers(18, 91, N)
    gain = np.where(RNG.random(N) < 0.8, 0, RNG.integers(100, 99_999, N))
    wage = np.round(np.exp(RNG.normal(3, 1.2, N)), 2)
    return pd.DataFrame(
        {
            "age": age,
            "gain": gain,
            "wage": np.where(RNG.random(N) < 0.1, np.nan, wage),
            "length": RNG.integers(40, 100, N) * 0.005,
            "job": pd.Series(RNG.choice(["chef", "Ärztin", "pilot"], N)).where(RNG.random(N) > 0.1),
            "sex": RNG.choice(["f", "m"], N),
            "rooms": RNG.integers(1, 6, N),
            "grade": pd.Categorical(RNG.choice(["low", "high"], N), categories=["low", "mid", "high"], ordered=True),
            "since": pd.to_datetime("2019-01-01") + pd.to_timedelta(RNG.integers(0, 900, N), unit="D"),
            "planet": "Earth",
            "churn": RNG.choice(["no", "yes"], N, p=[0.7, 0.3]),
        }
    )


FRAME = mixed()


def fields(codec: TableCodec) -> dict[str, str]:
    return {f.name: f.kind for f in codec.layout.fields}


# -- what becomes what -----------------------------------------------------------------------------------------------
def test_fields_of_a_mixed_table() -> None:
    codec = fitted(FRAME, "churn")
    assert fields(codec) == {
        "age": "ordered", "gain?": "category", "gain": "real", "wage?": "category", "wage": "real", "length": "ordered",
        "job": "category", "sex": "binary", "rooms": "category", "grade": "binary", "since": "real",
    }  # fmt: skip
    target = codec.layout.target
    assert target is not None
    assert (target.name, target.labels, target.role) == ("churn", ("no", "yes"), "target")
    by_name = {f.name: f for f in codec.layout.fields}
    assert by_name["gain?"].labels == ("value", "0")
    assert by_name["wage?"].absent == 1
    assert by_name["job"].labels[by_name["job"].absent] == "missing"
    assert by_name["gain"].width > 0
    assert by_name["wage"].width == 0
    assert codec.kind == "bound"
    assert codec.layout.measure == (
        "age: counts; gain: atoms {0} + counts; wage: Lebesgue + missing; length: lattice 0.005; job: levels + missing; "
        "sex: levels; rooms: levels; grade: levels; since: counts; planet: levels; churn: levels"
    )


@pytest.mark.parametrize("fold", [False, True])
def test_the_measure_belongs_to_the_data_not_to_the_model(fold: bool) -> None:
    codec = fitted(FRAME, "churn", NUMBERS_ONLY, fold)
    assert codec.layout.measure_id == fitted(FRAME, "churn").layout.measure_id
    assert set(fields(codec).values()) == {"real", "category"}
    assert (codec.layout.target is None) == fold


def test_a_numeric_target_is_a_field() -> None:
    codec = fitted(FRAME.drop(columns="churn"), "wage")
    assert codec.layout.target is None
    assert [f.name for f in codec.layout.fields if f.role == "target"] == ["wage?", "wage"]
    # A label with few whole values is a class, whatever its dtype.
    assert fitted(FRAME, "rooms").layout.target.labels == ("1", "2", "3", "4", "5")


def test_lattices() -> None:
    tens = find_lattice(np.arange(50) * 10.0, 0, whole=True)
    assert tens is not None
    assert (tens.step, tens.levels) == (10, 50)
    few = find_lattice(np.array([10.0, 20, 40] * 30), 0, whole=True)
    assert few is not None
    assert few.step == 1  # three values share a step by chance too easily
    assert find_lattice(RNG.normal(size=500), None, whole=False) is None
    assert find_lattice(np.round(RNG.normal(size=500), 3), 3, whole=False) is None  # too few repeats
    cents = find_lattice(np.repeat(np.arange(40) * 0.25, 20), 2, whole=False)
    assert cents is not None
    assert (cents.origin, cents.step, cents.levels) == (0, 25, 40)
    assert (cents.number(cents.index(np.array([0.25, 9.75]))) == [0.25, 9.75]).all()


def test_atoms_are_spikes_not_modes() -> None:
    poisson = RNG.poisson(3, 5000).astype(float)
    assert find_atoms(poisson, find_lattice(poisson, 0, whole=True)) == ()
    inflated = np.concatenate([np.zeros(5000), RNG.poisson(30, 5000)])
    assert find_atoms(inflated, find_lattice(inflated, 0, whole=True)) == (0.0,)
    smooth = RNG.normal(size=1000)
    assert find_atoms(np.concatenate([smooth, np.full(60, 1.5), np.full(40, 2.5)]), None) == (1.5,)
    # Money: zeros, then a few usual amounts among the rest, which are rare in the whole.
    usual = np.concatenate([np.zeros(5000), np.full(60, 7298.0), RNG.integers(1000, 9000, 400)])
    assert find_atoms(usual, find_lattice(usual, 0, whole=True)) == (0.0, 7298.0)
    many = np.concatenate([np.repeat(np.arange(7) + 0.5, [60, 61, 62, 63, 64, 65, 66]), smooth[:100]])
    assert find_atoms(many, None) == (2.5, 3.5, 4.5, 5.5, 6.5)


# -- there and back --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("takes", [EVERY_KIND, NUMBERS_ONLY], ids=["every kind", "numbers only"])
@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("scale", ["auto", "minmax", "quantile", "none"])
def test_round_trip(takes: frozenset[str], fold: bool, scale: str) -> None:
    codec = fitted(FRAME, "churn", takes, fold, scale=scale)
    for noise in (None, torch.Generator().manual_seed(1), torch.full((codec.layout.size,), 0.999)):
        code = codec.encode(table(FRAME), noise)
        assert code.x.shape == (N, codec.layout.size)
        assert code.x.dtype == torch.float64
        pd.testing.assert_frame_equal(codec.decode(code).x, FRAME)


CELLS: dict[str, Any] = {
    "float": st.floats(-1e6, 1e6),
    "decimal": st.integers(-9999, 9999).map(lambda i: i / 100),
    "spike": st.one_of(st.just(0.0), st.floats(0.5, 100)),
    "int": st.integers(-(10**9), 10**9),
    "small int": st.integers(0, 5),
    "word": st.sampled_from(["a", "b", "ü", "日本", "", " x"]),
    "bool": st.booleans(),
    "day": st.dates(datetime.date(1900, 1, 1), datetime.date(2100, 1, 1)),
    "moment": st.datetimes(datetime.datetime(1950, 1, 1), datetime.datetime(2050, 1, 1)),
}


@st.composite
def ugly_frames(draw: Any) -> pd.DataFrame:
    n = draw(st.integers(1, 60))
    columns: dict[str, pd.Series] = {}
    for j, content in enumerate(draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))):
        cell = CELLS[content]
        some = draw(st.booleans())
        values = draw(st.lists(st.one_of(cell, st.none()) if some else cell, min_size=n, max_size=n))
        columns[f"{content} {j}"] = _column(draw, content, values)
    return pd.DataFrame(columns)


def _column(draw: Any, content: str, values: list[Any]) -> pd.Series:
    if content == "moment":
        return pd.Series(values, dtype=draw(st.sampled_from(["datetime64[us]", "datetime64[us, UTC]"])))
    if content == "day":
        text = draw(st.sampled_from(["", "%d.%m.%Y", "date"]))
        if text == "date":
            return pd.Series(values, dtype=object)
        days = pd.Series(values, dtype="datetime64[us]")
        return days.dt.strftime(text) if text and days.notna().any() else days
    if content == "word":
        return pd.Series(values, dtype=draw(st.sampled_from(["str", "object", "category", "string"])))
    if content == "bool":
        return pd.Series(values, dtype=draw(st.sampled_from(["boolean", "object"])) if None in values else "bool")
    if content in ("int", "small int"):
        return pd.Series(
            values, dtype="Int64" if None in values else draw(st.sampled_from(["int64", "Int64", "int32"]))
        )
    return pd.Series(values, dtype="float64")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(ugly_frames(), st.sampled_from([EVERY_KIND, NUMBERS_ONLY]), st.integers(0, 3), st.booleans())
def test_ugly_tables_come_back(frame: pd.DataFrame, takes: frozenset[str], seed: int, with_target: bool) -> None:
    names = list(frame.columns)
    target = names[-1] if with_target and frame[names[-1]].notna().any() else None
    codec = TableCodec(takes, fold=seed % 2 == 0).fit(table(frame, target))
    code = codec.encode(table(frame, target), torch.Generator().manual_seed(seed))
    back = codec.decode(code).x
    for name in names:
        # Affine maps cost the digits below 1e-15 of the column's range.
        came, went = back[name], frame[name]
        if pd.api.types.is_datetime64_any_dtype(went):  # microseconds of decades are sixteen digits
            assert came.dtype == went.dtype
            assert ((came - went).abs().dropna() <= pd.Timedelta(2, "us")).all()
            came = came.where((came - went).abs() > pd.Timedelta(2, "us"), went)
        pd.testing.assert_series_equal(came, went, rtol=1e-12, atol=1e-8)
    again = TableCodec.from_json(json.loads(json.dumps(codec.to_json())))
    assert again.layout == codec.layout
    twin = again.encode(table(frame, target), torch.Generator().manual_seed(seed))
    assert torch.equal(twin.x.nan_to_num(9e99), code.x.nan_to_num(9e99))
    assert torch.equal(twin.log_det, code.log_det)
    gated = [f for f in codec.layout.fields if f.gate]
    for f in gated:
        open_gate = code.x[:, codec.layout.where[f.gate]] == 0
        assert (torch.isnan(code.x[:, codec.layout.where[f.name]]) != open_gate).all()


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(RNG.normal(size=50), dtype="float32"),
        pd.Series(RNG.integers(0, 200, 50), dtype="uint8"),
        pd.Series(RNG.integers(0, 2000, 50), dtype="int64[pyarrow]"),
        pd.Series(RNG.choice(["a", "b"], 50), dtype="string[pyarrow]"),
        pd.Series(RNG.choice([7, 8, 9], 50)).astype("category"),
        pd.Series(RNG.normal(size=50), dtype="Float64"),
        pd.Series(pd.to_timedelta(RNG.integers(0, 10**6, 50), unit="s")),
        pd.Series(pd.date_range("2024-01-01", periods=50, tz="Europe/Zurich")),
        pd.Series(pd.date_range("2024-03-30", periods=50, freq="h", tz="Europe/Zurich")),
        pd.Series(pd.date_range("2024-01-01", periods=50, freq="min")).dt.strftime("%d.%m.%Y %H:%M"),
        pd.Series([f"2024-01-01T10:00:{i:02d}.250" for i in range(50)]),
        pd.Series(pd.date_range("2024-01-01", periods=50), dtype="datetime64[ns]"),
        pd.Series([1, "a", 2.5, True, None] * 10, dtype=object),
        pd.Series([datetime.date(2024, 1, 1 + i % 25) for i in range(50)]),
        pd.Series(pd.period_range("2024-01", periods=5, freq="M").astype(str).tolist() * 10),
    ],
    ids=lambda v: str(v.dtype),
)
def test_dtypes_come_back(values: pd.Series) -> None:
    frame = pd.DataFrame({"v": values, "w": np.arange(50) % 7})
    codec = TableCodec.from_json(json.loads(store.json_bytes(fitted(frame).to_json())))
    pd.testing.assert_frame_equal(codec.decode(codec.encode(table(frame))).x, frame)


def test_texts_with_the_offsets_of_summer_and_winter_are_moments_of_one_zone() -> None:
    moments = pd.date_range("2024-03-20", periods=50, freq="9h", tz="Europe/Zurich")
    frame = pd.DataFrame({"v": moments, "w": np.arange(50) % 7})
    codec = fitted(frame)
    texts = frame.assign(v=[str(moment) for moment in moments])
    assert len({text[-6:] for text in texts["v"]}) == 2
    np.testing.assert_array_equal(codec.encode(table(texts)).x, codec.encode(table(frame)).x)


@pytest.mark.parametrize(
    "kind", ["interval[datetime64[ns, UTC], right]", "decimal128(10, 2)[pyarrow]", "Sparse[float64, nan]", "geometry"]
)
def test_types_that_columns_have_are_known(kind: str) -> None:
    check_dtype(kind)


@pytest.mark.parametrize(
    "kind",
    ["datetime64[ns, dateutil//etc/passwd]", "interval[datetime64[ns, dateutil//etc/passwd], right]", "<U9", "i8,i8"],
)
def test_types_that_open_files_or_fill_the_memory_are_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="is no type of a column"):
        check_dtype(kind)


def test_samples_look_like_the_training_table() -> None:
    codec = fitted(FRAME, "churn", NUMBERS_ONLY)
    code = codec.encode(table(FRAME))
    wild = Code(code.x + 3 * torch.randn(code.x.shape, generator=torch.Generator().manual_seed(0)).double(), code.y)
    levels = codec.layout.columns("category")
    wild.x[:, levels] = code.x[:, levels]
    out = codec.decode(wild).x
    assert out.dtypes.equals(FRAME.dtypes)
    assert out["age"].between(18, 90).all()
    assert out["gain"].between(0, FRAME["gain"].max()).all()
    assert set(out["length"].round(6)) <= {round(k * 0.005, 6) for k in range(40, 100)}
    assert (out["wage"].dropna().round(2) == out["wage"].dropna()).all()
    assert out["wage"].isna().equals(FRAME["wage"].isna())


def test_identifiers_are_numbered_anew_and_texts_left_empty() -> None:
    frame = pd.DataFrame(
        {
            "customer_id": np.arange(100, 150),
            "code": [f"C{i:04d}" for i in range(50)],
            "uuid": [f"{i * 7919 % 4096:03x}-x" for i in range(50)],
            "story": [f"once upon a time there were {i} bears" for i in range(50)],
            "x": RNG.normal(size=50),
        }
    )
    codec = fitted(frame)
    assert [f.name for f in codec.layout.fields] == ["x"]
    out = codec.decode(codec.encode(table(frame)).to("cpu")[:2]).x
    assert out["customer_id"].tolist() == [150, 151]
    assert out["code"].tolist() == ["C0050", "C0051"]
    assert out["uuid"].tolist() == ["id-1", "id-2"]
    assert out["story"].isna().all()
    assert out.dtypes.equals(frame.dtypes)
    assert codec.notes == ["identifiers, numbered anew: customer_id, code, uuid", "free text, left empty: story"]
    codec.parse(table(frame[["x"]]))  # nothing that is not modelled has to be there


def test_rows_do_not_know_each_other() -> None:
    codec = fitted(FRAME, "churn", NUMBERS_ONLY)
    noise = torch.rand(codec.layout.size, generator=torch.Generator().manual_seed(0))
    rows = RNG.permutation(N)[:57]
    whole, part = codec.encode(table(FRAME), noise), codec.encode(table(FRAME.iloc[rows].reset_index(drop=True)), noise)
    assert torch.equal(whole.x[rows].nan_to_num(9e99), part.x.nan_to_num(9e99))
    assert torch.equal(whole.log_det[rows], part.log_det)
    shuffled = fitted(FRAME.sample(frac=1, random_state=1).reset_index(drop=True), "churn", NUMBERS_ONLY)
    assert shuffled.layout.measure_id == codec.layout.measure_id
    # Sums in another order differ in the last digits only.
    assert torch.allclose(shuffled.encode(table(FRAME), noise).x.nan_to_num(), whole.x.nan_to_num(), rtol=1e-9)


# -- densities -------------------------------------------------------------------------------------------------------
def log_normal_code(codec: TableCodec, code: Code, gates: dict[str, list[float]]) -> np.ndarray:
    """Log density of a known law in data units: standard normals, and given probabilities of levels."""
    total = code.log_det.numpy().copy()
    for f, s in codec.layout.slices():
        v = code.x[:, s.start].numpy()
        if f.kind == "real":
            total += np.where(np.isnan(v), 0, norm.logpdf(np.nan_to_num(v)))
        else:
            total += np.log(gates[f.name])[v.astype(int)]
    return total


@pytest.mark.parametrize("scale", ["standard", "quantile"])
def test_total_mass_of_dequantised_counts_with_atoms_and_missing_cells(scale: str) -> None:
    k = np.concatenate([np.zeros(200), RNG.poisson(300, 800), np.full(100, np.nan)])
    codec = fitted(pd.DataFrame({"k": k}), takes=NUMBERS_ONLY, scale=scale)
    assert codec.layout.measure == "k: atoms {0} + counts + missing"
    gates = {"k?": [0.5, 0.3, 0.2]}
    cells = pd.DataFrame({"k": [*np.arange(-400, 1000).astype(float), np.nan]})
    grid = (np.arange(64) + 0.5) / 64  # midpoint rule over the noise
    mass = 0.0
    for u in grid:
        mass += np.exp(log_normal_code(codec, codec.encode(table(cells), torch.full((2,), u)), gates)).sum() / 64
    # Only the mass that the smooth part wastes on the atom's own cell is missing; midpoint error is below 1e-4.
    at_atom = codec.parts[0].scale.forward(np.array([-0.5, 0.5]))[0]  # type: ignore[union-attr]
    assert mass == pytest.approx(1 - 0.5 * np.diff(norm.cdf(at_atom))[0], abs=1e-4)


def test_total_mass_of_continuous_numbers_with_atoms() -> None:
    x = np.concatenate([np.full(300, 2.5), np.exp(RNG.normal(0, 1.5, 700)), np.full(50, np.nan)])
    codec = fitted(pd.DataFrame({"x": x}))
    gates = {"x?": [0.6, 0.3, 0.1]}
    scale = codec.parts[0].scale  # type: ignore[union-attr]
    z = np.linspace(-8, 8, 20_001)
    v = scale.inverse(z)
    middle = (v[1:] + v[:-1]) / 2
    smooth = np.exp(log_normal_code(codec, codec.encode(table(pd.DataFrame({"x": middle}))), gates))
    points = np.exp(log_normal_code(codec, codec.encode(table(pd.DataFrame({"x": [2.5, np.nan]}))), gates))
    assert points == pytest.approx([0.3, 0.1], abs=1e-12)
    assert (smooth * np.diff(v)).sum() + points.sum() == pytest.approx(1, abs=1e-4)


def test_rare_levels_share_one_and_keep_their_mass() -> None:
    words = [f"w{i:03d}" for i in range(300) for _ in range(1 + 5 * (i < 199) + i % 3)]
    frame = pd.DataFrame({"w": words, "b": (["x", "y"] * len(words))[: len(words)]})
    codec = fitted(frame)
    field = codec.layout.fields[0]
    assert (field.levels, field.labels[-1]) == (200, "other")
    cells = pd.DataFrame({"w": sorted(set(words)), "b": "x"})
    code = codec.encode(table(cells))
    uniform = np.exp(code.log_det.numpy() - math.log(200))
    assert uniform.sum() == pytest.approx(1, abs=1e-12)
    other = Code(torch.tensor([[199.0, 0.0]] * 2000))
    drawn = codec.decode(other).x["w"]
    assert drawn.equals(codec.decode(other).x["w"])
    share = drawn.value_counts(normalize=True)
    counts = frame["w"].value_counts()[share.index]
    # 101 levels, 2000 draws: the standard error of a share near 0.01-0.02 is below 0.003; five of them.
    assert np.abs(share - counts / counts.sum()).max() < 0.016
    assert len(share) == 101


def test_cells_unlike_all_of_training_cost_the_same_everywhere() -> None:
    cost = -math.log(N + 2)
    strange = FRAME.iloc[:6].copy()
    strange["planet"] = ["Mars", "Earth", "Earth", "Earth", "Earth", "Earth"]
    strange["sex"] = ["f", "x", "f", "f", "f", "f"]
    strange["rooms"] = [1, 1, 99, 1, 1, 1]
    strange["age"] = [30.0, 30, 30, np.nan, 30.5, 30]
    for takes in (EVERY_KIND, NUMBERS_ONLY):
        codec = fitted(FRAME, "churn", takes)
        usual = strange.assign(planet="Earth", sex="f", rooms=1, age=30)
        change = codec.encode(table(strange)).log_det - codec.encode(table(usual)).log_det
        expected = np.array([cost, cost, cost, cost, cost, 0])
        if "ordered" not in takes:
            part = next(p for p in codec.parts if p.name == "age")
            expected[3] += math.log(part.scale.scale)  # type: ignore[union-attr]  # a missing number has no slope
        assert change.numpy() == pytest.approx(expected, abs=1e-12)
        code = codec.encode(table(strange))
        assert torch.isnan(code.x[3, codec.layout.where["age"]]).all()
        common = codec.layout.fields[[f.name for f in codec.layout.fields].index("rooms")].labels
        assert common[int(code.x[2, codec.layout.where["rooms"]])] == str(FRAME["rooms"].mode()[0])


def test_labels_seen_missing_and_new() -> None:
    frame = FRAME.iloc[:4].assign(churn=["yes", "no", None, "perhaps"])
    codec = fitted(FRAME, "churn")
    code = codec.encode(table(frame))
    assert code.y is not None
    assert code.y.tolist() == [1, 0, -1, -1]
    assert (code.log_det - codec.encode(table(frame.assign(churn="no"))).log_det).tolist() == pytest.approx(
        [0, 0, 0, -math.log(N + 2)]
    )
    assert codec.encode(table(frame.drop(columns="churn"))).y.tolist() == [-1] * 4
    folded = fitted(FRAME, "churn", fold=True).encode(table(frame.drop(columns="churn")))
    assert torch.isnan(folded.x[:, -1]).all()


# -- edges -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("columns", [["age"], ["sex"], ["planet"], list(FRAME)])
@pytest.mark.parametrize("n", [1, 2])
def test_one_row_one_column(columns: list[str], n: int) -> None:
    frame = FRAME[columns].iloc[:n]
    codec = fitted(frame)
    assert codec.layout.size >= 1
    pd.testing.assert_frame_equal(codec.decode(codec.encode(table(frame))).x, frame)


def test_only_a_label_varies() -> None:
    frame = pd.DataFrame({"c": ["a", "b", "a"], "k": [1, 1, 1]})
    codec = fitted(frame, "c")
    assert fields(codec) == {"k": "category"}
    assert fitted(frame[["c"]], "c").layout.fields[0].name == "c"
    pd.testing.assert_frame_equal(codec.decode(codec.encode(table(frame))).x, frame)


def test_arrays_are_real_columns_without_inference() -> None:
    x = RNG.integers(0, 3, (100, 2)).astype(float)
    records = as_records(x, RNG.integers(0, 3, 100))
    codec = TableCodec().fit(records)
    assert fields(codec) == {"x0": "real", "x1": "real"}
    assert codec.layout.measure == "x0: Lebesgue; x1: Lebesgue; y: levels"
    back, y = codec.decode(codec.encode(records)).natural(return_y=True)
    assert np.allclose(back, x)
    assert (y == records.x["y"]).all()
    assert y.dtype == np.int64
    half = codec.encode(records)
    half.x = half.x + 0.1
    assert not np.allclose(codec.decode(half).natural() % 1, 0)
    whole = TableCodec().fit(as_records(x.astype("int32")))
    code = whole.encode(as_records(x.astype("int32")))
    assert (whole.decode(Code(code.x + 0.1)).natural() == x).all()


def test_constants_of_arrays() -> None:
    x = np.column_stack([np.full(5, 7.0), np.arange(5.0)])
    codec = TableCodec().fit(as_records(x))
    assert fields(codec) == {"x1": "real"}
    x[0, 0] = 8
    code = codec.encode(as_records(x))
    assert code.log_det is not None
    assert (code.log_det - code.log_det[1]).tolist() == pytest.approx([-math.log(7), 0, 0, 0, 0])
    assert (codec.decode(code).natural()[:, 0] == 7).all()
    alone = TableCodec().fit(as_records(x[1:, :1]))
    assert fields(alone) == {"x0": "real"}
    assert (alone.decode(alone.encode(as_records(x[:, :1]))).natural() == x[:, :1]).all()


def test_gate_names_do_not_collide() -> None:
    frame = pd.DataFrame({"a": [1.5, 2.25, np.nan, 3.125], "a?": ["x", "y", "x", "x"]})
    codec = fitted(frame)
    assert [f.name for f in codec.layout.fields] == ["a??", "a", "a?"]
    pd.testing.assert_frame_equal(codec.decode(codec.encode(table(frame))).x, frame)


def test_told_types() -> None:
    codec = fitted(FRAME, types={"rooms": "integer", "age": "real", "gain": "real", "length": "category"})
    kinds = fields(codec)
    assert (kinds["rooms"], kinds["age"], kinds["gain"], kinds["length"]) == ("ordered", "real", "real", "category")
    assert "gain?" not in kinds
    pd.testing.assert_frame_equal(codec.decode(codec.encode(table(FRAME))).x, FRAME)


# -- conditions ------------------------------------------------------------------------------------------------------
def test_given() -> None:
    codec = fitted(FRAME, "churn")
    where = {name: s.start for name, s in codec.layout.where.items()}
    asked = codec.given({"churn": "yes", "age": "30:40", "sex": "m", "rooms": "2:3", "job": "chef"})
    low = int(FRAME["age"].min())
    assert asked.y == 1
    assert asked.ranges == {where["age"]: (30 - low, 40 - low), where["rooms"]: (1, 2)}
    assert {j for j in range(codec.layout.size) if not torch.isnan(asked.x[0, j])} == {where["sex"], where["job"]}
    zero = codec.given({"gain": 0}).x[0]
    assert zero[where["gain?"]] == 1
    assert torch.isnan(zero[where["gain"]])
    some = codec.given({"gain": "500:"})
    assert some.x[0, where["gain?"]] == 0
    assert some.ranges[where["gain"]][0] < some.ranges[where["gain"]][1]
    day = codec.given({"since": "2020-02-01:2020-03-01"}).ranges[where["since"]]
    inside = table(FRAME.iloc[:2].assign(since=pd.to_datetime(["2020-02-15", "2020-03-15"])))
    z = codec.encode(inside).x[:, where["since"]]
    assert day[0] < z[0] < day[1] < z[1]
    one = codec.given({"wage": 20.0})
    assert codec.encode(table(FRAME.iloc[:1].assign(wage=20.0))).x[0, where["wage"]] == one.x[0, where["wage"]]
    assert codec.given({"planet": "Earth"}).ranges == {}
    folded = fitted(FRAME, "churn", fold=True).given({"churn": "yes"})
    assert folded.y is None
    assert folded.x[0, -1] == 1


@pytest.mark.parametrize(
    "conditions, message",
    [
        ({"chrun": "yes"}, 'no column named "chrun". Did you mean "churn"'),
        ({"churn": "YES"}, 'has no value "YES". Did you mean "yes"\\? Values: no, yes'),
        ({"age": "young"}, "a number or a range"),
        ({"age": 200}, "18..90"),
        ({"age": "40:30"}, "is empty"),
        ({"length": 0.3012}, "steps of 0.005"),
        ({"gain": "0:500"}, 'frequent values of their own inside "0:500": 0'),
        ({"rooms": 9}, 'has no value "9"'),
        ({"planet": "Mars"}, 'has no value "Mars"'),
    ],
)
def test_conditions_that_cannot_be(conditions: dict[str, Any], message: str) -> None:
    with pytest.raises(Problem, match=message):
        fitted(FRAME, "churn").given(conditions)


# -- holes -----------------------------------------------------------------------------------------------------------
def test_holes_are_unknown_with_their_gates() -> None:
    codec = fitted(FRAME, "churn")
    records = table(FRAME[["churn", *[c for c in FRAME if c != "churn"]]])  # another order of columns
    unknown = codec.missing(records, None)
    assert (unknown == records.x.isna().to_numpy()).all()
    unknown[0, :] = True
    code = codec.encode(records, unknown=unknown)
    assert code.mask is not None
    assert code.y is not None
    assert not code.mask[0].any()
    assert torch.isnan(code.x[0]).all()
    assert code.y[0] == -1
    wage, gate = codec.layout.where["wage"].start, codec.layout.where["wage?"].start
    hole = torch.tensor(FRAME["wage"].isna().tolist())
    assert (code.mask[1:, gate] == ~hole[1:]).all()
    assert (code.mask[1:, wage] == ~hole[1:]).all()
    assert torch.isnan(code.x[:, gate][hole]).all()
    assert torch.isfinite(code.log_det).all()


def test_fill_touches_holes_only() -> None:
    codec = fitted(FRAME, "churn")
    holes = FRAME.copy()
    holes["age"] = holes["age"].astype(float).mask(np.arange(N) % 7 == 0)
    unknown = codec.missing(table(holes), None)
    filled = codec.decode(codec.encode(table(FRAME.assign(wage=21.5, job="pilot"))))
    out = codec.fill(table(holes), filled, unknown).x
    assert not out.isna().any().any()
    assert out.dtypes.equals(holes.dtypes)
    assert (out["age"] == FRAME["age"]).all()
    assert (out["wage"] == FRAME["wage"].fillna(21.5)).all()
    assert (out["job"] == FRAME["job"].fillna("pilot")).all()
    # A whole-number column that is told to take fractions becomes one.
    x = pd.DataFrame({"v": [1, 2, 3]})
    new = codec.fill(table(x), table(pd.DataFrame({"v": [1.5, 2.5, 3.5]})), np.array([[True], [False], [False]])).x
    assert new["v"].tolist() == [1.5, 2.0, 3.0]


def test_masks_must_fit() -> None:
    frame = FRAME.assign(story=[f"a long tale with number {i}" for i in range(N)])
    codec = fitted(frame)
    with pytest.raises(Problem, match=r"shape \(2, 2\)"):
        codec.missing(table(frame), np.ones((2, 2)))
    with pytest.raises(Problem, match="free text cannot be filled in: story"):
        codec.missing(table(frame), np.ones(frame.shape))
    assert not codec.missing(table(frame.assign(story=None)), None)[:, -1].any()


# -- errors that teach -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "frame, message",
    [
        (FRAME.drop(columns=["age", "sex"]), "lacks columns that the model was fitted on: age, sex"),
        (FRAME.assign(agee=1), 'not fitted on: agee. Drop them. Did you mean "age"'),
        (FRAME.assign(age="old"), 'column "age", row 1: "old" is not a number'),
        (FRAME.assign(wage=[*FRAME["wage"][:-1], np.inf]), f'column "wage", row {N}: "inf" is not finite'),
        (FRAME.assign(since="soon"), 'column "since", row 1: "soon" is not a date'),
    ],
)
def test_tables_that_do_not_fit(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(Problem, match=message):
        fitted(FRAME).parse(table(frame))


def test_tables_that_cannot_be_learned() -> None:
    with pytest.raises(Problem, match=r'no column "chrun".*Did you mean "churn"'):
        fitted(FRAME, "chrun")
    with pytest.raises(Problem, match="several columns named a"):
        fitted(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(Problem, match="must be text or whole numbers"):
        fitted(pd.DataFrame([[1, 2]], columns=[("a", "b"), "c"]))
    with pytest.raises(Problem, match='nothing to model: "story"'):
        fitted(pd.DataFrame({"story": [f"once there were {i} bears" for i in range(50)]}))
    with pytest.raises(Problem, match="said to be constant"):
        fitted(FRAME, types={"age": "constant"})
    with pytest.raises(Problem, match="said to hold dates"):
        fitted(FRAME, types={"sex": "date"})
    with pytest.raises(Problem, match="fitted on a table"):
        fitted(FRAME).parse(Records("image", np.zeros((1, 2, 2, 1), "uint8")))


def test_numbers_that_come_as_text_are_read() -> None:
    as_text = FRAME.assign(age=FRAME["age"].astype(str), since=FRAME["since"].dt.strftime("%Y-%m-%d"))
    codec = fitted(FRAME)
    assert torch.equal(codec.encode(table(as_text)).x.nan_to_num(), codec.encode(table(FRAME)).x.nan_to_num())
    assert codec.layout == fitted(FRAME).layout


def test_numbers_kept_as_text_or_objects_come_back_so() -> None:
    frame = pd.DataFrame(
        {
            "text": [f"{i / 4:.2f}" for i in range(60)],
            "long": [repr(i / 3) for i in range(60)],
            "object": pd.Series([i**2 if i % 9 else None for i in range(60)], dtype=object),
            "x": RNG.normal(size=60),
        }
    )
    codec = fitted(frame, types={"text": "real", "long": "real"}, scale="none")
    pd.testing.assert_frame_equal(codec.decode(codec.encode(table(frame))).x, frame)


def test_a_hole_that_training_never_had_leaves_one() -> None:
    frame = pd.DataFrame({"k": np.arange(100), "b": [True, False] * 50})
    codec = fitted(frame)
    code = codec.encode(table(frame[:3].astype(object).mask([[True, True], [False, False], [False, False]])))
    back = codec.decode(code).x
    assert back.isna().sum().tolist() == [1, 1]
    assert back["k"].tolist()[1:] == [1, 2]
    assert back["b"].tolist()[1:] == [False, True]
