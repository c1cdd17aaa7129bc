"""Theorems of mixtures of tables: masses and moments of cut normals, mass one, exact answers, and EM that never falls."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chisquare, ks_2samp, norm, truncnorm
from torch import Tensor

from genlearn.codecs import Given
from genlearn.codecs.units import Units
from genlearn.data.records import Records
from genlearn.errors import Problem
from genlearn.layout import Code, Field, Layout
from genlearn.metrics.copies import copies
from genlearn.models._axis import Axis
from genlearn.models._cut import cut, edges
from genlearn.models._levels import Levels
from genlearn.models._mixed import Fitter, Rows, State, Tables, places
from genlearn.models.mixture import Mixture
from genlearn.testing import customers

ALARM = 1e-3  # chance that a statistical test of this file fails although the law holds

MIXED = Layout((
    Field("a", "category", levels=3), Field("b", "binary"), Field("g", "category", levels=2, labels=("value", "0")),
    Field("x", "real", gate="g"), Field("k", "real", width=1.0), Field("y", "real"),
))  # fmt: skip


class Stand:
    """A codec that only holds a layout: the code is the data."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.units = layout, Units()


def records(n: int, seed: int) -> Tensor:
    """Draw codes of `MIXED`: everything depends on the first column, some cells are unknown."""
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 3, n)
    b = rng.random(n) < 0.2 + 0.3 * a
    g = rng.random(n) < 0.3
    x = np.where(g, np.nan, rng.normal(a, 0.5))
    k = rng.choice([0, 1, 5, 40], n, p=[0.5, 0.2, 0.2, 0.1]) + rng.random(n) - 0.5
    return torch.tensor(np.column_stack([a, b, g, x, k, rng.normal(0, 1 + a) ** 2]), dtype=torch.float64)


def fitted(layout: Layout, x: Tensor, **settings: object) -> Mixture:
    model = Mixture(random_state=0, **settings)  # type: ignore[arg-type]
    model.seed_, model.codec_ = 0, Stand(layout)  # type: ignore[assignment]
    model._fit(Code(x), None)
    return model


def log_prob(model: Mixture, x: Tensor) -> np.ndarray:
    return model._log_prob(Code(x)).numpy()


@pytest.fixture(scope="module")
def mixed() -> Mixture:
    return fitted(MIXED, records(600, 0), components=40, cells=12)


@pytest.fixture(scope="module")
def table() -> Mixture:
    """Fit three dependent discrete columns: 3 x 2 x 4 cells."""
    layout = Layout((Field("a", "category", levels=3), Field("b", "binary"), Field("k", "category", levels=4)))
    x = records(500, 1)[:, [0, 1, 4]].round()
    x[:, 2] = torch.searchsorted(torch.tensor([0.5, 2.0, 20.0], dtype=torch.float64), x[:, 2].contiguous()).double()
    return fitted(layout, x, components=45)


# -- cut normals -----------------------------------------------------------------------------------------------------
INNER = torch.tensor([-2.5, -0.7, -0.69, 0.4, 6.0], dtype=torch.float64)
AXIS = Axis.of(Levels(Layout((Field("c", "category", levels=6),))), [0], [INNER])


@pytest.mark.parametrize("mean, sd", [(0.0, 1.0), (1.3, 0.2), (-3.0, 2.0), (5.9, 0.05)])
def test_masses_and_moments_of_cells_match_scipy(mean: float, sd: float) -> None:
    at, scale = (torch.tensor([[v]], dtype=torch.float64) for v in (mean, sd))
    mass = AXIS.masses(at, scale)[:, 0].numpy()
    first, second = (m[:, 0].numpy() for m in AXIS.moments(at, scale))
    ends = np.concatenate([[-np.inf], INNER.numpy(), [np.inf]])
    for i, (low, high) in enumerate(itertools.pairwise((ends - mean) / sd)):
        exact = norm.sf(low) - norm.sf(high) if low > 0 else norm.cdf(high) - norm.cdf(low)
        assert mass[i] == pytest.approx(exact, rel=1e-9, abs=1e-29)
        if exact > 1e-9:  # beyond, scipy's own moments lose their digits
            law = truncnorm(low, high)
            assert first[i] == pytest.approx(sd * law.mean(), rel=1e-5, abs=1e-9)
            assert second[i] == pytest.approx(sd**2 * (law.var() + law.mean() ** 2), rel=1e-5, abs=1e-9)


