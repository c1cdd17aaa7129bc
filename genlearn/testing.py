"""`check_model`: every law of the contract, for any model, chosen by its capabilities.

One model is fitted per (configuration, data) and shared by all checks. Expected failures are declared on the model class,
`xfail = {"check name": "reason"}`; a declared failure that passes is an error.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from sklearn.base import clone

from .counting import listening
from .data.records import Records
from .engine import Batch, Neural
from .errors import MissingCapability, Problem
from .model import CAPABILITIES, Conditional, Encodes, Imputes, Latent, Model, Scores, model_class

CORRELATION = 0.8
_COVARIANCE = np.array([[4.0, 2 * 0.5 * CORRELATION], [2 * 0.5 * CORRELATION, 0.25]])
_CENTRE = np.array([10.0, -1.0])


# -- data ------------------------------------------------------------------------------------------------------------
def gaussian(n: int, seed: int) -> np.ndarray:
    """Draw from the correlated 2-D Gaussian that every model must learn: sd 2 and 0.5, correlation 0.8."""
    return np.random.default_rng(seed).multivariate_normal(_CENTRE, _COVARIANCE, n)


def gaussian_log_density(x: np.ndarray) -> np.ndarray:
    """Return the log density of `gaussian`, nats."""
    from scipy.stats import multivariate_normal

    return multivariate_normal(_CENTRE, _COVARIANCE).logpdf(x)


def customers(n: int, seed: int) -> pd.DataFrame:
    """Draw a mixed table: numbers, counts, categories, a flag, zero inflation, missing cells and a label that depends on them."""
    rng = np.random.default_rng(seed)
    plan = rng.choice(["basic", "plus", "pro"], n, p=[0.5, 0.3, 0.2])
    shift = pd.Series(plan).map({"basic": 0.0, "plus": 1.0, "pro": 2.5}).to_numpy()
    spend = np.where(rng.random(n) < 0.3, 0.0, np.exp(rng.normal(2 + 0.3 * shift, 0.4)))
    wage = rng.normal(30 + 8 * shift, 4)
    region = rng.choice(["north", "south"], n).astype(object)
    region[rng.random(n) < 0.1] = None
    return pd.DataFrame(
        {
            "wage": np.where(rng.random(n) < 0.15, np.nan, wage.round(2)),
            "age": rng.binomial(80, 0.3 + 0.05 * shift) + 10,
            "spend": spend.round(2),
            "plan": plan,
            "region": region,
            "active": rng.random(n) < 0.7,
            "churn": np.where(rng.random(n) < 1 / (1 + np.exp(shift)), "yes", "no"),
        }
    )


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return 400 of scikit-learn's digits as `(n, 8, 8)` uint8 images, with labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images[:400].astype(np.uint8), data.target[:400]


# -- fitted once -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Case:
    """A configuration and the models that checks share."""

    example: Model

    @cache  # noqa: B019  (a case lives as long as the tests)
    def on(self, data: str) -> Model:
        """Return the example fitted on `gaussian`, `customers`, `digits` or `cells`."""
        if data == "gaussian":
            return clone(self.example).fit(gaussian(1200, 1))
        model = self.quick()
        if data == "customers":
            return model.fit(Records("table", customers(700, 1), target="churn"))
        if data == "digits":
            return model.fit(*digits())
        return model.fit(_cells(400, 1))

    def quick(self, **settings: Any) -> Model:
        """Return a fresh copy of the example; where nothing but form is tested, a neural one trains a few steps only."""
        few = {"steps": 40} if isinstance(self.example, Neural) else {}
        return clone(self.example).set_params(**few, **settings)

    @property
    def scores(self) -> bool:
        return isinstance(self.example, Scores)


def _cells(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    size = rng.choice(["small", "large"], n)
    return pd.DataFrame({"size": size, "doors": rng.integers(1, 4, n) + 2 * (size == "large")})


Check = Callable[[Case], None]
_CHECKS: list[tuple[Check, Callable[[Case], bool]]] = []


def _check(when: Callable[[Case], bool] = lambda case: True) -> Callable[[Check], Check]:
    def add(check: Check) -> Check:
        _CHECKS.append((check, when))
        return check

    return add


def _can(capability: type) -> Callable[[Case], bool]:
    return lambda case: isinstance(case.example, capability)


def checks(model: type[Model] | str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield (name, check) for every example of a model and every law that its capabilities call for."""
    cls = model_class(model) if isinstance(model, str) else model
    for i, example in enumerate(cls.examples()):
        case = Case(example)
        for check, applies in _CHECKS:
            if applies(case):
                name = check.__name__
                yield f"{cls.name()}-{i}-{name}", partial(_run, cls, check, case, name)


