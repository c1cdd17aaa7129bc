"""Theorems of the sequential tree: its factors are what brute force says, its mass is one, its draws follow its density."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chisquare, kstest

from genlearn.data.records import Records
from genlearn.errors import Problem
from genlearn.models._splits import Error, Information, Splits, grow
from genlearn.models._trees import Tree, choices, halves, informative, prune, smoothed, together
from genlearn.models.sequentialtree import SequentialTree


def table(n: int, seed: int, missing: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    kind = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    x = rng.normal(np.where(kind == "a", 0.0, 3.0), 1)
    y = np.where(rng.random(n) < missing * (1 + (kind == "a")), np.nan, x + rng.normal(0, 0.5, n))
    return pd.DataFrame({"kind": kind, "x": x, "y": y})


def levels_of(n: int, seed: int) -> np.ndarray:
    """Three columns of 4, 3 and 2 levels; the last depends on the others, and a tenth of the first lacks a value."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 4, n), rng.integers(0, 3, n)
    c = (rng.random(n) < 0.1 + 0.2 * a + 0.2 * (b == 1)).astype(int)
    return np.stack([np.where(rng.random(n) < 0.1, -1, a), b, c], 1)


def entropy(values: np.ndarray) -> float:
    share = np.bincount(values[values >= 0]) / max(1, (values >= 0).sum())
    return -float(sum(p * math.log(p) for p in share if p > 0))


# -- growing and pruning ---------------------------------------------------------------------------------------------
def test_gains_of_all_splits_are_those_of_brute_force() -> None:
    """Information gain and Gini impurity of every split, counted one by one."""
    levels = levels_of(300, 0)
    splits = Splits([0, 1], [4, 3], [True, False], [True, False])
    everything = np.ones(splits.width, dtype=bool)
    assert (
        len(splits) == 3 + 3 + 3
    )  # prefixes without and with the records that have no value, one level against the rest
    for criterion in ("entropy", "gini"):
        gain = Information(levels[:, 2:], [2], [-1], splits, criterion)
        found, _ = gain(np.arange(300), splits.places(levels), everything)
        for i, which in enumerate(splits.which):
            inside = (levels[:, which] >= splits.low[i]) & (levels[:, which] <= splits.high[i])
            parts = [levels[inside, 2], levels[~inside, 2]]
            if criterion == "entropy":
                wanted = 300 * entropy(levels[:, 2]) - sum(len(p) * entropy(p) for p in parts)
            else:
                wanted = sum(np.square(np.bincount(p)).sum() / len(p) for p in parts)
                wanted -= np.square(np.bincount(levels[:, 2])).sum() / 300
            assert found[i] == pytest.approx(wanted, abs=1e-9)


def test_gains_in_squared_error_are_those_of_brute_force() -> None:
    """A split's gain is what the integral of the squared density rises by, in the unit 1 / V."""
    levels = np.abs(levels_of(200, 1))
    volumes = [np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.5, 0.25, 0.25])]
    splits = Splits([0, 1], [4, 3], [True, False], [False, False])
    box = np.ones(splits.width, dtype=bool)
    box[splits.start] = False
    found, log_unit = Error(splits, volumes)(np.arange(200), splits.places(levels), box)
    assert log_unit == pytest.approx(0)
    for i, which in enumerate(splits.which):
        span = np.arange(splits.low[i], splits.high[i] + 1)
        inside, share = np.isin(levels[:, which], span).sum(), volumes[which][span].sum()
        assert found[i] == pytest.approx(inside**2 / share + (200 - inside) ** 2 / (1 - share) - 200**2)


