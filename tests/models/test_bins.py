"""Numbers as levels: the density has mass one, draws follow it, levels and shares agree with it."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import kstest

from genlearn.codecs.base import Given
from genlearn.codecs.table import TableCodec
from genlearn.data.records import Records
from genlearn.models._bins import Bins, Cells
from genlearn.testing import customers

RNG = np.random.default_rng(0)
COLUMNS = {
    "normal": RNG.normal(5, 2, 3000),
    "skewed": np.exp(RNG.normal(0, 1, 3000)),
    "repeated": np.repeat(RNG.normal(size=30), 100),
    "two values": np.repeat([1.0, 2.0], 50),
    "constant": np.full(50, 3.0),
    "one record": np.array([4.0]),
    "none": np.full(20, np.nan),
}


def density(bins: Bins, x: torch.Tensor) -> torch.Tensor:
    """Return p(x) of one column by its levels' own shares."""
    return bins.mass(0)[bins.level(x)[:, 0].long()] * bins.log_density(x)[:, 0].exp()


@pytest.mark.parametrize("most", [1, 2, 16])
@pytest.mark.parametrize("name", COLUMNS)
def test_mass_is_one(name, most):
    bins = Bins.fit(torch.tensor(COLUMNS[name])[:, None], most)
    bins.check(1)
    assert 1 <= bins.sizes[0] <= most
    knots, _, tail = bins._law(0)
    assert float(bins.mass(0).sum()) == pytest.approx(1)
    total = 0.0
    ends = torch.cat([knots[:1] - 40 * tail, knots, knots[-1:] + 40 * tail])
    for low, high in itertools.pairwise(ends):  # the law jumps at knots only
        middles = low + (high - low) * (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
        total += float(density(bins, middles[:, None]).mean() * (high - low))
    assert total == pytest.approx(1, abs=3e-5)  # a tail in 2000 steps


def test_few_values_have_levels_of_their_own():
    bins = Bins.fit(torch.tensor([0.0] * 97 + [1.0] * 2 + [5.0])[:, None], 8)
    assert bins.level(torch.tensor([[0.0], [1.0], [5.0]], dtype=torch.float64))[:, 0].tolist() == [0, 1, 2]
    assert bins.mass(0).tolist() == pytest.approx([0.97, 0.02, 0.01], abs=0.01)


@pytest.mark.parametrize("name", ["normal", "skewed"])
def test_draws_follow_the_training_column(name):
    """Kolmogorov-Smirnov at 1e-3: one false alarm in a thousand seeds."""
    bins = Bins.fit(torch.tensor(COLUMNS[name])[:, None], 8)
    rng = torch.Generator().manual_seed(1)
    levels = torch.multinomial(bins.mass(0), 4000, replacement=True, generator=rng)[:, None]
    x = bins.draw(levels.double(), rng)
    assert torch.equal(bins.level(x), levels.double())
    cdf = lambda v: bins._cdf(0, torch.as_tensor(np.asarray(v))).numpy()  # noqa: E731
    assert kstest(x[:, 0].numpy(), cdf).pvalue > 1e-3
    assert kstest(COLUMNS[name], cdf).statistic < 0.01, "the law is that of the records"
    for level, mean in enumerate(bins.means(0).tolist()):
        inside = x[levels[:, 0] == level, 0]
        assert mean == pytest.approx(float(inside.mean()), abs=5 * float(inside.std()) / len(inside) ** 0.5)


def test_a_range_keeps_its_share_of_every_level():
    bins = Bins.fit(torch.tensor(COLUMNS["normal"])[:, None], 8)
    low, high = 3.1, 7.7
    share = bins.share(0, low, high)
    rng = torch.Generator().manual_seed(2)
    levels = torch.arange(8).repeat_interleave(5000)[:, None].double()
    x = bins.draw(levels, rng)[:, 0]
    counted = ((x >= low) & (x <= high)).double().view(8, -1).mean(1)
    assert torch.allclose(share, counted, atol=0.03)
    assert float(bins.share(0, -np.inf, np.inf).min()) == 1
    some = levels[share[levels[:, 0].long()] > 0]
    narrowed = bins.draw(some, rng, {0: (low, high)})
    assert bool(((narrowed >= low) & (narrowed <= high)).all())
    assert torch.equal(bins.level(narrowed), some)


def test_unknown_values_have_no_level_and_no_density():
    x = torch.tensor(np.stack([COLUMNS["normal"], COLUMNS["skewed"]], 1))
    bins = Bins.fit(x, 4)
    x[::2, 0] = torch.nan
    assert bool(bins.level(x)[::2, 0].isnan().all())
    assert not bool(bins.level(x)[:, 1].isnan().any())
    assert bool((bins.log_density(x)[::2, 0] == 0).all())
    assert torch.equal(bins.log_density(x)[:, 1], Bins.fit(x[:, 1:], 4).log_density(x[:, 1:])[:, 0])


@pytest.mark.parametrize("damage", ["knots", "cdf", "tails", "cuts"])
def test_damaged_state_is_noticed(damage):
    bins = Bins.fit(torch.tensor(COLUMNS["normal"])[:, None], 4)
    state = {"knots": bins.knots, "cdf": bins.cdf, "tails": bins.tails, "cuts": bins.cuts}
    state[damage] = state[damage].flip(-1) if damage != "tails" else -state[damage]
    with pytest.raises(ValueError, match="bins: "):
        Bins(**state).check(1)


def test_a_table_becomes_levels_and_comes_back():
    codec = TableCodec(frozenset({"real", "category"}), True).fit(Records("table", customers(500, 0), target="churn"))
    code = codec.encode(Records("table", customers(300, 1), target="churn"))
    cells = Cells(codec.layout, Bins.fit(code.x[:, codec.layout.columns("real")], 6))
    levels = cells.encode(code.x)
    assert torch.equal(torch.isnan(levels), torch.isnan(code.x))
    assert float(cells.levels.one_hot(levels).sum()) == float((~torch.isnan(levels)).sum())
    rng = torch.Generator().manual_seed(0)
    x = cells.decode(torch.nan_to_num(levels), rng)
    assert torch.equal(torch.isnan(x), torch.isnan(codec.layout.shut_gates(torch.nan_to_num(code.x.clone()))))
    again = cells.encode(x)
    assert torch.equal(again.nan_to_num(-1.0), levels.where(~torch.isnan(x), torch.nan).nan_to_num(-1.0))
    given = codec.given({"age": "30:40", "plan": "pro"})
    kept = cells.evidence(Given(given.x, given.y, given.ranges))
    assert kept.min() >= 0
    assert kept.max() <= 1
    assert float(cells.levels.total(kept[None]).min()) > 0
    frame = pd.DataFrame({"n": (kept > 0).numpy(), "of": cells.levels.owner.numpy()}).groupby("of").n.sum()
    plan = cells.levels.columns.index(codec.layout.where["plan"].start)
    assert frame[plan] == 1
