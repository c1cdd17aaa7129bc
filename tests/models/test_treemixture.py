"""Mixtures of trees: the best tree, mass one, exact sums, draws and conditions, and EM that never goes down."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chisquare, ks_2samp
from sklearn.metrics import mutual_info_score

from genlearn.data.records import Records
from genlearn.errors import Problem
from genlearn.layout import Code, Field, Layout
from genlearn.models._chowliu import Trees, chow_liu, gains, most, pair_counts, tables
from genlearn.models._levels import Levels
from genlearn.models._treefit import Climb, Grove, Rows, frequencies
from genlearn.models.treemixture import TreeMixture
from genlearn.testing import customers

SIZES = (3, 2, 4, 2)
LEVELS = Levels(Layout(tuple(Field(f"c{i}", "category", levels=s) for i, s in enumerate(SIZES))))
CELLS = torch.tensor(list(itertools.product(*map(range, SIZES)))).double()
NAN = math.nan
SEED = 4  # of every test below; tests of agreement raise a false alarm for one seed in a thousand


def records(n: int, seed: int = 0) -> torch.Tensor:
    """Draw levels of four dependent columns."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 3, n)
    b = (a + (rng.random(n) < 0.3)) % 2
    c = np.where(rng.random(n) < 0.7, a + b, rng.integers(0, 4, n)) % 4
    d = (rng.random(n) < 0.2 + 0.2 * c).astype(int)
    return torch.tensor(np.stack([a, b, c, d], 1)).double()


def grove(k: int, seed: int = SEED) -> Grove:
    """Draw a mixture: random forests with random tables."""
    rng = torch.Generator().manual_seed(seed)
    parents, found = [], []
    for _ in range(k):
        draw = torch.rand(4, 4, generator=rng)
        parents.append(chow_liu(draw + draw.T, least=0.5))
        pairs = torch.rand(LEVELS.width, LEVELS.width, generator=rng).double()
        found.append(tables(LEVELS, pairs, parents[-1]))
    weights = torch.rand(k, generator=rng).double()
    return Grove(weights / weights.sum(), Trees(LEVELS, torch.stack(parents), torch.stack(found)))


def table(n: int, seed: int = 0) -> pd.DataFrame:
    """Draw columns of levels, as text."""
    return pd.DataFrame({f"c{i}": [f"v{int(v)}" for v in column] for i, column in enumerate(records(n, seed).T)})


# -- the tree --------------------------------------------------------------------------------------------------------
def test_pair_counts_and_gains_are_those_of_each_pair():
    x = records(500)
    x[:100, 1] = NAN
    x[50:200, 3] = NAN
    pairs = pair_counts(LEVELS, x, torch.full((500,), 2.0))
    gain = gains(LEVELS, pairs)
    for i, j in itertools.permutations(range(4), 2):
        known = ~(torch.isnan(x[:, i]) | torch.isnan(x[:, j]))
        block = pairs[LEVELS.start[i] :][: SIZES[i], LEVELS.start[j] :][:, : SIZES[j]]
        for a, b in itertools.product(range(SIZES[i]), range(SIZES[j])):
            assert block[a, b] == 2 * ((x[:, i] == a) & (x[:, j] == b)).sum()
        nats = 2 * int(known.sum()) * mutual_info_score(x[known, i].numpy(), x[known, j].numpy())
        assert float(gain[i, j]) == pytest.approx(nats, abs=1e-6)


def test_binary_columns_are_counted_as_any_others():
    x = (torch.rand(300, 7, generator=torch.Generator().manual_seed(0)) < 0.4).double()
    binary = Levels(Layout((Field("x", "binary", (1, 1, 7), levels=2),)))
    weights = torch.rand(300, generator=torch.Generator().manual_seed(1))
    hot = binary.one_hot(x)
    want = (hot * weights[:, None].double()).T @ hot
    torch.testing.assert_close(pair_counts(binary, x, weights), want, rtol=1e-5, atol=1e-5)  # float32 products


