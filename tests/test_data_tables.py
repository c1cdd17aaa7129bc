"""Tables from files: what a person wrote is what a model sees, and every fault is one line that says where."""

import gzip
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genlearn import Problem, read
from genlearn.data import read_all
from genlearn.data.delimited import sniff
from genlearn.errors import MissingExtra


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name, content):
    with open(name, "wb") as f:
        f.write(content.encode() if isinstance(content, str) else content)
    return name


def frame_of(name, content, **options):
    return read_all(write(name, content), **options).x


@pytest.mark.parametrize(
    "text, delimiter, decimal, names",
    [
        ("a,b\n1,2\n3,4\n", ",", ".", ("a", "b")),
        ("a;b;c\n1,5;2;x\n2,5;3;y\n", ";", ",", ("a", "b", "c")),
        ("1,5;2\n2,5;3\n4,0;7\n", ";", ",", None),
        ("a\tb\n1\t2\n", "\t", ".", ("a", "b")),
        ("id|when\n1|2020-01-01\n2|2020-01-02\n", "|", ".", ("id", "when")),
        ("1,2\n3,4\n", ",", ".", None),
        ("5,red\n6,blue\n7,red\n", ",", ".", None),
        ("red,round\nblue,square\nred,square\n", ",", ".", None),
        ("name,shape\nred,round\nblue,square\n", ",", ".", ("name", "shape")),
        ("2020-01-01,1\n2020-01-02,2\n", ",", ".", None),
        ("0,1,2\n3.5,2,1\n4,5,6\n", ",", ".", ("0", "1", "2")),
        ('a,b\n"x, y",1\n"z\nw",2\n', ",", ".", ("a", "b")),
    ],
)
def test_sniffs_delimiter_decimal_and_header(text, delimiter, decimal, names):
    found = sniff(text, "file")
    assert (found.delimiter, found.decimal, found.names) == (delimiter, decimal, names)


def test_without_header_flag_the_first_row_is_data():
    assert len(frame_of("a.csv", "name,shape\nred,round\nblue,square\n", header=False)) == 3


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfstadt,n\nZ\xc3\xbcrich,1\nBern,2\n",
        "stadt,n\nZürich,1\nBern,2\n".encode("latin-1"),
        "stadt,n\r\nZürich,1\r\nBern,2\r\n".encode("utf-16"),
        gzip.compress("stadt,n\nZürich,1\nBern,2\n".encode(), mtime=0),
        b"stadt;n\nZ\xc3\xbcrich;1\nBern;2\n",
    ],
)
def test_encodings_line_ends_and_packing_give_one_table(content):
    expected = pd.DataFrame({"stadt": ["Zürich", "Bern"], "n": [1, 2]})
    pd.testing.assert_frame_equal(frame_of("a.csv", content), expected)


def test_latin_1_is_noted():
    data = read(write("a.csv", "stadt,n\nZürich,1\nBern,2\n".encode("latin-1")))
    assert any("Latin-1" in note for note in data.notes)


def test_missing_markers_become_missing_cells_and_are_counted():
    data = read(write("a.csv", "n,v,c\n1,-,x\n?,2.5,null\n3,.,None\n4,NaN,N/A\n5,1.5,y\n"))
    whole = pd.concat([data.train.x, data.valid.x, data.test.x]).sort_values("v").reset_index(drop=True)
    assert (str(whole.n.dtype), str(whole.v.dtype)) == ("Int64", "float64")
    assert whole.isna().sum().to_dict() == {"n": 1, "v": 3, "c": 3}
    assert any("n 1 (?)" in note and "c 3 (null, None, N/A)" in note for note in data.notes)


@pytest.mark.parametrize(
    "column, values",
    [
        ("00123\n04567\n12345", ["00123", "04567", "12345"]),  # codes keep their zeros
        ('"1,234,567"\n"12"\n"1,000"', [1234567, 12, 1000]),
        ("12345678901234567890123\n22345678901234567890123", ["12345678901234567890123", "22345678901234567890123"]),
        ("1e5\n2.5E-3\n.5", [1e5, 2.5e-3, 0.5]),
        (" 1 \n 2\n3 ", [1, 2, 3]),
        (" Ann\nBo \nCy", ["Ann", "Bo", "Cy"]),
        ("True\nFalse\nTrue", [True, False, True]),
        ("-1\n+2\n0", [-1, 2, 0]),
    ],
)
def test_cells_are_read_as_a_person_would(column, values):
    assert frame_of("a.csv", "v,w\n" + "".join(f"{c},0\n" for c in column.split("\n"))).v.tolist() == values