def check_model(model: type[Model] | str) -> None:
    """Run every check on a model class; raise AssertionError with the law that is broken.

    Example:
        >>> check_model("copycat")
    """
    for name, run in checks(model):
        try:
            run()
        except AssertionError as e:
            raise AssertionError(f"{name}: {e}") from e


def _run(cls: type[Model], check: Check, case: Case, name: str) -> None:
    if name not in cls.xfail:
        check(case)
        return
    try:
        check(case)
    except (AssertionError, Problem):
        return
    raise AssertionError(f"{name} passes but is declared to fail ({cls.xfail[name]}): remove the declaration")


# -- configuration ---------------------------------------------------------------------------------------------------
@_check()
def configuration(case: Case) -> None:
    """Constructor keywords are stored untouched, clone, and are checked in fit."""
    model = clone(case.example)
    assert model.get_params() == case.example.get_params(), "clone changes the settings"
    assert all(s.doc for s in type(model).settings().values()), (
        f"undocumented settings: {[s.name for s in type(model).settings().values() if not s.doc]}"
    )
    assert not [k for k in vars(model) if k.endswith("_")], "the constructor must not learn"
    wrong = clone(case.example).set_params(random_state="seven")
    _raises(Problem, lambda: wrong.fit(gaussian(10, 0)), "a wrong setting")


@_check()
def not_fitted(case: Case) -> None:
    """Using a model before fit says so."""
    _raises(Problem, lambda: clone(case.example).sample(1), "sampling before fit")


@_check()
def absent_capabilities(case: Case) -> None:
    """A missing capability is an error that names models which have it."""
    model = case.on("gaussian")
    calls: dict[type, Callable[[], Any]] = {
        Scores: lambda: model.log_prob(gaussian(2, 0)),
        Encodes: lambda: model.encode(gaussian(2, 0)),
        Imputes: lambda: model.impute(gaussian(2, 0)),
        Conditional: lambda: model.sample(2, given={"x0": 1.0}),
    }
    for capability in CAPABILITIES:
        if not isinstance(model, capability):
            message = _raises(MissingCapability, calls[capability], f"missing {capability.__name__}")
            assert type(model).name() in message, message
            assert "Models that" in message, message


# -- sampling --------------------------------------------------------------------------------------------------------
@_check()
def samples_look_like_the_data(case: Case) -> None:
    """Samples have the type, columns, dtypes, levels and shapes of what fit was given."""
    x = case.on("gaussian").sample(7, random_state=0)
    assert isinstance(x, np.ndarray), type(x)
    assert x.shape == (7, 2), x.shape
    assert np.isfinite(x).all(), "samples of complete numbers must be finite"
    frame, data = case.on("customers").sample(200, random_state=0), customers(700, 1)
    assert list(frame.columns) == list(data.columns), list(frame.columns)
    assert (frame.dtypes == data.dtypes).all(), f"{frame.dtypes} instead of {data.dtypes}"
    assert set(frame["plan"]) <= set(data["plan"]), set(frame["plan"])
    assert not frame[["age", "plan", "active", "churn"]].isna().any().any(), (
        "columns without missing cells stay complete"
    )
    images, labels = case.on("digits").sample(5, random_state=0, return_y=True)
    assert (images.dtype, images.shape) == (np.uint8, (5, 8, 8)), (images.dtype, images.shape)
    assert images.max() <= 16, "grey levels must stay on the training lattice"
    assert set(labels) <= set(range(10)), labels


@_check()
def seeds(case: Case) -> None:
    """Same seed, same sample; other seed or none, another."""
    model = case.on("customers")
    a, b, c = (model.sample(40, random_state=s) for s in (3, 3, 4))
    pd.testing.assert_frame_equal(a, b)
    assert not a.equals(c), "another seed must give other samples"
    assert not model.sample(40).equals(model.sample(40)), "samples without a seed must be fresh"