def test_no_tree_is_likelier_than_the_chow_liu_tree():
    """Of all 16 trees over four columns."""
    x = records(400)
    pairs = pair_counts(LEVELS, x) + 1e-9
    found = [parents for parents in itertools.product(range(-1, 4), repeat=3) if _is_tree((-1, *parents))]
    assert len(found) == 16
    nats = [_nats(pairs, torch.tensor((-1, *parents)), x) for parents in found]
    assert _nats(pairs, chow_liu(gains(LEVELS, pairs)), x) == pytest.approx(max(nats), abs=1e-9)


def _is_tree(parents: tuple[int, ...]) -> bool:
    for j in range(4):
        seen = set()
        while j >= 0:
            if j in seen:
                return False
            seen.add(j)
            j = parents[j]
    return parents.count(-1) == 1


def _nats(pairs: torch.Tensor, parents: torch.Tensor, x: torch.Tensor) -> float:
    return float(Trees(LEVELS, parents[None], tables(LEVELS, pairs, parents)[None]).log_prob(x).sum())


def test_leaves_have_no_children_and_weak_edges_are_left_out():
    gain = torch.tensor([[0.0, 5, 4, 1], [5, 0, 3, 1], [4, 3, 0, 9], [1, 1, 9, 0]])
    assert chow_liu(gain).tolist() == [-1, 0, 0, 2]
    assert chow_liu(gain, leaves=[2]).tolist() == [-1, 0, 3, 0]
    assert chow_liu(gain, least=4.5).tolist() == [-1, 0, -1, 2]


# -- sums over trees -------------------------------------------------------------------------------------------------
def test_mass_is_one_and_unknown_values_are_summed_over():
    mixture = grove(5)
    joint = mixture.log_prob(CELLS)
    assert float(joint.exp().sum()) == pytest.approx(1, abs=1e-12)
    for hidden in itertools.product([False, True], repeat=4):
        x = CELLS.clone()
        x[:, list(hidden)] = NAN
        marginal = mixture.log_prob(x)
        for row in range(0, len(x), 7):
            same = (torch.isnan(x[row]) | (x[row] == CELLS)).all(1)
            assert float(marginal[row]) == pytest.approx(float(joint[same].logsumexp(0)), abs=1e-10)


def test_linear_forms_of_binary_trees_equal_their_tables():
    rng = torch.Generator().manual_seed(0)
    layout = Layout((Field("x", "binary", (1, 1, 9), levels=2),))
    x = (torch.rand(200, 9, generator=rng) < 0.4).double()
    levels = Levels(layout)
    pairs = [torch.rand(18, 18, generator=rng).double() for _ in range(3)]
    parents = [chow_liu(torch.rand(9, 9, generator=rng).triu(1).double(), least=0.2) for _ in pairs]
    found = torch.stack([tables(levels, p, q) for p, q in zip(pairs, parents, strict=True)])
    trees = Trees(levels, torch.stack(parents), found)
    known = trees.log_prob(x)
    by_passes = trees.up(levels.one_hot(x))[1].T
    torch.testing.assert_close(known, by_passes, rtol=1e-10, atol=1e-10)


def test_marginals_and_best_records_agree_with_enumeration():
    trees = grove(4).trees
    log = trees.log_prob(CELLS)
    evidence = LEVELS.one_hot(torch.tensor([[NAN, 1, NAN, 0], [NAN] * 4, [2, NAN, NAN, 1]]))
    evidence += (LEVELS.total(evidence) == 0).double()[:, LEVELS.owner]
    evidence[1, 2] = 0.25  # a soft condition
    below, total = trees.up(evidence)
    belief = trees.marginals(below)
    best, top = trees.up(evidence, best=True)
    weight = torch.stack(
        [torch.stack([evidence[r, LEVELS.start + c.long()].log().sum() for c in CELLS]) for r in range(3)]
    )
    for k, r in itertools.product(range(4), range(3)):
        each = log[:, k] + weight[r]
        assert float(total[k, r]) == pytest.approx(float(each.logsumexp(0)), abs=1e-10)
        assert float(top[k, r]) == pytest.approx(float(each.max()), abs=1e-10)
        found = trees.down(best[:, :, r : r + 1], torch.tensor([k]), lambda w: w.argmax(1))
        assert torch.equal(found[0], CELLS[each.argmax()])
        share = torch.softmax(each, 0)
        for j in range(4):
            want = [float(share[CELLS[:, j] == a].sum()) for a in range(SIZES[j])]
            assert belief[k, j, r, : SIZES[j]].tolist() == pytest.approx(want, abs=1e-12)