def test_infinite_values_are_missing():
    frame = frame_of("a.csv", "a,b\n1,inf\n2,3\n3,-inf\n")
    assert frame.b.isna().tolist() == [True, False, True]


@pytest.mark.parametrize(
    "text, names",
    [
        ("a,a,,b\n1,2,3,4\n", ["a", "a_2", "column_3", "b"]),
        ("a,b,\n1,2,\n3,4,\n", ["a", "b"]),
        ("a,b\n1,2,\n3,4,\n", ["a", "b"]),
        ('"a","b"\n"r1",2,3\n"r2",4,5\n', ["index", "a", "b"]),
        (",a\n0,2\n1,5\n", ["index", "a"]),
    ],
)
def test_column_names_are_unique_and_never_empty(text, names):
    assert list(frame_of("a.csv", text).columns) == names


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("a.csv", "a,b\n1,2\n3,4,5\n6,7\n", "line 3: 3 values where 2 are expected"),
        ("a.csv", "a,b,c\n1,2,3\n3,4\n6,7,8\n", "line 3: 2 values where 3 are expected"),
        ("a.csv", 'a,b,c\n"x\ny",2,3\n3,4\n6,7,8\n', "line 4: 2 values"),
        ("a.csv", "", "is empty"),
        ("a.csv", "a,b\n", "a header but no rows"),
        ("a.csv", 'a,b\n1,"x\n2,y\n', "line 2: a quote opens a cell that never ends"),
        ("a.csv", b"a,b\n1,\0\n", "zero bytes"),
        ("a.csv.gz", b"\x1f\x8b\x08abc", "damaged"),
        ("a.jsonl", '{"a":1}\n{"a":\n', "line 2: not JSON"),
        ("a.jsonl", "1\n2\n", "line 1: no object"),
        ("a.jsonl", '{"a":[1,2]}\n', "holds a list per row"),
        ("a.parquet", b"PAR1xxxx", "cannot be read as Parquet"),
        ("a.txt", "once upon a time\nthere was\n", "text, which is not supported yet"),
        ("a.wav", b"RIFF", "sound, which is not supported yet"),
        ("a.pkl", b"\x80\x04.", "cannot tell what a .pkl file holds"),
    ],
)
def test_every_fault_is_one_line_that_says_where(name, content, said):
    with pytest.raises(Problem, match=said) as e:
        read(write(name, content))
    assert "\n" not in str(e.value)
    assert name in str(e.value)


def test_json_lines_keep_whole_numbers_whole():
    rows = [{"a": 1, "b": "x", "c": {"d": 1.5}}, {"a": None, "b": "y"}, {"a": 3, "b": None, "c": {"d": 2}}]
    frame = frame_of("a.jsonl", "\n".join(map(json.dumps, rows)))
    assert list(frame.columns) == ["a", "b", "c.d"]
    assert (str(frame.a.dtype), frame.a.dropna().tolist()) == ("Int64", [1, 3])
    pd.testing.assert_frame_equal(frame_of("b.json", json.dumps(rows)), frame)


def test_parquet_keeps_types():
    frame = pd.DataFrame(
        {"n": [1, 2], "c": pd.Categorical(["x", "y"]), "t": pd.to_datetime(["2020-01-01", "2021-01-01"])}
    )
    frame.to_parquet("a.parquet")
    pd.testing.assert_frame_equal(read_all("a.parquet").x, frame)


def test_parquet_without_its_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"genlearn\[parquet\]"):
        read(write("a.parquet", b"PAR1"))


@given(
    st.lists(
        st.tuples(
            st.integers(-(10**9), 10**9),
            st.floats(-1e6, 1e6).map(lambda v: round(v, 3)),
            st.text("abcxyzÄé ,;\"'\n", min_size=1, max_size=8).map(lambda t: "w" + t.strip()),
            st.booleans(),
        ),
        min_size=2,
        max_size=20,
    )
)
def test_what_pandas_writes_comes_back(tmp_path_factory, rows):
    frame = pd.DataFrame(rows, columns=["whole", "real", "word", "flag"])
    path = tmp_path_factory.mktemp("round") / "a.csv"
    frame.to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_all(path).x, frame)