@_check()
def refit_is_independent(case: Case) -> None:
    """A second fit forgets the first, and the same seed learns the same."""
    once = case.quick(random_state=5).fit(gaussian(150, 3))
    twice = case.quick(random_state=5).fit(_cells(60, 3)).fit(gaussian(150, 3))
    np.testing.assert_array_equal(once.sample(9, random_state=0), twice.sample(9, random_state=0))


@_check()
def save_and_load(case: Case) -> None:
    """A loaded model gives the same bytes."""
    for data in ("customers", "digits"):
        model = case.on(data)
        with tempfile.TemporaryDirectory() as folder:
            loaded = Model.load(model.save(Path(folder) / "model"))
        assert loaded.get_params() == model.get_params()
        a, b = model.draw(12, random_state=1), loaded.draw(12, random_state=1)
        assert np.array_equal(np.asarray(a.x, dtype=object).astype(str), np.asarray(b.x, dtype=object).astype(str))
        if case.scores:
            np.testing.assert_array_equal(model.log_prob(a), loaded.log_prob(b))


@_check()
def learns_a_correlated_gaussian(case: Case) -> None:
    """Means, spreads and correlation of samples come near the source's (n = 2000; tolerances are 5 or more standard errors)."""
    x = case.on("gaussian").sample(2000, random_state=0)
    sd = np.sqrt(np.diag(_COVARIANCE))
    assert (abs(x.mean(0) - _CENTRE) < 0.25 * sd).all(), f"means {x.mean(0)} instead of {_CENTRE}"
    assert (abs(x.std(0) / sd - 1) < 0.25).all(), f"spreads {x.std(0)} instead of {sd}"
    found = np.corrcoef(x.T)[0, 1]
    assert abs(found - CORRELATION) < 0.15, f"correlation {found:.2f} instead of {CORRELATION}"


@_check()
def one_row_and_constants(case: Case) -> None:
    """One row can be learned, and a constant column comes back constant."""
    one = case.quick().fit(pd.DataFrame({"a": [1.5], "b": ["x"]})).sample(3, random_state=0)
    assert one.shape == (3, 2)
    assert set(one["b"]) == {"x"}
    frame = _cells(80, 0).assign(country="NL", year=2020)
    back = case.quick().fit(frame).sample(20, random_state=0)
    assert set(back["country"]) == {"NL"}
    assert set(back["year"]) == {2020}


# -- scores ----------------------------------------------------------------------------------------------------------
@_check(_can(Scores))
def no_score_above_the_source(case: Case) -> None:
    """On fresh data from a known source no mean score exceeds the source's own (by more than 4 standard errors)."""
    fresh = gaussian(3000, 99)
    gap = case.on("gaussian").log_prob(fresh) - gaussian_log_density(fresh)
    error = gap.std() / np.sqrt(len(gap))
    assert gap.mean() < 4 * error, f"{gap.mean():.3f} nats above the source: the density does not integrate to 1"
    assert gap.mean() > -1.5, f"{-gap.mean():.2f} nats below the source: nothing was learned"