# -- EM --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("case", ["known", "absent leaves", "unlabelled"])
@pytest.mark.parametrize("smoothing", [0.5, 20.0])
def test_em_never_goes_down(case, smoothing):
    """Structure included; up to rounding of float32 responsibilities."""
    x = records(600)
    leaves = []
    if case == "absent leaves":
        leaves = [2]
        x[:200, 2] = NAN
    if case == "unlabelled":
        x[:300, 3] = NAN
    rows = Rows(LEVELS, x.float(), leaves)
    start = torch.rand(600, 4, generator=torch.Generator().manual_seed(SEED)) ** 3
    climb = Climb(rows, None, frequencies(rows, 1.0), smoothing)
    climbed = climb.run(start / start.sum(1, keepdim=True), 40, -math.inf, lambda nats: None).objectives
    assert len(climbed) == 40
    assert min(np.diff(climbed)) > -1e-7
    assert climbed[-1] > climbed[0] + 1e-3


def test_repeated_records_count_as_often_as_they_occur():
    x = records(600).float()
    x[::5, 2] = NAN
    rows = Rows(LEVELS, x, [2])
    joined = rows.joined()
    assert len(joined.values) < 100
    assert joined.n == 600
    share = torch.stack([x[:, 0] == 0, x[:, 0] != 0], 1).float()
    of_joined = torch.stack([joined.values[:, 0] == 0, joined.values[:, 0] != 0], 1).float()
    base = frequencies(rows, 1.0)
    torch.testing.assert_close(frequencies(joined, 1.0), base)
    long, short = (
        Climb(r, r, base, 2.0).run(s, 10, 0.0, lambda nats: None) for r, s in ((rows, share), (joined, of_joined))
    )
    assert long.objectives == pytest.approx(short.objectives, abs=1e-6)  # float32 shares
    assert long.score == pytest.approx(short.score, abs=1e-6)


def test_one_component_is_the_chow_liu_tree_of_all_records():
    frame = table(400)
    model = TreeMixture(components=1, smoothing=2.0, random_state=0).fit(frame)
    codes = model.codec_.encode(Records("table", frame)).x
    levels = model._cells.levels
    size = torch.tensor(levels.counts, dtype=torch.float64)
    pairs = pair_counts(levels, codes) + 2.0 / (size[levels.owner][:, None] * size[levels.owner])
    pairs.diagonal().copy_(levels.count(codes) + 2.0 / size[levels.owner])
    parents = chow_liu(gains(levels, pairs))
    want = Trees(levels, parents[None], tables(levels, pairs, parents)[None]).log_prob(codes)[:, 0]
    np.testing.assert_allclose(model.log_prob(frame), want.numpy(), atol=1e-6)  # counts are scaled in between


def test_the_order_of_columns_does_not_change_the_score_of_the_tree():
    frame = customers(400, 1)
    model = TreeMixture(components=1, smoothing=1.0, random_state=0).fit(frame)
    turned = TreeMixture(components=1, smoothing=1.0, random_state=0).fit(frame[frame.columns[::-1]])
    at = [c for c in frame if c != "age"]  # integers are spread by random numbers, which follow the columns
    first, second = (m.fit(frame[c]).log_prob(frame[c]) for m, c in ((model, at), (turned, at[::-1])))
    np.testing.assert_allclose(first, second, atol=1e-9)


