"""The Bayesian Interchange Format: what is written is read back exactly, and every malformed file is one line with its place."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genlearn.errors import Problem
from genlearn.models import _bif
from genlearn.models._bif import Network

SPRINKLER = """// a network in three variables
network "the lawn" { property author = "nobody; really"; }
variable rain { type discrete [ 2 ] { None, TRUE }; property position = (1, 2); }
variable "the grass" { type discrete[3]{ "very wet", 007, dry }; }
variable slip { type discrete [ 2 ] { yes, no }; }
probability ( rain ) { table 0.25, 0.75; }
/* rows in any order,
   the rest by default */
probability ( "the grass" | rain ) { (TRUE) 0.5, 0.25, 0.25; default 0.125 0.125 0.75; }
probability ( slip "the grass" rain ) { table 0.1 0.2 0.3 0.4 0.5 0.6  0.9 0.8 0.7 0.6 0.5 0.4; }
"""


def saved(folder: Path, text: str | bytes) -> Path:
    path = folder / "net.bif"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(folder: Path, text: str | bytes) -> str:
    """Return the one line that a malformed file is refused with."""
    with pytest.raises(Problem) as raised:
        _bif.read(saved(folder, text))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_reads_what_the_format_allows(tmp_path: Path) -> None:
    net = _bif.read(saved(tmp_path, SPRINKLER))
    assert net.names == ["rain", "the grass", "slip"]
    assert net.states == [["None", "TRUE"], ["very wet", "007", "dry"], ["yes", "no"]]
    assert net.parents == [(), (0,), (1, 0)]
    np.testing.assert_array_equal(net.tables[0], [0.25, 0.75])
    np.testing.assert_array_equal(net.tables[1], [[0.125, 0.125, 0.75], [0.5, 0.25, 0.25]])
    # A table's own states change slowest, the last parent's fastest.
    np.testing.assert_array_equal(net.tables[2][..., 0], [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    np.testing.assert_allclose(net.tables[2].sum(-1), 1)


def test_reads_gzipped_files_alike(tmp_path: Path) -> None:
    plain = _bif.read(saved(tmp_path, SPRINKLER))
    packed = _bif.read(saved(tmp_path, gzip.compress(SPRINKLER.encode())))
    assert plain.states == packed.states
    assert all((a == b).all() for a, b in zip(plain.tables, packed.tables, strict=True))


NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters='"\n'), min_size=0, max_size=6)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Networks with names of all kinds and tables that are not rounded."""
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    states = [draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)) for _ in names]
    parents = [tuple(draw(st.permutations(range(j)))[: draw(st.integers(0, 2))]) for j in range(len(names))]
    order = draw(st.permutations(range(len(names))))  # parents may stand behind their children
    place = {j: i for i, j in enumerate(order)}
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    sizes = [len(s) for s in states]
    tables = [rng.dirichlet(np.ones(sizes[j]), [sizes[p] for p in own]) for j, own in enumerate(parents)]
    return Network(
        [names[j] for j in order], [states[j] for j in order],
        [tuple(place[p] for p in parents[j]) for j in order], [tables[j] for j in order],
    )  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True)
@given(net=networks())
def test_what_is_written_is_read_back_exactly(tmp_path_factory: pytest.TempPathFactory, net: Network) -> None:
    path = tmp_path_factory.getbasetemp() / "back.bif"
    _bif.write(path, net)
    again = _bif.read(path)
    assert (again.names, again.states, again.parents) == (net.names, net.states, net.parents)
    for a, b in zip(again.tables, net.tables, strict=True):
        assert a.shape == b.shape
        np.testing.assert_array_equal(a, b)