def test_parts_read_together_agree_on_types():
    write("train.csv", "b,a,c\n1,1,x\n2,007,y\n4,2,z\n")
    write("test.csv", "c,a,b\nq,?,3\n")
    data = read("train.csv", test="test.csv", target="c")
    assert (list(data.test.x), data.test.x.b.tolist(), data.test.x.a.isna().tolist()) == (["b", "a", "c"], [3], [True])
    assert [str(t) for t in data.train.x.dtypes] == [str(t) for t in data.test.x.dtypes]
    assert data.brought_split


def test_a_test_file_may_lack_the_target_only():
    write("train.csv", "a,b,c\n1,2,x\n2,3,y\n4,5,z\n")
    assert read("train.csv", test=write("t.csv", "a,b\n1,2\n"), target="c").test.x.c.isna().all()
    with pytest.raises(Problem, match='no column "b"'):
        read("train.csv", test=write("t.csv", "a,c\n1,x\n"), target="c")


def test_a_folder_or_zip_of_tables_named_train_and_test_is_split():
    with zipfile.ZipFile("z.zip", "w") as z:
        z.writestr("d/my-train.csv", "a,b\n1,2\n3,4\n")
        z.writestr("d/my-test.csv", "a,b\n5,6\n")
    data = read("z.zip")
    assert (data.test.x.a.tolist(), data.brought_split, data.name) == ([5], True, "z")
    with zipfile.ZipFile("z.zip", "a") as z:
        z.writestr("d/other.csv", "a,b\n5,6\n")
    with pytest.raises(Problem, match="3 tables"):
        read("z.zip")


def test_columns_worth_a_word_are_noted():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"k": 1, "v": rng.normal(size=200), "id": [f"u{i:04d}" for i in range(200)], "c": list("ab") * 100}
    )
    frame.loc[5, "v"] = 1e4
    notes = " ".join(read(frame, seed=1).notes)
    assert "k is constant" in notes
    assert "id is an identifier: not learned" in notes
    assert "v 1 (kept)" in notes


@pytest.mark.parametrize(
    "options, said",
    [
        ({"target": "incom"}, 'no column "incom". Did you mean "income"'),
        ({"target": "Income"}, 'Did you mean "income"'),
        ({"types": {"agee": "real"}}, 'Did you mean "age"'),
        ({"types": {"age": "reall"}}, 'Did you mean "real"'),
        ({"scale": "standrd"}, 'Did you mean "standard"'),
        ({"modality": "tabel"}, 'Did you mean "table"'),
        ({"modality": "image"}, "is a table, not images"),
        ({"modality": "text"}, "not supported yet"),
        ({"target": "age", "label": "income"}, "Give one of them"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_wrong_options_say_what_to_change(options, said):
    write("a.csv", "age,income\n1,x\n2,y\n3,x\n")
    with pytest.raises(Problem, match=said.replace("(", r"\(")):
        read("a.csv", **options)


def test_label_is_the_target_of_a_table_and_none_takes_it_away():
    write("a.csv", "age,income\n1,x\n2,y\n3,x\n")
    assert read("a.csv", label="income").target == "income"
    assert read("wine", target="none").target is None


def test_tables_in_python_pass_through():
    frame = pd.DataFrame({"a": [1, 2, 3], "b": list("xyx")})
    data = read(frame, target="b", types={"a": "real"}, scale="minmax")
    assert data.train.options["types"] == {"a": "real"}
    assert data.train.options["scale"] == "minmax"
    assert read(data) is data
    assert read(data, target="a").target == "a"
    assert read((np.zeros((4, 2)), np.arange(4))).target == "y"
    for nothing in (pd.DataFrame({"a": []}), np.zeros((0, 3))):
        with pytest.raises(Problem, match="no rows"):
            read(nothing)
    with pytest.raises(Problem, match="holds a list per row"):
        read(pd.DataFrame({"a": [[1], [2]]}))


def test_summary_counts_kinds():
    data = read("wine")
    assert data.summary.startswith(
        "178 rows, 14 columns (13 numbers, 1 category), target grower · train 124 / valid 18 / test 36"
    )


def test_unknown_paths_suggest_near_names():
    write("customers.csv", "a,b\n1,2\n")
    with pytest.raises(Problem, match=r'Did you mean "customers\.csv"'):
        read("custmers.csv")
    with pytest.raises(Problem, match='Did you mean "digits"'):
        read("digts")
