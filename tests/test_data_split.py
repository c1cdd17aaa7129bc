"""Splits: exact sizes, equal records together, the same on every machine."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genlearn import read
from genlearn.data import read_all
from genlearn.data.split import assign


def test_the_split_is_the_same_on_every_machine():
    assert assign(np.arange(20), seed=0).tolist() == assign(np.arange(20) + 7, seed=0).tolist()
    assert "".join(map(str, assign(np.arange(20), seed=0))) == "00202120100000000020"
    assert assign(np.arange(20), seed=1).tolist() != assign(np.arange(20), seed=0).tolist()


@given(st.integers(1, 400), st.integers(0, 5))
def test_distinct_records_give_exact_sizes(n, seed):
    sizes = np.bincount(assign(np.arange(n), seed=seed), minlength=3)
    assert sizes.sum() == n
    assert sizes[0] >= 1
    if n >= 10:
        assert abs(sizes[1] - 0.1 * n) <= 0.5
        assert abs(sizes[2] - 0.2 * n) < 1


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), st.integers(0, 3))
def test_equal_records_stay_together(content, seed):
    content = np.array(content)
    part = assign(content, seed=seed)
    assert all(len(set(part[content == value])) == 1 for value in np.unique(content))


def test_position_and_content_do_not_leak_into_the_split():
    # the share of test records in the first half is hypergeometric: sd = sqrt(.2 * .8 / 10000 / 2) = 0.0028; 4 sd
    part = assign(np.arange(20_000), seed=3)
    assert abs((part[:10_000] == 2).mean() - 0.2) < 0.0113


def test_duplicates_are_kept_together_or_dropped():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=300), "b": rng.normal(size=300)})
    twice = pd.concat([frame, frame[:30]], ignore_index=True)
    data = read(twice)
    rows = [set(map(tuple, part.x.to_numpy())) for part in (data.train, data.valid, data.test)]
    assert sum(map(len, rows)) == len(set.union(*rows))
    assert any("30 records repeat" in note for note in data.notes)
    dropped = read(twice, drop_duplicates=True)
    assert sum(map(len, (dropped.train, dropped.valid, dropped.test))) == 300


def test_tables_that_repeat_by_nature_are_cut_by_position():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.random((1000, 3)) < [0.5, 0.1, 0.9])
    data = read(frame)
    assert (len(data.train), len(data.valid), len(data.test)) == (700, 100, 200)
    assert any("equal rows may lie in different parts" in note for note in data.notes)


def test_missing_parts_are_cut_from_train():
    x = np.arange(200.0)[:, None]
    data = read(pd.DataFrame(x), test=pd.DataFrame(x[:50] + 1000))
    assert (len(data.train), len(data.valid), len(data.test)) == (180, 20, 50)
    assert data.brought_split
    data = read(pd.DataFrame(x), test=pd.DataFrame(x[:50]))
    assert any("test records also occur in train" in note for note in data.notes)


def test_seed_and_nothing_else_changes_the_split():
    assert read("wine").split_id == read("wine").split_id
    assert read("wine").split_id != read("wine", seed=1).split_id


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_few_records_leave_something_to_learn_from(n):
    data = read(pd.DataFrame({"a": np.arange(float(n))}))
    assert len(data.train) >= 1
    assert sum(map(len, (data.train, data.valid, data.test))) == n


def test_read_all_keeps_the_order_of_the_source():
    assert read_all("digits").y[:5].tolist() == [0, 1, 2, 3, 4]