# -- the model -------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def mixed() -> TreeMixture:
    return TreeMixture(components=4, members=2, smoothing=5.0, random_state=0).fit(
        Records("table", customers(800, 1), "churn")
    )


def test_draws_agree_with_scores():
    """Chi-square over all cells, at 1e-3."""
    model = TreeMixture(components=3, members=2, smoothing=5.0, random_state=0).fit(table(800))
    cells = pd.DataFrame([[f"v{int(v)}" for v in row] for row in CELLS], columns=[f"c{i}" for i in range(4)])
    p = np.exp(model.log_prob(cells))
    drawn = model.sample(20000, random_state=SEED).value_counts().reindex(pd.MultiIndex.from_frame(cells), fill_value=0)
    many = p * 20000 > 5
    assert many.sum() > 30
    assert drawn[~many].sum() < 5 * (~many).sum() + 30
    seen, share = drawn[many].to_numpy(), p[many]
    assert chisquare(seen, share / share.sum() * seen.sum()).pvalue > 1e-3


def test_mass_of_atoms_and_numbers_together_is_one(mixed):
    """Codes of a number with its gate and one category: the sum over levels of the integral over the number."""
    fields = [f.name for f in mixed.layout_.fields]
    number, gate, plan = (mixed.layout_.where[name].start for name in ("spend", "spend?", "plan"))
    assert "spend?" in fields
    knots = mixed.knots_[mixed._cells.numbers.index(number)].unique()
    ends = torch.cat([knots[:1] - 60, knots, knots[-1:] + 60])
    edges = torch.cat(
        [torch.linspace(float(a), float(b), 41)[:-1].double() for a, b in itertools.pairwise(ends)] + [ends[-1:]]
    )
    middle, width = (edges[1:] + edges[:-1]) / 2, edges.diff()
    total = 0.0
    for level in range(3):
        x = torch.full((len(middle), mixed.layout_.size), NAN).double()
        x[:, plan], x[:, gate], x[:, number] = level, 0, middle
        total += float(mixed._log_prob(Code(x)).exp() @ width)
        for shut in range(1, mixed.layout_.fields[fields.index("spend?")].levels):
            x[0, gate], x[0, number] = shut, NAN
            total += float(mixed._log_prob(Code(x[:1])).exp())
    assert total == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "given", [{"plan": "pro"}, {"wage": "35:50"}, {"churn": "yes", "spend": "5:15"}, {"wage": "30:36", "spend": "8:"}]
)
def test_conditional_draws_agree_with_rejection(mixed, given):
    """Two-sample tests per column at 1e-3 / 6."""
    asked = mixed.sample(1500, given=given, random_state=SEED)
    free = mixed.sample(60000, random_state=SEED + 1)
    for name, value in given.items():
        if ":" in value:
            low, _, high = value.partition(":")
            for frame in (asked, free):
                assert frame is free or frame[name].between(float(low), float(high or "inf")).all()
            free = free[free[name].between(float(low), float(high or "inf"))]
        else:
            assert set(asked[name]) == {value}
            free = free[free[name] == value]
    assert len(free) > 500
    for name in set(asked) - set(given):
        number = name in ("wage", "age", "spend")
        code = {value: i for i, value in enumerate(sorted(set(map(str, free[name]))))}
        a, b = (f[name].astype(float).fillna(-1) if number else [code[str(v)] for v in f[name]] for f in (asked, free))
        assert ks_2samp(a, b).pvalue > 1e-3 / 6, name


def test_impossible_conditions_are_a_problem():
    frame = pd.DataFrame({"a": ["x", "y"] * 50, "b": ["u", "v"] * 50})
    model = TreeMixture(components=1, smoothing=0.0, random_state=0).fit(frame)
    with pytest.raises(Problem, match="Widen the condition"):
        model.sample(3, given={"a": "x", "b": "v"})