def test_growing_takes_the_best_split_and_every_record_reaches_its_leaf() -> None:
    levels = levels_of(400, 2)
    splits = Splits([0, 1], [4, 3], [True, False], [True, False])
    gain = Information(levels[:, 2:], [2], [-1], splits)
    best = int(gain(np.arange(400), splits.places(levels), np.ones(splits.width, dtype=bool))[0].argmax())
    tree = grow(levels, splits, gain, min_leaf=15, max_leaves=8)
    assert (tree.column[0], tree.low[0], tree.high[0]) == (splits.which[best], splits.low[best], splits.high[best])
    leaf = tree.route(levels)
    assert len(tree.leaves) <= 8
    assert set(leaf) == set(tree.leaves)
    assert np.bincount(leaf)[tree.leaves].min() >= 15
    for row in levels[:50]:  # one record at a time, by the definition
        node = 0
        while tree.left[node]:
            node = tree.left[node] + (not tree.low[node] <= row[tree.column[node]] <= tree.high[node])
        assert node == tree.route(row[None])[0]
    same, old = tree.kept(tree.left > 0)
    same.check({0, 1})
    np.testing.assert_array_equal(old[same.route(levels)], leaf)
    with pytest.raises(ValueError, match="cannot know"):
        same.check({1})


def test_pruning_finds_the_best_of_all_subtrees() -> None:
    """Against every pruned version of a full tree of depth 3, at five prices."""
    left = np.array([1, 3, 5, 7, 9, 11, 13] + [0] * 8)
    tree = Tree(np.zeros(15, int), np.zeros(15, int), np.zeros(15, int), left)
    worth = np.random.default_rng(0).normal(size=15)
    worth[:7] -= 0.5
    prices = np.array([0.0, 0.1, 0.3, 1.0, 9.0])
    keep = prune(tree, worth, prices)

    def subtrees(node: int) -> list[tuple[float, int]]:
        """(sum of worth, leaves) of every pruned version below a node."""
        found = [(worth[node], 1)]
        if left[node]:
            both = itertools.product(subtrees(left[node]), subtrees(left[node] + 1))
            found += [(a + b, m + n) for (a, m), (b, n) in both]
        return found

    for i, price in enumerate(prices):
        pruned, which = tree.kept(keep[:, i])
        leaves = which[pruned.leaves]
        best = max(w - price * n for w, n in subtrees(0))
        assert worth[leaves].sum() - price * len(leaves) == pytest.approx(best)


def test_left_out_tables_are_those_of_a_tree_without_the_record() -> None:
    """The closed form equals taking every record away and smoothing again."""
    levels = levels_of(60, 3)
    splits = Splits([0, 1], [4, 3], [True, False], [True, False])
    tree = grow(levels, splits, Information(levels[:, 2:], [2], [-1], splits), 5, 6)
    base = np.array([[0.5, 0.5]])

    def filled(rows: np.ndarray) -> np.ndarray:
        counts = np.zeros((len(tree), 2))
        np.add.at(counts, (tree.route(rows), rows[:, 2]), 1)
        return tree.gather(counts)[:, None]

    left_out = smoothed(tree, filled(levels), base, 3.0, left_out=True)
    for i, row in enumerate(levels):
        without = smoothed(tree, filled(np.delete(levels, i, 0)), base, 3.0)
        leaf = tree.route(row[None])[0]
        assert left_out[leaf, 0, row[2]] == pytest.approx(without[leaf, 0, row[2]])


def test_choices_between_halves_are_another_way_to_write_a_table() -> None:
    for size in (2, 3, 7, 16):
        table = np.random.default_rng(size).dirichlet(np.ones(size), 4)
        found = choices(table, ordered=True)
        assert found.shape == (4, size - 1, 2)
        np.testing.assert_allclose(together(found / found.sum(2, keepdims=True), size, ordered=True), table)
        assert len(halves(size)[0]) == size - 1


def test_mutual_information_is_that_of_the_counts() -> None:
    levels = np.abs(levels_of(500, 4))
    a, c = levels[:, 0], levels[:, 2]
    wanted = entropy(a) + entropy(c) - entropy(a * 2 + c)
    assert informative(levels, [4, 3, 2])[0, 2] == pytest.approx(wanted, abs=1e-6)  # float32 counts are exact here


