"""Heads: each factor against its closed form, mass one, samples that follow the density, gradients at the extremes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import log_softmax, logsumexp
from torch import Tensor

from genlearn.errors import Problem
from genlearn.layout import Field, Layout

# Heads compute in float32: terms of size 10 carry an error of about 1e-6; ten times that is allowed.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}

REAL = Layout((Field("x", "real"),))
GREY = Layout((Field("x", "ordered", levels=17, loc=8.0, scale=8.0),))
COUNT = Layout((Field("x", "ordered", levels=40, loc=12.0, scale=4.0, bounded=False),))
PIXELS = Layout((Field("x", "binary", (1, 2, 2)),))
PLAN = Layout((Field("x", "category", levels=3),))
WAGE = Layout((Field("x?", "category", levels=3, absent=2), Field("x", "real", gate="x?")))
SHOP = Layout(
    (
        Field("spend?", "category", levels=3, absent=2),
        Field("visits", "ordered", levels=4, loc=1.5, scale=1.5, gate="spend?"),
        Field("plan", "category", levels=3, absent=1),
        Field("active", "binary"),
    )
)
RGB = Layout((Field("x", "ordered", (3, 1, 2), levels=4, loc=1.5, scale=1.5),))  # two pixels of three colours
NAMED = [REAL, GREY, COUNT, PIXELS, PLAN, WAGE, SHOP, RGB]
NAMES = ["real", "grey", "count", "pixels", "plan", "wage", "shop", "rgb"]
LAYOUTS = pytest.mark.parametrize("layout", NAMED, ids=NAMES)


def params(layout: Layout, n: int = 50, seed: int = 0) -> Tensor:
    return torch.randn(n, layout.head_size, generator=torch.Generator().manual_seed(seed))


def score(layout: Layout, row: Tensor, values: np.ndarray) -> np.ndarray:
    """Log probabilities of codes under one row of parameters."""
    x = torch.as_tensor(values, dtype=torch.float64).reshape(-1, layout.size)
    return layout.head(row.expand(len(x), -1)).log_prob(x).double().numpy()


# -- factors ---------------------------------------------------------------------------------------------------------
def test_real_factor_is_the_normal_density() -> None:
    p, x = params(REAL), np.random.default_rng(0).normal(0, 3, (50, 1))
    aim = stats.norm(p[:, 0].double(), p[:, 1].double().exp()).logpdf(x[:, 0])
    np.testing.assert_allclose(REAL.head(p).log_prob(torch.from_numpy(x)), aim, **CLOSE)


@pytest.mark.parametrize("layout", [GREY, COUNT], ids=["bounded", "open"])
def test_ordered_factor_is_a_difference_of_logistic_distribution_functions(layout: Layout) -> None:
    field, p = layout.fields[0], params(layout).double()
    k = np.random.default_rng(1).integers(0, field.levels, 50)
    centre, scale = field.loc + field.scale * p[:, 0].numpy(), field.scale * p[:, 1].exp().numpy()
    law = stats.logistic(centre, scale)
    top = np.where(field.bounded & (k == field.levels - 1), np.inf, k + 0.5)
    bottom = np.where(field.bounded & (k == 0), -np.inf, k - 0.5)
    upper_tail = bottom > centre  # there the survival function keeps the digits that the distribution function loses
    aim = np.where(upper_tail, law.sf(bottom) - law.sf(top), law.cdf(top) - law.cdf(bottom))
    found = layout.head(p.float()).log_prob(torch.from_numpy(k).double()[:, None])
    np.testing.assert_allclose(found, np.log(aim), **CLOSE)


def test_ordered_factor_is_exact_where_the_difference_underflows() -> None:
    row = torch.tensor([0.0, -4.0])  # scale exp(-4): level 40 lies 382 scales from the centre
    field = COUNT.fields[0]
    s = field.scale * math.exp(-4)
    a, b = (40.5 - field.loc) / s, (39.5 - field.loc) / s
    aim = -b + math.log1p(-math.exp(b - a))  # log(sig(a) - sig(b)) = log(e^-b - e^-a) up to e^-b, which is 0 here
    np.testing.assert_allclose(score(COUNT, row, np.array([40])), aim, rtol=1e-5)


def test_binary_factor_is_bernoulli() -> None:
    p = params(PIXELS)
    x = torch.randint(0, 2, (50, 4), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    aim = stats.bernoulli(torch.sigmoid(p.double())).logpmf(x).sum(1)
    np.testing.assert_allclose(PIXELS.head(p).log_prob(x), aim, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_of_bits_have_the_values_and_slopes_of_their_terms(dtype: torch.dtype) -> None:
    """More rows than are computed at a time, and logits of which both ends are sure."""
    rng = torch.Generator().manual_seed(0)
    bits = Layout((Field("x", "binary", (1, 30, 30)),)).groups[0]
    params = (30 * torch.randn(400, 900, generator=rng)).to(dtype).requires_grad_()
    value = (torch.rand(400, 900, generator=rng) < 0.4).to(torch.uint8)
    weights = torch.rand(400, generator=rng)
    found, terms = bits.nats(params, value), bits.log_prob(params, value).sum(1)
    assert torch.equal(found, terms)
    slopes = [torch.autograd.grad((weights * nats).sum(), params)[0].float() for nats in (found, terms)]
    assert torch.allclose(*slopes, rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_category_factor_is_softmax() -> None:
    p = params(PLAN)
    k = np.random.default_rng(3).integers(0, 3, 50)
    aim = log_softmax(p.double().numpy(), 1)[np.arange(50), k]
    np.testing.assert_allclose(PLAN.head(p).log_prob(torch.from_numpy(k).double()[:, None]), aim, **CLOSE)


def test_parameters_are_grouped_by_kind() -> None:
    """Two reals and a category around a binary: parameters stand as mu mu s s, logit, logits."""
    layout = Layout((Field("a", "real"), Field("b", "binary"), Field("c", "category", levels=2), Field("d", "real")))
    p, x = params(layout, 1)[0].double(), np.array([0.3, 1, 1, -2.0])
    mean, log_sd, logit, logits = p[:2], p[2:4], p[4], p[5:]
    aim = stats.norm(mean, log_sd.exp()).logpdf(x[[0, 3]]).sum() + stats.bernoulli(torch.sigmoid(logit)).logpmf(1)
    np.testing.assert_allclose(score(layout, p.float(), x), aim + log_softmax(logits.numpy())[1], **CLOSE)


def test_levels_may_come_as_bytes() -> None:
    """uint8 images and float64 codes score alike."""
    p, x = params(GREY), torch.arange(50)[:, None] % 17
    scores = [GREY.head(p).log_prob(x.to(dtype)) for dtype in (torch.uint8, torch.float32, torch.float64)]
    assert torch.equal(scores[0], scores[1])
    assert torch.equal(scores[0], scores[2])


# -- mass ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("log_scale", [-9.0, -3.0, 0.0, 2.0])
@pytest.mark.parametrize("mean", [-3.0, 0.0, 0.9])
def test_the_mass_of_a_lattice_is_one(mean: float, log_scale: float) -> None:
    row = torch.tensor([mean, log_scale])
    bounded = score(GREY, row, np.arange(17))
    assert math.isclose(math.exp(logsumexp(bounded)), 1, abs_tol=1e-5)
    field = COUNT.fields[0]
    reach = 40 + int(60 * field.scale * math.exp(max(log_scale, -7)))  # beyond it lies less than exp(-50)
    open_ends = score(COUNT, row, np.arange(-reach, reach))
    assert math.isclose(math.exp(logsumexp(open_ends)), 1, abs_tol=1e-5)


def cells(layout: Layout) -> np.ndarray:
    """All codes of a discrete layout, with NaN behind shut gates."""
    codes = np.array(list(itertools.product(*(range(f.levels or 2) for f in layout.fields))), dtype=float)
    shut = np.unique(np.nan_to_num(layout.shut_gates(torch.from_numpy(codes)).numpy(), nan=-1), axis=0)
    return np.where(shut < 0, np.nan, shut)


def test_the_mass_of_a_discrete_layout_with_a_gate_is_one() -> None:
    for row in params(SHOP, 5):
        assert math.isclose(math.exp(logsumexp(score(SHOP, row, cells(SHOP)))), 1, abs_tol=1e-5)


def test_atoms_and_numbers_together_have_mass_one() -> None:
    for row in params(WAGE, 5):
        atoms = score(WAGE, row, np.array([[1, np.nan], [2, np.nan]]))
        mean, sd = float(row[0]), math.exp(row[1])
        grid = np.linspace(mean - 9 * sd, mean + 9 * sd, 2001)
        density = np.exp(score(WAGE, row, np.stack([np.zeros(2001), grid], 1)))
        mass = np.exp(atoms).sum() + np.trapezoid(density, grid)
        assert math.isclose(mass, 1, abs_tol=1e-5)  # the trapezoid rule is exact to rounding for a normal density


def test_unknown_values_are_summed_out() -> None:
    """NaN in a category or a binary value gives the sum over its levels; all NaN gives log 1."""
    for row in params(SHOP, 5):
        known = score(SHOP, row, np.array([[1, np.nan, k, b] for k in range(3) for b in range(2)]))
        unknown = score(SHOP, row, np.array([1, np.nan, np.nan, np.nan]))
        np.testing.assert_allclose(unknown, logsumexp(known), **CLOSE)
    assert not score(SHOP, row, np.full(4, np.nan)).any()


# -- samples ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(3))
def test_samples_of_a_discrete_layout_follow_its_probabilities(seed: int) -> None:
    """Chi-square over all 36 cells, 20,000 draws; a right sampler fails with probability 1e-4 per seed (seeds are fixed)."""
    row, all_cells = params(SHOP, 1, seed)[0], cells(SHOP)
    draws = SHOP.head(row.expand(20_000, -1)).sample(torch.Generator().manual_seed(seed)).numpy()
    place = {tuple(np.nan_to_num(c, nan=-1)): i for i, c in enumerate(all_cells)}
    seen = np.bincount([place[tuple(d)] for d in np.nan_to_num(draws, nan=-1)], minlength=len(all_cells))
    p = np.exp(score(SHOP, row, all_cells))
    assert stats.chisquare(seen, 20_000 * p / p.sum()).pvalue > 1e-4


@pytest.mark.parametrize("layout", [GREY, COUNT], ids=["bounded", "open"])
def test_samples_of_a_lattice_follow_its_probabilities(layout: Layout) -> None:
    """Chi-square with tails pooled until 20 are expected, false alarms 1e-4."""
    row, levels = torch.tensor([0.6, -0.7]), np.arange(-60, 90)
    draws = layout.head(row.expand(20_000, -1)).sample(torch.Generator().manual_seed(1)).numpy()[:, 0]
    if layout is GREY:
        assert 0 <= draws.min() <= draws.max() == 16
        levels = np.arange(17)
    expected = 20_000 * np.exp(score(layout, row, levels))
    seen = np.array([(draws == k).sum() for k in levels])
    rare = np.where(expected > 20, levels, levels.max() + 1)  # one cell for all levels beyond the first rare one
    seen, expected = (np.bincount(np.unique(rare, return_inverse=True)[1], a) for a in (seen, expected))
    assert stats.chisquare(seen, expected * 20_000 / expected.sum()).pvalue > 1e-4


def test_samples_of_numbers_follow_their_density() -> None:
    """Kolmogorov-Smirnov, false alarms 1e-4; the number is NaN exactly where its gate is shut."""
    row = torch.tensor([2.0, 0.5, 0.4, -0.2, 0.1])
    draws = WAGE.head(row.expand(20_000, -1)).sample(torch.Generator().manual_seed(5)).numpy()
    shut = draws[:, 0] != 0
    assert np.array_equal(shut, np.isnan(draws[:, 1]))
    assert stats.kstest(draws[~shut, 1], stats.norm(2, math.exp(0.5)).cdf).pvalue > 1e-4


@LAYOUTS
def test_same_generator_same_sample(layout: Layout) -> None:
    head = layout.head(params(layout))
    a, b, c = (head.sample(torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(a.nan_to_num(-9), b.nan_to_num(-9))
    assert not torch.equal(a.nan_to_num(-9), c.nan_to_num(-9))
    assert a.dtype == torch.float64
    assert a.shape == (50, layout.size)
    assert torch.isfinite(head.log_prob(a)).all()


@pytest.mark.parametrize("layout", [REAL, COUNT, PIXELS, PLAN], ids=["real", "count", "pixels", "plan"])
def test_the_mean_is_the_most_likely_code(layout: Layout) -> None:
    head = layout.head(params(layout, 200))
    draws = head.sample(torch.Generator().manual_seed(0))
    assert (
        head.log_prob(head.mean()) >= head.log_prob(draws) - 1e-6
    ).all()  # equal up to rounding where a draw hits it


def test_the_mean_stays_on_a_bounded_lattice_and_behind_open_gates() -> None:
    far = GREY.head(torch.tensor([[-5.0, 0.0], [0.3, 0.0], [5.0, 0.0]]))
    assert far.mean().flatten().tolist() == [0, 10, 16]
    gates = WAGE.head(torch.tensor([[7.0, 0, 1, 0, 0], [7.0, 0, 0, 1, 0]])).mean()
    assert gates.nan_to_num(-1).tolist() == [[0, 7], [1, -1]]


def test_without_absent_is_the_law_given_that_nothing_is_missing() -> None:
    p = params(SHOP)
    head, given = SHOP.head(p), SHOP.head(p).without_absent()
    draws = given.sample(torch.Generator().manual_seed(0))
    assert not ((draws[:, 0] == 2) | (draws[:, 2] == 1)).any()
    here = torch.stack([1 - torch.softmax(p[:, -6:-3], 1)[:, 2], 1 - torch.softmax(p[:, -3:], 1)[:, 1]], 1)
    np.testing.assert_allclose(given.log_prob(draws), head.log_prob(draws) - here.log().sum(1), **CLOSE)
    gone = torch.tensor([[2, math.nan, 0, 0]]).double()
    assert given.log_prob(gone.expand(50, -1)).eq(-math.inf).all()
    assert torch.isfinite(given.log_prob(torch.full((50, 4), math.nan))).all(), "what is unknown stays out of the sum"


# -- mixtures --------------------------------------------------------------------------------------------------------
def mixed(layout: Layout, parts: int, n: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(n, layout.head_params(parts), generator=torch.Generator().manual_seed(seed))


def logs(layout: Layout, row: Tensor, values: np.ndarray, parts: int) -> np.ndarray:
    x = torch.as_tensor(values, dtype=torch.float64).reshape(-1, layout.size)
    return layout.head(row.expand(len(x), -1), parts).log_prob(x).double().numpy()


def every(layout: Layout) -> np.ndarray:
    """All codes of a lattice."""
    return np.array(list(itertools.product(range(layout.fields[0].levels), repeat=layout.size)), dtype=float)


def test_a_mixture_is_the_weighted_sum_of_its_parts() -> None:
    """Of one value: weights, centres and scales stand part by part, and each part is the factor without mixtures."""
    row = mixed(GREY, 3)[0]
    logit, mean, log_scale = row.view(3, 3).T
    parts = [score(GREY, torch.stack([m, s]), np.arange(17)) for m, s in zip(mean, log_scale, strict=True)]
    aim = logsumexp(log_softmax(logit.double().numpy())[:, None] + np.stack(parts), axis=0)
    np.testing.assert_allclose(logs(GREY, row, np.arange(17), 3), aim, **CLOSE)


def test_colours_follow_each_other_as_in_pixelcnn() -> None:
    """By the formula, pixel by pixel and channel by channel, with factors of one value each."""
    parts, one = 2, Layout((Field("x", "ordered", levels=4, loc=1.5, scale=1.5),))
    raw, x = (
        mixed(RGB, parts)[0].view(parts, 10, 2),
        np.array([3, 0, 1, 2, 0, 3]),
    )  # channel by channel, two pixels each
    u = (x.reshape(3, 2) - 1.5) / 1.5
    aim = 0.0
    for pixel in range(2):
        inside = log_softmax(raw[:, 0, pixel].double().numpy())
        for k in range(parts):
            _, *rest = raw[k, :, pixel].double().tolist()
            mean, log_scale, slope = rest[:3], rest[3:6], np.tanh(rest[6:])
            red, green = u[:2, pixel]
            for c, moved in enumerate([0.0, slope[0] * red, slope[1] * red + slope[2] * green]):
                row = torch.tensor([mean[c] + moved, log_scale[c]]).float()
                inside[k] += score(one, row, x.reshape(3, 2)[c : c + 1, pixel])[0]
        aim += logsumexp(inside)
    np.testing.assert_allclose(logs(RGB, mixed(RGB, parts)[0], x, parts)[0], aim, **CLOSE)


@pytest.mark.parametrize("layout", [GREY, RGB, SHOP], ids=["grey", "rgb", "shop"])
def test_the_mass_of_mixtures_is_one(layout: Layout) -> None:
    codes = cells(layout) if layout is SHOP else every(layout)
    for row in mixed(layout, 4, 3):
        assert math.isclose(math.exp(logsumexp(logs(layout, row, codes, 4))), 1, abs_tol=1e-5)


def test_the_mass_of_256_levels_is_one() -> None:
    pixel = Layout((Field("x", "ordered", (1, 1, 1), levels=256, loc=127.5, scale=127.5),))
    for row in mixed(pixel, 10, 3) * 3:
        assert math.isclose(math.exp(logsumexp(logs(pixel, row, np.arange(256), 10))), 1, abs_tol=1e-5)


def test_unknown_colours_are_summed_out() -> None:
    """Every pattern of unknown values against the sum over all codes; two in front of a known one are refused."""
    row, codes = mixed(RGB, 3, seed=2)[0], every(RGB)
    whole, x, refused = logs(RGB, row, codes, 3), codes[1234], 0
    for pattern in itertools.product([False, True], repeat=6):
        hidden = np.array(pattern)
        red, green, blue = hidden.reshape(3, 2)
        seen = np.where(hidden, np.nan, x)
        if (red & green & ~blue).any():
            refused += 1
            with pytest.raises(Problem, match="whole pixels"):
                logs(RGB, row, seen, 3)
        else:
            aim = logsumexp(whole[(codes[:, ~hidden] == x[~hidden]).all(1)])
            np.testing.assert_allclose(logs(RGB, row, seen, 3)[0], aim, **CLOSE)
    assert refused == 15


def test_unknown_values_of_a_mixture_change_nothing_in_other_records() -> None:
    p = mixed(RGB, 3, 4)
    x = torch.randint(0, 4, (4, 6), generator=torch.Generator().manual_seed(0)).double()
    holes = x.clone()
    holes[1, 0] = holes[3] = math.nan
    found = RGB.head(p, 3).log_prob(holes)
    assert torch.equal(found[[0, 2]], RGB.head(p, 3).log_prob(x)[[0, 2]])
    assert found[3] == 0


@pytest.mark.parametrize("layout", [GREY, RGB], ids=["grey", "rgb"])
def test_samples_of_mixtures_follow_their_probabilities(layout: Layout) -> None:
    """Chi-square over levels, or over the 64 colours of the first pixel, 20,000 draws; false alarms 1e-4."""
    row, codes = mixed(layout, 3, seed=1)[0], every(layout)
    draws = layout.head(row.expand(20_000, -1), 3).sample(torch.Generator().manual_seed(1)).numpy()
    levels = layout.fields[0].levels
    first = [0] if layout is GREY else [0, 2, 4]
    base = levels ** np.arange(len(first))
    p = np.bincount((codes[:, first] @ base).astype(int), np.exp(logs(layout, row, codes, 3)))
    seen = np.bincount((draws[:, first] @ base).astype(int), minlength=len(p))
    assert stats.chisquare(seen, 20_000 * p / p.sum()).pvalue > 1e-4


def test_means_of_mixtures() -> None:
    """Of one value: the mean over its levels, rounded. Of colours: of each part, later channels where the earlier ones lie."""
    for row in mixed(GREY, 3, 20):
        mean = np.exp(logs(GREY, row, np.arange(17), 3)) @ np.arange(17)
        assert (
            abs(float(GREY.head(row[None], 3).mean()) - mean) <= 0.51
        )  # the closed form is that of an undivided lattice
    p = 0.2 * mixed(RGB, 2, 50)
    p.view(50, 2, 10, 2)[:, :, 4:7] -= 6  # narrow laws
    p.view(50, 2, 10, 2)[:, 0, 0] += 50  # of one part
    narrow = RGB.head(p, 2)
    assert (narrow.log_prob(narrow.mean()) > -1).float().mean() > 0.8, (
        "where the law is a point, the mean is that point"
    )


def test_mixtures_need_ordered_values_only() -> None:
    for layout in (REAL, PIXELS, PLAN):
        assert layout.head_params(5) == layout.head_size
    assert layout.head_params(1) == layout.head_size
    assert SHOP.head_params(5) == SHOP.head_size - 2 + 15


# -- gradients -------------------------------------------------------------------------------------------------------
@LAYOUTS
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("size", [1.0, 1e3, 1e6])
def test_gradients_are_finite_at_the_extremes(layout: Layout, size: float, parts: int) -> None:
    p = (size * mixed(layout, parts, 64)).requires_grad_()
    x = layout.head(mixed(layout, parts, 64, seed=3), parts).sample(torch.Generator().manual_seed(1))
    x[::4] = math.nan
    log_p = layout.head(p, parts).log_prob(x)
    assert torch.isfinite(log_p).all()
    (gradient,) = torch.autograd.grad(log_p.sum(), p)
    assert torch.isfinite(gradient).all()
    assert size > 1 or gradient.any()


def test_more_axes_are_flattened() -> None:
    p = params(PIXELS)
    x = torch.ones(50, 4)
    assert torch.equal(PIXELS.head(p.view(50, 1, 2, 2)).log_prob(x), PIXELS.head(p).log_prob(x))