def test_moments_stay_inside_their_cells_however_far_out() -> None:
    """The mean lies in the cell and the mean square between its own square and the edges', up to 400 deviations away."""
    mean, sd = torch.linspace(-20, 20, 41).double()[None], torch.full((1, 41), 0.05).double()
    first, second = AXIS.moments(mean, sd)
    assert bool(torch.isfinite(first).all() & torch.isfinite(second).all())
    assert bool(((first + mean >= AXIS.low[:, None] - 1e-9) & (first + mean <= AXIS.high[:, None] + 1e-9)).all())
    assert bool((second >= first.square() - 1e-12).all())


def test_values_that_repeat_are_drawn_as_they_are(mixed: Mixture) -> None:
    """The lattice column holds 0, 1, 5 and 40 only: what lies between has next to no mass."""
    drawn = mixed._sample(4000, torch.Generator().manual_seed(0), None).x[:, 4].clamp(0, 40).round()
    assert set(drawn.tolist()) == {0.0, 1.0, 5.0, 40.0}
    cells = cut(MIXED, records(600, 0)[:, 3:])
    assert cells.sizes[1] == 4
    assert len(edges(cells)[1]) == 3


def test_wide_records_have_few_cells_and_spikes_their_own() -> None:
    """Neighbouring values share a cell so that each holds about a 24th; one that holds most records stands alone."""
    rng = np.random.default_rng(0)
    values = np.where(rng.random((3000, 101)) < 0.7, 0, rng.integers(1, 200, (3000, 101)))
    layout = Layout(tuple(Field(f"x{j}", "real", width=1.0) for j in range(101)))
    bins = cut(layout, torch.tensor(values + rng.random(values.shape) - 0.5))
    bins.check(101)
    assert max(bins.sizes) <= 24
    share = (values[:, 0] == 0).mean()
    assert float(bins.mass(0)[0]) == pytest.approx(share, abs=1e-3)
    assert float(bins.mass(0)[1:].max()) < 2 / 24
    assert float(bins.mass(0).sum()) == pytest.approx(1, abs=1e-12)