# -- the model -------------------------------------------------------------------------------------------------------
def test_mass_is_one_over_every_cell_of_a_discrete_table() -> None:
    rng = np.random.default_rng(0)
    a = rng.choice(["p", "q", "r"], 300)
    b = np.where(rng.random(300) < 0.2, None, np.where(a == "p", "s", "t").astype(object))
    c = (a == "q") ^ (rng.random(300) < 0.1)
    model = SequentialTree(random_state=0).fit(pd.DataFrame({"a": a, "b": b, "c": c}))
    cells = pd.DataFrame(itertools.product("pqr", ["s", "t", None], [False, True]), columns=["a", "b", "c"])
    assert np.exp(model.log_prob(cells)).sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_mass_is_one_over_levels_gates_and_numbers(missing: float) -> None:
    """The density is a step function in y: a fine grid integrates it to 0.2 %, most of it at the edges of steps."""
    frame = table(300, 0, missing).drop(columns="x")
    model = SequentialTree(bins=12, random_state=0).fit(Records("table", frame))
    grid = np.linspace(-30, 35, 60_001)
    both = [np.exp(model.log_prob(pd.DataFrame({"kind": k, "y": grid}))).sum() * (grid[1] - grid[0]) for k in "abc"]
    holes = pd.DataFrame({"kind": list("abc"), "y": np.nan})
    total = sum(both) + (np.exp(model.log_prob(holes)).sum() if missing else 0.0)
    assert total == pytest.approx(1, abs=2e-3)


def test_draws_follow_the_density() -> None:
    """Kolmogorov-Smirnov of a number given a level, chi-square of the levels; one false alarm in 1000 each."""
    model = SequentialTree(bins=16, random_state=0).fit(table(400, 1).drop(columns="x"))
    drawn = model.sample(6000, random_state=1)
    grid = np.linspace(-20, 25, 20_001)
    mass = {}
    for kind in "abc":
        density = np.exp(model.log_prob(pd.DataFrame({"kind": kind, "y": grid})))
        below = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(grid))])
        mass[kind] = below[-1]
        own = drawn.loc[drawn["kind"] == kind, "y"]
        assert kstest(own, lambda v, b=below: np.interp(v, grid, b / b[-1])).pvalue > 1e-3
    seen = [float((drawn["kind"] == kind).sum()) for kind in "abc"]
    expected = np.array([mass[k] for k in "abc"])
    assert chisquare(seen, expected / expected.sum() * 6000).pvalue > 1e-3


def test_no_draw_is_a_donors_value() -> None:
    frame = table(500, 2)
    drawn = SequentialTree(random_state=0).fit(frame.assign(x=frame["x"] + 1e-9)).sample(500, random_state=0)
    assert not set(drawn["y"]) & set(frame["y"])


def test_the_label_comes_first() -> None:
    """Draws given a label follow p(x | y), and the score is log p(y) + log p(x | y): both checked on a discrete table."""
    rng = np.random.default_rng(0)
    label = rng.choice(["no", "yes"], 500, p=[0.7, 0.3])
    flag = np.where(rng.random(500) < np.where(label == "yes", 0.9, 0.2), "on", "off")
    frame = pd.DataFrame({"flag": flag, "label": label})
    model = SequentialTree(random_state=0).fit(Records("table", frame, target="label"))
    given = model.sample(4000, given={"label": "yes"}, random_state=0)
    assert set(given["label"]) == {"yes"}
    scores = np.exp(model.log_prob(pd.DataFrame({"flag": ["on", "off"], "label": "yes"})))
    share, p = float((given["flag"] == "on").mean()), float(scores[0] / scores.sum())
    assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / 4000)
    assert scores.sum() == pytest.approx((label == "yes").mean(), abs=0.01)
    unlabelled = np.exp(model.log_prob(pd.DataFrame({"flag": ["on", "off"]})))
    assert unlabelled.sum() == pytest.approx(1, abs=1e-6)  # label frequencies are float32
    with pytest.raises(Problem, match="cannot hold"):
        model.sample(3, given={"flag": "on"})