WORDS = [
    "network",
    "variable",
    "probability",
    "type",
    "discrete",
    "table",
    "default",
    "property",
    "a",
    "b",
    "0.5",
    "1",
    "2",
]
PIECES = st.sampled_from([*WORDS, *'{}[]();,|"', "/*", "*/", "//", "\n", " ", "\x00", "é", "1e999", "nan", "-1"])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_any_text_is_a_network_or_one_line(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A good file with pieces cut out, doubled or put in; nothing but `Problem` with the file's name comes of it."""
    words = SPRINKLER.replace(";", " ; ").split(" ")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(words) - 1))
        end = at + data.draw(st.integers(0, 3))
        words[at:end] = data.draw(st.lists(PIECES, max_size=3))
        words = words or ["network"]
    path = saved(tmp_path_factory.getbasetemp(), " ".join(words))
    try:
        net = _bif.read(path)
    except Problem as refused:
        line = str(refused)
    else:
        line = str(path)
        for table in net.tables:
            assert (table >= 0).all()
            np.testing.assert_allclose(table.sum(-1), 1, atol=1e-12)
    assert line.startswith(str(path))
    assert "\n" not in line


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("\nnetwork", "\nnettwork", "line 2: 'network'"),
        ("007, dry }", "007, 007 }", "line 4: .*'007' twice"),
        ("[3]", "[4]", "line 4: .*should have 4 states and has 3"),
        ("type discrete[3]", "type real[3]", "line 4: .*'real'"),
        ("variable slip", "variable rain", "line 5: .*declared twice"),
        ("( slip ", "( slop ", 'line 10: .*Did you mean "slip"'),
        ("(TRUE)", "(True)", "line 9: .*no state 'True'"),
        ("(TRUE) 0.5,", "(TRUE) 0.6,", r"line 9: .*row \('TRUE'\), add up to 1.1"),
        ("(TRUE) 0.5,", "(TRUE) 0.5, 0,", "line 9: 3 probabilities should stand here, not 4"),
        ("(TRUE) 0.5,", "(TRUE, dry) 0.5,", "line 9: .*names 1 states"),
        ("0.25, 0.75", "0.25, 3/4", "line 6: '3/4' is no probability"),
        ("0.25, 0.75", "nan, 0.75", "line 6: 'nan' is no probability"),
        ("0.25, 0.75", "-0.25, 1.25", "line 6: '-0.25' is no probability"),
        ("; default", "; defaults", "line 9: .*'defaults'"),
        ("default 0.125 0.125 0.75;", "", r"row \('None'\), has no probabilities"),
        ("probability ( rain ) { table 0.25, 0.75; }", "", "'rain' has no probabilities"),
        ("( rain )", "( rain | slip )", "line 6: 4 probabilities"),
        ("( rain ) { table", "( rain | slip ) { default", "cycle, .*'rain' -> .*'slip' -> 'rain'"),
        ("( slip ", "( slip slip ", "line 10: .*each once"),
        ("( slip ", "( rain ", "line 10: .*each once"),
        ('"very wet"', '"very wet', "line 4: the quoted name"),
        ("by default */", "by default", "line 7: the comment"),
        ("0.4; }\n", "0.4;", "line 10: the file ends"),
        ("0.4; }\n", "0.4; }\nprobability ( rain ) { table 0.25, 0.75; }", "line 11: .*two probability blocks"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in SPRINKLER
    with pytest.raises(Problem, match=words):
        _bif.read(saved(tmp_path, SPRINKLER.replace(old, new, 1)))


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    assert "UTF-8" in refusal(tmp_path, b"network x { }\nvariable \xff { }")
    assert "cannot be read" in refusal(tmp_path, b"\x1f\x8b\x08 this is no gzip")
    assert "the file ends" in refusal(tmp_path, "")
    for place in (tmp_path, tmp_path / "nowhere.bif"):
        with pytest.raises(Problem, match="is no file"):
            _bif.read(place)


def test_a_small_file_cannot_ask_for_much(tmp_path: Path) -> None:
    """Tables of 2^40 entries by default, a gzip bomb, a million open comments, long numbers: refused within a second or two."""
    head = "network x { }\n" + "".join(f"variable v{i} {{ type discrete [ 2 ] {{ a, b }}; }}\n" for i in range(41))
    begun = time.perf_counter()
    assert "too many" in refusal(
        tmp_path, head + f"probability ( v0 | {' '.join(f'v{i}' for i in range(1, 41))} ) {{ default 0.5 0.5; }}"
    )
    assert "too large" in refusal(tmp_path, gzip.compress(bytes(2**26), 1))
    assert "comment" in refusal(tmp_path, "network x { " + "/* " * 10**6)
    assert "no probability" in refusal(tmp_path, head + f"probability ( v0 ) {{ table {'1' * 10**6}, 0; }}")
    assert "quoted" in refusal(tmp_path, "network " + '"' + "x" * 10**6)
    assert "ends" in refusal(tmp_path, "network x " + "{ ( " * 10**5)
    assert time.perf_counter() - begun < 20  # a parser that looks back at every step takes hours


def test_names_that_the_format_has_no_way_to_write_are_refused(tmp_path: Path) -> None:
    for name in ('a "b"', "a\nb", "\ud800"):
        with pytest.raises(Problem, match="Rename"):
            _bif.write(tmp_path / "x.bif", Network([name], [["a"]], [()], [np.ones(1)]))
    assert not list(tmp_path.iterdir())