def test_two_modes_stay_apart() -> None:
    """Given one cloud's first number, the second comes from that cloud: all but a few in a hundred."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-3, 1, (200, 2)), rng.normal(3, 1, (200, 2))])
    drawn = Mixture(components=4, random_state=0).fit(x).sample(2000, given={"x0": "1:9"}, random_state=0)
    assert (drawn[:, 1] < 0).mean() < 0.06


# -- mass ------------------------------------------------------------------------------------------------------------
def grid(table: Mixture) -> Tensor:
    return torch.tensor(list(itertools.product(range(3), range(2), range(4))), dtype=torch.float64)


def test_all_cells_of_a_table_have_mass_one_with_every_column_left_out(table: Mixture) -> None:
    x = grid(table)
    whole = np.exp(log_prob(table, x))
    assert whole.sum() == pytest.approx(1, abs=1e-12)
    for j in range(3):
        left = x.clone()
        left[:, j] = torch.nan
        for value in left[:, [i for i in range(3) if i != j]].unique(dim=0):
            rows = (left[:, [i for i in range(3) if i != j]] == value).all(1).numpy()
            assert np.exp(log_prob(table, left[rows][:1]))[0] == pytest.approx(whole[rows].sum(), rel=1e-12)


def test_numbers_integrate_to_the_score_without_them(mixed: Mixture) -> None:
    """Cell by cell between the knots, where the density is constant; the tails by their density at the end times their length."""
    x = records(30, 2)[:5]
    x[:, 2], x[:, 3] = 0, 0.5
    for column, b in ((3, 0), (4, 1), (5, 2)):
        x[:, column] = torch.nan
        knots, tail = mixed.knots_[b].unique(), float(mixed.tails_[b])
        places_ = torch.cat([knots[:1] - 1e-9 * tail, (knots[1:] + knots[:-1]) / 2, knots[-1:] + 1e-9 * tail])
        lengths = np.concatenate([[tail], knots.diff().numpy(), [tail]])
        for row in x:
            every = row.repeat(len(places_), 1)
            every[:, column] = places_
            mass = float((np.exp(log_prob(mixed, every)) * lengths).sum())
            assert mass == pytest.approx(math.exp(log_prob(mixed, row[None])[0]), rel=1e-6)
        far = row.repeat(2, 1)  # a tail falls by e over its length
        far[:, column] = knots[-1] + tail * torch.tensor([1.0, 3.5]).double()
        assert np.diff(log_prob(mixed, far))[0] == pytest.approx(-2.5, rel=1e-9)


def test_score_is_the_sum_over_components(mixed: Mixture) -> None:
    x = records(8, 3)
    cells = mixed._cells
    values = cells.encode(x)[:, cells.levels.columns]
    inside = cells.bins.log_density(x[:, cells.numbers]).sum(1)
    expected = []
    for row, rest in zip(values, inside, strict=True):
        total = 0.0
        for k in range(len(mixed.weights_)):
            p = float(mixed.weights_[k])
            for i, value in enumerate(row.tolist()):
                p *= 1.0 if math.isnan(value) else float(mixed.tables_[k, int(cells.levels.start[i]) + int(value)])
            total += p
        expected.append(math.log(total) + float(rest))
    np.testing.assert_allclose(log_prob(mixed, x), expected, rtol=1e-10)


# -- draws -----------------------------------------------------------------------------------------------------------
def test_draws_follow_the_score(table: Mixture) -> None:
    x = grid(table)
    drawn = table._sample(20_000, torch.Generator().manual_seed(1), None).x
    counts = np.array([(drawn == row).all(1).sum().item() for row in x])
    expected = np.exp(log_prob(table, x)) * len(drawn)
    rare = expected < 5
    pooled = [np.append(v[~rare], v[rare].sum()) if rare.any() else v for v in (counts, expected)]
    assert chisquare(pooled[0], pooled[1] * pooled[0].sum() / pooled[1].sum()).pvalue > ALARM


def test_conditional_draws_equal_rejection(mixed: Mixture) -> None:
    """Given a category, a range of one number and a range of another: two-sample tests of the remaining columns."""
    rng = torch.Generator().manual_seed(2)
    wanted = Given(torch.full((1, 6), torch.nan).double(), ranges={3: (0.3, 1.4), 5: (0.5, 3.0)}, names=("a", "x", "y"))
    wanted.x[0, 0], wanted.x[0, 2] = 1.0, 0.0
    found = mixed._sample(4000, rng, wanted).x
    pool = mixed._sample(150_000, rng, None).x
    kept = pool[(pool[:, 0] == 1) & (pool[:, 2] == 0) & (pool[:, 3] >= 0.3) & (pool[:, 3] <= 1.4)
                & (pool[:, 5] >= 0.5) & (pool[:, 5] <= 3.0)]  # fmt: skip
    assert len(kept) > 1000
    assert bool((found[:, 0] == 1).all() & (found[:, 3] >= 0.3).all() & (found[:, 3] <= 1.4).all())
    for j in (3, 4, 5):
        assert ks_2samp(found[:, j].numpy(), kept[:, j].numpy()).pvalue > ALARM
    share, other = float(found[:, 1].mean()), float(kept[:, 1].mean())
    error = math.sqrt(share * (1 - share) * (1 / len(found) + 1 / len(kept)))
    assert abs(share - other) < norm.isf(ALARM / 2) * error


def test_unknown_values_have_their_conditional_mean(mixed: Mixture) -> None:
    """The mean of a number given the others equals the integral of value times density, cell by cell."""
    x = records(6, 4)
    x[:, 2] = 0
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[:, 5] = False
    filled = mixed._impute(Code(x, None, mask), "mean", torch.Generator()).x
    bins = mixed._cells.bins
    means, at = bins.means(2), bins.mass(2).cumsum(0) - 0.5 * bins.mass(2)
    typical = bins._quantile(2, at)  # a value inside every cell
    for row, found in zip(x, filled, strict=True):
        every = row.repeat(len(typical), 1)
        every[:, 5] = typical
        share = np.exp(log_prob(mixed, every) - bins.log_density(every[:, 3:])[:, 2].numpy())
        assert float(found[5]) == pytest.approx(float((share * means.numpy()).sum() / share.sum()), rel=1e-9)
    torch.testing.assert_close(filled[:, :5], x[:, :5], equal_nan=True)


# -- EM --------------------------------------------------------------------------------------------------------------
def fitter(x: Tensor, smoothing: float, k: int, size: int = 200) -> tuple[Fitter, State]:
    layout = MIXED
    bins = cut(layout, x[:, 3:], 20)
    levels = Levels(layout, cut=dict(zip((3, 4, 5), bins.sizes, strict=True)))
    values = x.clone()
    values[:, 3:] = bins.level(x[:, 3:])
    rows = Rows(places(levels, values[:, levels.columns]), levels.width, size)
    base = levels.share(torch.rand(1, levels.width, generator=torch.Generator().manual_seed(0)).double() + 0.1).T
    loop = Fitter(levels, Axis.of(levels, (3, 4, 5), edges(bins)), rows, base, smoothing, 0.0)
    return loop, loop.labelled(torch.arange(len(x)) % k, k)


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 5.0])
def test_the_objective_never_falls(smoothing: float) -> None:
    """Over 25 passes, with unknown values (float32 sums: 1e-5 nats)."""
    x = records(600, 5)
    x[torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.15] = torch.nan
    loop, state = fitter(x, smoothing, 12)
    climbed = []
    for _ in range(25):
        nats, updated = loop.sweep(state)
        climbed.append(loop.objective(nats, state))
        state = updated
    assert np.diff(climbed).min() > -1e-5
    assert climbed[-1] > climbed[0] + 0.3


def test_counts_are_sums_of_responsibilities() -> None:
    loop, state = fitter(records(90, 6), 1.0, 5, size=90)
    at = loop.rows.chunks[0][0]
    r = torch.rand(90, 5, generator=torch.Generator().manual_seed(0))
    one_hot = torch.nn.functional.one_hot(at.long(), loop.levels.width + 1)[:, :, :-1].sum(1).double()
    torch.testing.assert_close(loop.rows.counts(0, r), one_hot.T @ r.double(), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(loop.rows.frequency(), one_hot.sum(0))
    assert isinstance(state.tables, Tables)


def test_a_stepwise_pass_over_one_chunk_with_a_full_step_is_em() -> None:
    loop, state = fitter(records(300, 7), 0.3, 6, size=300)
    _, full = loop.sweep(state)
    _, step, done = loop.stride(state, -1)  # steps (i + 2 + first) ** -0.6: the first is 1
    assert done == 0
    torch.testing.assert_close(step.tables.tables, full.tables.tables, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(step.tables.weights, full.tables.weights, rtol=1e-6, atol=1e-9)


def test_a_component_of_one_column_is_its_smoothed_frequency() -> None:
    layout = Layout((Field("c", "category", levels=3),))
    x = torch.tensor([[0.0]] * 6 + [[1.0]] * 3 + [[torch.nan]] * 5).double()
    model = fitted(layout, x, components=1, smoothing=2.0)
    base = np.array([6.5, 3.5, 0.5]) / 10.5
    np.testing.assert_allclose(model.tables_[0], (np.array([6, 3, 0]) + 2 * base) / 11, rtol=1e-12)


# -- as a model ------------------------------------------------------------------------------------------------------
def test_column_order_does_not_matter() -> None:
    frame, fresh = customers(400, 1), customers(200, 2)
    back = list(frame)[::-1]
    a, b = (Mixture(components=30, random_state=0).fit(frame[c]).score(fresh[c]) for c in (list(frame), back))
    assert a == pytest.approx(b, abs=0.05)  # dequantisation noise is dealt by column


@pytest.mark.parametrize("components", [None, 50, 200, 450])
def test_components_near_the_number_of_records_are_no_copies(components: int | None) -> None:
    """The tail test accuses one honest model in a hundred; these seeds are none of them."""
    rng = np.random.default_rng(0)
    x, fresh = rng.normal(size=(500, 6)), rng.normal(size=(500, 6))
    model = Mixture(components=components, max_iter=8, random_state=0).fit(x)
    assert copies(x, fresh, model.sample(500, random_state=0)).flag is False


def test_doubled_records_leave_the_law_of_one_component_alone() -> None:
    frame = customers(200, 3)
    one = Mixture(components=1, smoothing=0, random_state=0).fit(frame[["plan", "active"]])
    two = Mixture(components=1, smoothing=0, random_state=0).fit(pd.concat([frame, frame])[["plan", "active"]])
    assert one.score(frame[["plan", "active"]]) == pytest.approx(two.score(frame[["plan", "active"]]), abs=1e-9)


@pytest.mark.parametrize("settings, says", [
    ({"components": 0}, "components must be at least 1"), ({"smoothing": -1.0}, "smoothing must be 0 or more"),
    ({"cells": 2}, "cells must be at least 4"), ({"background": 1.0}, "background must be at least 0 and below 1"),
    ({"components": 500, "cells": 10**9, "max_iter": 1}, ""),
])  # fmt: skip
def test_settings_out_of_range(settings: dict, says: str) -> None:
    if says:
        with pytest.raises(Problem, match=says):
            Mixture(**settings).fit(np.zeros((5, 2)))
    else:
        assert Mixture(**settings, random_state=0).fit(np.random.default_rng(0).normal(size=(50, 2))).passes_ == 1


def test_too_many_components_for_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(3000, 3))
    monkeypatch.setenv("GENLEARN_MEMORY", "16MB")
    with pytest.raises(Problem, match=r"3,000 components .* Set components to \d+"):
        Mixture(components=3000).fit(x)


def test_an_impossible_condition_is_refused() -> None:
    frame = pd.DataFrame({"a": ["x", "y"] * 50, "b": ["u", "v"] * 50})
    model = Mixture(components=2, smoothing=0, random_state=0).fit(Records("table", frame))
    model.tables_ = torch.where(model.tables_ < 1e-9, 0.0, model.tables_)
    with pytest.raises(Problem, match="no record has a, b as asked"):
        model.sample(3, given={"a": "x", "b": "v"})