def test_scores_of_unknown_cells_come_near_the_sum() -> None:
    """A missing cell in a column that had none in training: the average over draws against the sum over its levels."""
    rng = np.random.default_rng(0)
    a = rng.choice(["p", "q"], 400)
    b = np.where(rng.random(400) < 0.8, a, "z")
    model = SequentialTree(random_state=0).fit(pd.DataFrame({"a": a, "b": b}))
    wanted = np.exp(model.log_prob(pd.DataFrame({"a": ["p", "q"], "b": "p"}))).sum()
    unseen = math.log(402)  # the codec's own term for a first missing cell
    found = float(model.log_prob(pd.DataFrame({"a": [None], "b": ["p"]}))[0]) + unseen
    p = float(wanted)
    assert abs(math.exp(found) - p) < 5 * 0.5 / math.sqrt(200)  # weights lie in 0..1, so their deviation is at most 1/2
    again = model.log_prob(pd.DataFrame({"a": ["p", None, None], "b": ["p", "z", "p"]}))
    assert again[2] + unseen == pytest.approx(found)


def test_imputation_draws_from_the_conditional() -> None:
    """p(a | b) by Bayes' rule on a 2 x 3 table, and b is drawn after a though a is what is unknown."""
    rng = np.random.default_rng(1)
    a = rng.choice(["p", "q"], 600, p=[0.6, 0.4])
    b = np.where(rng.random(600) < 0.7, np.where(a == "p", "u", "v"), "w")
    model = SequentialTree(random_state=0).fit(pd.DataFrame({"a": a, "b": b}))
    joint = np.exp(model.log_prob(pd.DataFrame({"a": ["p", "q"], "b": "w"})))
    wanted = joint[0] / joint.sum()
    holes = pd.DataFrame({"a": [None] * 3000, "b": "w"})
    share = float((model.impute(holes, random_state=0)["a"] == "p").mean())
    assert (
        abs(share - wanted) < 5 * math.sqrt(wanted * (1 - wanted) / 3000) + 0.01
    )  # 200 draws a record: a bias below 1/200
    assert set(model.impute(pd.DataFrame({"a": [None], "b": ["v"]}), how="mode")["a"]) == {"q"}


@pytest.mark.parametrize("order", ["given", "entropy"])
def test_gates_precede_their_numbers(order: str) -> None:
    frame = table(200, 5, missing=0.3)[["y", "x", "kind"]]
    model = SequentialTree(order=order, random_state=0).fit(frame)
    at = {j: i for i, j in enumerate(model.order_)}
    assert model.layout_.gates
    assert all(at[gate] < at[j] for columns, gate in model.layout_.gates for j in range(columns.start, columns.stop))


def test_repeats_constants_and_wide_records() -> None:
    same = pd.DataFrame({"a": ["x"] * 20, "b": [1.5] * 20})
    assert set(SequentialTree(random_state=0).fit(same).sample(5, random_state=0)["b"]) == {1.5}
    twice = pd.concat([table(30, 6)] * 20)
    assert np.isfinite(SequentialTree(random_state=0).fit(twice).log_prob(table(10, 7))).all()
    images = (np.random.default_rng(0).random((60, 9, 9)) < 0.4).astype(np.uint8)
    images[:, :, 4:] = images[:, :, 4:5]  # columns beyond 64 are chosen by what they tell
    model = SequentialTree(min_leaf=5, random_state=0).fit(images)
    drawn = model.sample(200, random_state=0)
    assert (drawn[:, 0, 4] == drawn[:, 0, 8]).mean() > 0.9


def test_bad_settings_and_damaged_trees_are_refused() -> None:
    for setting in ({"bins": 1}, {"min_leaf": 0}, {"max_leaves": 0}):
        with pytest.raises(Problem, match=next(iter(setting))):
            SequentialTree(**setting).fit(table(20, 0))  # type: ignore[arg-type]
    model = SequentialTree(random_state=0).fit(table(200, 0))
    model._check_learned()
    for name, place, value in (("splits_", (-1, 3), 1), ("splits_", (0, 3), 7), ("tables_", (0,), -1.0)):
        tensor: torch.Tensor = getattr(model, name)
        kept = tensor[place].clone()
        tensor[place] = value
        with pytest.raises(ValueError, match=r"tree|tables|nodes"):
            model._check_learned()
        tensor[place] = kept
    model.order_ = [0, 0, 1]
    with pytest.raises(ValueError, match="order_"):
        model._check_learned()