@_check(_can(Scores))
def mass_is_one(case: Case) -> None:
    """In data units: the density on a grid over +-8 sd, and all cells of a discrete table, sum to 1.

    The exponential of an importance-weighted bound is an unbiased estimate of the density, from few draws: 5 % are allowed.
    """
    model = case.on("gaussian")
    sd = np.sqrt(np.diag(_COVARIANCE))
    axes = [np.linspace(c - 8 * s, c + 8 * s, 161) for c, s in zip(_CENTRE, sd, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    area = (axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0])
    mass = float(np.exp(model.log_prob(grid)).sum() * area)
    exact = model.kind_ == "exact"
    most = 1.02 if exact else 1.05
    assert mass < most, f"mass {mass:.4f} on the plane"
    assert not exact or mass > 0.97, f"mass {mass:.4f} on the plane"
    model = case.on("cells")
    cells = pd.DataFrame([(s, d) for s in ("small", "large") for d in range(1, 6)], columns=["size", "doors"])
    total = float(np.exp(model.log_prob(cells)).sum())
    assert total < (1.001 if model.kind_ == "exact" else 1.05), f"mass {total:.4f} over all cells"
    assert model.kind_ != "exact" or total > 0.99, f"mass {total:.4f} over all cells"


@_check(_can(Scores))
def order_and_subsets(case: Case) -> None:
    """A record's score depends neither on its neighbours nor on the order (up to rounding)."""
    for data, records in (("customers", Records("table", customers(60, 2), target="churn")), ("digits", None)):
        model = case.on(data)
        records = records or Records("image", digits()[0][:60, :, :, None], digits()[1][:60], "label")
        whole = model.log_prob(records)
        assert whole.shape == (60,)
        assert np.isfinite(whole).all(), "scores must be finite"
        back = np.arange(60)[::-1]
        np.testing.assert_allclose(model.log_prob(records.take(back))[back], whole, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(model.log_prob(records.take(np.arange(5, 9))), whole[5:9], rtol=1e-4, atol=1e-3)


@_check(_can(Scores))
def labels_by_bayes(case: Case) -> None:
    """Chances of labels are shares of the joint scores of every label; the likeliest is predicted."""
    model: Any = case.on("digits")
    images = digits()[0][:8]
    chances = model.predict_proba(images)
    joint = np.stack([model.log_prob(images, np.full(len(images), label)) for label in model.classes_], 1)
    np.testing.assert_allclose(chances, softmax(joint, 1), atol=1e-4)
    np.testing.assert_array_equal(model.predict(images), model.classes_[chances.argmax(1)])


@_check()
def says_how_far_it_is(case: Case) -> None:
    """What is told rises to the end of each loop; who listens gets the same records and numbers as who does not."""
    model: Any = case.on("digits")
    images, y = digits()[0][:3], digits()[1][:3]
    asked: list[tuple[Callable[[], Any], bool]] = [(lambda: model.sample(3, random_state=0), False)]
    if case.scores:
        asked.append((lambda: model.log_prob(images, y), True))
    if isinstance(model, Imputes):
        asked.append((lambda: model.impute(images, images < 8, random_state=0), True))
    for call, counts in asked:
        alone, shares = call(), [1.0]
        with listening(lambda done, of: shares.append(done / of)):  # noqa: B023
            np.testing.assert_array_equal(call(), alone)
        assert all(a < b or a == 1 for a, b in itertools.pairwise(shares)), f"told {shares}"
        assert shares[-1] == 1
        assert len(shares) > 1 or not counts


# -- latent vectors --------------------------------------------------------------------------------------------------
@_check(_can(Encodes))
def latent_space(case: Case) -> None:
    """Encoding is deterministic, decoding gives records; interpolation starts and ends at the reconstructions."""
    model: Any = case.on("digits")
    images = digits()[0][:6]
    z = model.encode(images)
    assert z.shape == (6, model.latents_)
    np.testing.assert_array_equal(z, model.encode(images))
    assert model.decode(z).shape == images.shape
    again = model.reconstruct(images)
    assert (again.shape, again.dtype) == (images.shape, images.dtype)
    path = model.interpolate(images[:1], images[1:2], 5)
    assert path.shape == (5, 8, 8)
    np.testing.assert_array_equal(path[[0, -1]], again[:2])
    assert model.traverse(images[:1], 0, (-1.0, 0.0, 1.0)).shape == (3, 8, 8)
    frame = customers(5, 2)
    assert list(case.on("customers").reconstruct(Records("table", frame, target="churn"))) == list(frame)


@_check(_can(Latent))
def bounds_of_every_record_come_in_order(case: Case) -> None:
    """By Jensen's inequality: no ELBO above its importance-weighted bound; of missing cells and unknown labels, too."""
    images, y = digits()
    frame = customers(6, 2).drop(columns="churn")
    for data, records, labels in (("digits", images[:6], y[:6]), ("customers", frame, None)):
        model: Any = case.on(data)
        found = model.bounds(records, labels, draws=4, ais=3, chains=2)
        values = [estimate.values for estimate in found.named.values()]
        assert all(v.shape == (6,) and np.isfinite(v).all() for v in values)
        assert (values[1] > values[0] - 1e-4 * np.abs(values[0])).all()
    z = model.draw_latents(5, random_state=0)
    assert z.shape == (5, model.latents_)
    np.testing.assert_array_equal(z, model.draw_latents(5, random_state=0))


# -- imputation ------------------------------------------------------------------------------------------------------
@_check(_can(Imputes))
def imputation(case: Case) -> None:
    """Holes are filled, observed cells never change, the same seed fills alike."""
    model: Any = case.on("customers")
    frame = customers(40, 5)
    for how in ("draw", "mean", "mode"):
        full = model.impute(frame, how=how, random_state=0)
        known = frame.notna()
        assert not full.isna().any().any(), f"{how} leaves {full.isna().sum().sum()} cells empty"
        pd.testing.assert_frame_equal(full.where(known), frame.where(known), check_dtype=False)
    pd.testing.assert_frame_equal(model.impute(frame, random_state=1), model.impute(frame, random_state=1))
    images = digits()[0][:4]
    mask = np.zeros((8, 8), bool)
    mask[:, 4:] = True
    filled = case.on("digits").impute(images, mask, random_state=0)
    np.testing.assert_array_equal(filled[:, :, :4], images[:, :, :4])
    assert not np.array_equal(filled, np.where(mask, 0, images)), "the masked half must be filled"


# -- conditions ------------------------------------------------------------------------------------------------------
@_check(_can(Conditional))
def conditions(case: Case) -> None:
    """What is given is kept; names and values that do not exist are errors."""
    model = case.on("customers")
    assert set(model.sample(30, given={"churn": "yes"}, random_state=0)["churn"]) == {"yes"}
    _, labels = case.on("digits").sample(9, given={"label": 3}, return_y=True, random_state=0)
    assert set(labels) == {3}
    _raises(Problem, lambda: model.sample(3, given={"chrun": "yes"}), "an unknown condition")
    _raises(Problem, lambda: model.sample(3, given={"churn": "perhaps"}), "an unknown level")
    if type(model).conditions == "any":  # type: ignore[attr-defined]
        assert set(model.sample(30, given={"plan": "pro"}, random_state=0)["plan"]) == {"pro"}
    else:
        _raises(Problem, lambda: model.sample(3, given={"plan": "pro"}), "a condition on a feature")


# -- training --------------------------------------------------------------------------------------------------------
@_check(_can(Neural))
def every_parameter_learns(case: Case) -> None:
    """The turns of all stages together give every parameter a gradient."""
    for data in ("customers", "digits"):
        model: Any = clone(case.example).set_params(steps=1)
        if data == "digits":
            model.fit(*digits())
            records = Records("image", digits()[0][:64, :, :, None], digits()[1][:64], "label")
        else:
            records = Records("table", customers(64, 1), target="churn")
            model.fit(records)
        code = model.codec_.encode(records)
        net = model.build()
        moved: set[int] = set()
        for stage in model.stages(net):
            cache: dict[str, Any] = {}
            for turn in stage.turns:
                batch = Batch(code.x, code.y, torch.Generator().manual_seed(0), 0.5, 0, cache)
                loss = turn.loss(batch)[0]
                grads = torch.autograd.grad(loss, turn.parameters(), allow_unused=True)
                moved |= {
                    id(p) for p, g in zip(turn.parameters(), grads, strict=True) if g is not None and g.abs().sum() > 0
                }
        still = [name for name, p in net.named_parameters() if id(p) not in moved]
        assert not still, f"no gradient reaches {still} on {data}"


@_check(lambda case: isinstance(case.example, Neural) and case.scores)
def the_loss_falls(case: Case) -> None:
    """The mean of the last tenth of the training scores lies above that of the first tenth."""
    nats: list[float] = []
    clone(case.example).fit(
        gaussian(600, 1), watch=[lambda e: nats.append(e.values["nats"]) if "nats" in e.values else None]
    )
    tenth = max(1, len(nats) // 10)
    assert np.mean(nats[-tenth:]) > np.mean(nats[:tenth]), "training does not improve the score"


def _raises(error: type[Exception], call: Callable[[], Any], what: str) -> str:
    try:
        call()
    except error as e:
        message = str(e)
        assert message, f"{what}: the message is empty"
        assert "\n" not in message, f"{what}: the message must be one line"
        return message
    raise AssertionError(f"{what} must raise {error.__name__}")