def test_imputation_is_that_of_the_conditional_law():
    """One number and three categories under one tree: mean, mode and draws against enumeration of levels."""
    frame = table(500).assign(z=np.random.default_rng(1).normal(records(500)[:, 2].numpy(), 0.6))
    model = TreeMixture(components=3, members=1, smoothing=3.0, random_state=0, bins=6).fit(frame)
    asked = pd.DataFrame(
        {"c0": ["v1", None], "c1": [None, "v0"], "c2": [None, "v3"], "c3": ["v0", "v1"], "z": [NAN, NAN]}
    )
    full = pd.DataFrame(
        [(f"v{a}", f"v{b}", f"v{c}", f"v{d}") for a, b, c, d in CELLS.long().tolist()], columns=["c0", "c1", "c2", "c3"]
    )
    codes = model.codec_.encode(Records("table", full.assign(z=0.0))).x
    log = _by_bin(model, codes)
    for row in range(2):
        known = asked.iloc[row, :4].dropna()
        same = (full[known.index] == known).all(axis=1).to_numpy(copy=True)
        p = torch.softmax(log[same].flatten(), 0).view(-1, log.shape[1])
        drawn = model.impute(pd.concat([asked.iloc[[row]]] * 4000), random_state=SEED)
        for name in set(full) - set(known.index):
            for value in sorted(set(full[name])):
                want = float(p[(full[same][name] == value).to_numpy(copy=True)].sum())
                error = math.sqrt(want * (1 - want) / 4000)
                assert abs((drawn[name] == value).mean() - want) < 4.5 * error + 1e-9, (row, name, value)
        mean = model.impute(asked.iloc[[row]], how="mean")
        found = model.codec_.encode(Records("table", mean)).x[0, model._cells.numbers[0]]
        assert float(found) == pytest.approx(float(p.sum(0) @ model._cells.bins.means(0)), abs=1e-6)


def _by_bin(model: TreeMixture, codes: torch.Tensor) -> torch.Tensor:
    """Return log probabilities of `(cells, levels of the number)`."""
    cells = model._cells
    values = cells.encode(codes)[:, cells.levels.columns]
    out = []
    for level in range(cells.bins.sizes[0]):
        values[:, cells.levels.columns.index(cells.numbers[0])] = level
        out.append(model._grove.log_prob(values))
    return torch.stack(out, 1)


def test_repeated_records_and_empty_columns_are_learned():
    frame = pd.DataFrame({"a": ["x"] * 30, "b": [1.5] * 30, "c": [None] * 30, "d": [NAN] * 29 + [2.0]})
    model = TreeMixture(random_state=0).fit(frame)
    assert np.isfinite(model.log_prob(frame)).all()
    assert set(model.sample(20, random_state=0)["a"]) == {"x"}


@pytest.mark.parametrize(
    "damage",
    [
        {"parents_": torch.tensor([[1, 0, -1, -1]])},
        {"parents_": torch.tensor([[-1, 9, 0, 0]])},
        {"parents_": torch.tensor([[-1.0, 0, 0, 0]])},
        {"weights_": torch.tensor([-1.0])},
        {"tables_": torch.ones(1, 11, 4)},
        {"tables_": torch.ones(1, 2, 4)},
        {"cuts_": torch.ones(3, 2)},
        {"knots_": [1, 2]},
    ],
)
def test_what_fit_could_not_have_left_is_refused(damage):
    model = TreeMixture(components=1, random_state=0).fit(table(50))
    assert model.tables_.shape == (1, LEVELS.width, most(LEVELS))
    model._check_learned()
    vars(model).update(damage)
    with pytest.raises((ValueError, AttributeError)):
        model._check_learned()


@pytest.mark.parametrize(
    "wrong", [{"components": 0}, {"members": 0}, {"smoothing": -1.0}, {"bins": 0}, {"tol": -1.0}, {"max_iter": 0}]
)
def test_settings_out_of_range_are_a_problem(wrong):
    with pytest.raises(Problem, match=next(iter(wrong))):
        TreeMixture(**wrong).fit(table(30))
