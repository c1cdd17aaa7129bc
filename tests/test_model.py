"""The contract: what a fit leaves behind in each case, randomness as an argument, answers to what a model cannot do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from torch import Tensor

from genlearn.data.records import Dataset, Records
from genlearn.errors import Interrupted, MissingCapability, Problem, RunFailed
from genlearn.estimator import NotFitted
from genlearn.layout import Code
from genlearn.model import Conditional, Event, Model, Scores
from genlearn.models import GMM, Copycat


class Mean(Scores, Model):
    """Remembers the mean of what it saw; fails on demand.

    Arguments:
        fails: What to raise halfway.
        usable: Whether the failure leaves good weights.
        power: A number.
    """

    fails: str = "never"
    usable: bool = False
    power: float = 2.0

    takes = frozenset({"real", "category"})

    def _fit(self, code: Code, valid: Code | None) -> None:
        self.middle_: Tensor = code.x.mean(0)
        self.valid_rows_ = None if valid is None else len(valid)
        self.valid_labels_ = None if valid is None or valid.y is None else valid.y.tolist()
        self._tell(1, 2, 0.1, note="halfway", nats=float(len(code)))
        if self.fails != "never":
            kinds = {"bug": ZeroDivisionError, "run": RunFailed, "stop": Interrupted, "key": KeyboardInterrupt}
            error = kinds[self.fails]("halfway")
            if self.usable:
                error.usable = True  # type: ignore[attr-defined]
            raise error
        self.done_ = True

    def _sample(self, n: int, rng: torch.Generator, given: Any) -> Code:
        labels = self._draw_labels(n, rng, given)
        return Code(self.middle_ + torch.randn(n, self.layout_.size, generator=rng).double(), labels)

    def _log_prob(self, code: Code) -> Tensor:
        return -(code.x - self.middle_).square().sum(1)


class Labelled(Conditional, Mean):
    """The same under a label."""


def numbers(n: int = 30, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 2))


def learned(model: Model) -> dict[str, Any]:
    return {k: v for k, v in vars(model).items() if k.endswith("_")}


# -- what a fit leaves -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fails", "error"), [("bug", ZeroDivisionError), ("run", RunFailed), ("key", KeyboardInterrupt)]
)
def test_a_failed_fit_leaves_what_was_there(fails: str, error: type[BaseException]) -> None:
    model = Mean(random_state=0).fit(numbers())
    before, sample = learned(model), model.sample(5, random_state=1)
    with pytest.raises(error):
        model.set_params(fails=fails, random_state=4).fit(pd.DataFrame({"other": ["a", "b"] * 9}), out="nowhere")
    after = learned(model)
    assert after.keys() == before.keys()
    assert all(after[k] is before[k] for k in before)
    np.testing.assert_array_equal(model.sample(5, random_state=1), sample)
    assert "_run" not in vars(model)


def test_a_first_fit_that_fails_leaves_nothing() -> None:
    model = Mean(fails="bug")
    with pytest.raises(ZeroDivisionError):
        model.fit(numbers())
    assert learned(model) == {}
    with pytest.raises(NotFitted, match=r"this test_model is not fitted yet. Call fit\(data\) first."):
        model.sample(1)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (np.empty((0, 2)), "no records to learn from"),
        (pd.DataFrame({"id": [f"u{i}" for i in range(50)]}), "nothing to model"),
        ("/nowhere/at/all.csv", "/nowhere/at/all.csv"),
        (object(), "cannot read"),
    ],
)
def test_data_that_cannot_be_learned_leaves_what_was_there(data: Any, says: str) -> None:
    model = Mean(random_state=0).fit(numbers())
    before = learned(model)
    with pytest.raises(Problem, match=says) as problem:
        model.fit(data)
    assert "\n" not in str(problem.value)
    assert learned(model) == before


@pytest.mark.parametrize(("fails", "usable"), [("stop", False), ("run", True)])
def test_a_stopped_fit_leaves_the_best_so_far(fails: str, usable: bool) -> None:
    model = Mean(random_state=0).fit(numbers())
    with pytest.raises((Interrupted, RunFailed)):
        model.set_params(fails=fails, usable=usable).fit(numbers(seed=1) + 100)
    assert not hasattr(model, "done_"), "what the first fit learned is gone"
    assert model.sample(9, random_state=0).mean() == pytest.approx(100, abs=3)


def test_a_second_fit_forgets_the_first() -> None:
    labels = np.array(["a", "b", "b"] * 10)
    model = Mean(random_state=0).fit(numbers(), labels)
    assert model.label_prior_.tolist() == pytest.approx([11 / 32, 21 / 32])  # (count + 1) / (n + 2)
    assert model.fit(numbers()).layout_.target is None
    assert not hasattr(model, "label_prior_")
    fresh = Mean(random_state=0).fit(numbers())
    np.testing.assert_array_equal(model.sample(4, random_state=0), fresh.sample(4, random_state=0))


def test_watchers_hear_of_the_fit() -> None:
    heard: list[Event] = []
    model = Mean(random_state=0).fit(numbers(), watch=[heard.append])
    (event,) = heard
    assert event.model is model
    assert (event.stage, event.step, event.steps, event.values) == ("fit", 1, 2, {"nats": 30.0})
    assert (event.note, event.done) == ("halfway", False)


# -- data ------------------------------------------------------------------------------------------------------------
def test_validation_records_come_in_several_forms() -> None:
    x, y = numbers(), np.array(["a", "b"] * 15)
    records = Records("table", pd.DataFrame(x, columns=["u", "v"]))
    data = Dataset("d", records, records.take(slice(0, 7)), records.take(slice(7, 9)))
    assert Mean().fit(data).valid_rows_ == 7
    assert Mean().fit(data, valid=records).valid_rows_ == 30
    assert Mean().fit(x, valid=x[:4]).valid_rows_ == 4
    assert Mean().fit(x, valid=x[:0]).valid_rows_ is None
    assert Mean().fit(x).valid_rows_ is None
    assert Mean().fit(x, y, valid=(x[:3], ["b", "a", "b"])).valid_labels_ == [1, 0, 1]
    assert Mean().fit(x, y, valid=x[:2]).valid_labels_ == [-1, -1]


def test_samples_look_like_what_fit_was_given() -> None:
    frame = pd.DataFrame(numbers(), columns=["u", "v"]).astype({"u": "float32"})
    sample = Mean(random_state=0).fit(frame).sample(3)
    assert list(sample.dtypes) == [np.float32, np.float64]
    x, y = Mean(random_state=0).fit(numbers(), [True, False] * 15).sample(4, return_y=True)
    assert (x.shape, y.dtype) == ((4, 2), bool)


# -- randomness ------------------------------------------------------------------------------------------------------
def test_seeds_are_kept_and_decide() -> None:
    model = Mean().fit(numbers())
    assert 0 <= model.seed_ < 2**31
    assert Mean().fit(numbers()).seed_ != model.seed_  # equal with probability 5e-10
    assert Mean(random_state=7).fit(numbers()).seed_ == 7
    draws = [model.sample(3, random_state=s) for s in (0, 0, 1, None, None)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert len({d.tobytes() for d in draws[1:]}) == 4


@pytest.mark.parametrize("seed", [-1, 2**40, 2**80, np.int64(3)])
def test_any_whole_number_is_a_seed(seed: int) -> None:
    model = Mean(random_state=seed).fit(numbers())
    np.testing.assert_array_equal(model.sample(2, random_state=seed), model.sample(2, random_state=seed))


def test_generators_depend_on_seed_and_purpose() -> None:
    model = Mean(random_state=0).fit(numbers())
    states = [model._rng(p).get_state() for p in ("score", "importance", "score")]
    assert torch.equal(states[0], states[2])
    assert not torch.equal(states[0], states[1])
    assert not torch.equal(states[0], Mean(random_state=1).fit(numbers())._rng("score").get_state())


def test_nothing_touches_the_global_generators() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    Mean().fit(numbers()).sample(3)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


# -- configuration ---------------------------------------------------------------------------------------------------
def test_keywords_are_the_configuration() -> None:
    model = Mean(power=3, random_state=1)
    assert model.get_params() == {"random_state": 1, "fails": "never", "usable": False, "power": 3}
    assert repr(model) == "Mean(power=3, random_state=1)"
    assert clone(model).get_params() == model.get_params()
    assert Mean.settings()["power"].doc == "A number."
    with pytest.raises(TypeError, match="positional"):
        Mean(3)  # type: ignore[misc]


def test_keywords_are_checked_by_fit() -> None:
    with pytest.raises(Problem, match=r"test_model: power must be a number, not 'much'\."):
        Mean(power="much").fit(numbers())  # type: ignore[arg-type]


def test_a_pipeline_of_scikit_learn_takes_a_model() -> None:
    model = make_pipeline(GMM(components=1, random_state=0)).fit(numbers())
    assert np.isfinite(model.score(numbers()))


def test_models_can_be_copied() -> None:
    model = Mean(random_state=0).fit(numbers())
    np.testing.assert_array_equal(copy.deepcopy(model).sample(3, random_state=0), model.sample(3, random_state=0))


# -- answers ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda m: m.encode, r"test_model has no latent space. Models that encode: .*\bvae\b"),
        (lambda m: m.transform, "has no latent space"),
        (lambda m: m.impute_records, r"test_model cannot fill in missing values. Models that impute: .*\bgmm\b"),
        (
            lambda m: m.sample(1, given={"a": 1}),
            r"test_model cannot sample under conditions. Models that can: .*\bgmm\b",
        ),
    ],
)
def test_what_is_lacking_is_answered_with_models_that_have_it(ask: Callable[[Model], Any], says: str) -> None:
    model = Mean(random_state=0).fit(numbers())
    with pytest.raises(MissingCapability, match=says):
        ask(model)
    assert not hasattr(model, "encode")


def test_a_model_without_a_score_says_so() -> None:
    for ask in (lambda m: m.score(numbers()), lambda m: m.kind_):
        with pytest.raises(MissingCapability, match=r"copycat has no likelihood. Models that score: .*vae \(bound\)"):
            ask(Copycat())


@pytest.mark.parametrize(
    "ask",
    [
        lambda m: m.sample(),
        lambda m: m.log_prob(numbers()),
        lambda m: m.save("x"),
        lambda m: m.kind_,
        lambda m: m.layout_,
        lambda m: m.seed_,
        lambda m: m.middle_,
    ],
)
def test_using_a_model_before_fit(ask: Callable[[Model], Any]) -> None:
    with pytest.raises(NotFitted, match="not fitted yet"):
        ask(Mean())


def test_attributes_that_do_not_exist() -> None:
    model = Mean(random_state=0).fit(numbers())
    for name in ("nonsense", "nonsense_", "_hidden", "__array__"):
        with pytest.raises(AttributeError, match=name):
            getattr(model, name)


def test_an_error_inside_a_property_is_the_error_that_shows() -> None:
    class Odd(Mean):
        @property
        def width_(self) -> int:
            return self.layout_.breadth  # type: ignore[attr-defined]

    with pytest.raises(AttributeError, match="'Layout' object has no attribute 'breadth'"):
        _ = Odd(random_state=0).fit(numbers()).width_


@pytest.mark.parametrize("n", [0, -1, 2.0, "3", True, None])
def test_samples_are_counted_in_whole_numbers(n: Any) -> None:
    with pytest.raises(Problem, match="n must be a whole number of at least 1"):
        Mean(random_state=0).fit(numbers()).sample(n)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("churn=yes", "given must map names to values"),
        ({"churn": "maybe"}, "maybe"),
        ({"chrun": "yes"}, "chrun"),
        ({"wage": 0}, 'test_model cannot hold wage. It takes "churn" only. Models that take any column: .*gmm'),
        ({"churn": "yes", "wage": 0}, "test_model cannot hold churn, wage"),
    ],
)
def test_conditions_that_cannot_be_held(given: Any, says: str) -> None:
    frame = pd.DataFrame({"wage": numbers()[:, 0], "churn": ["yes", "no"] * 15})
    model = Labelled(random_state=0).fit(Records("table", frame, target="churn"))
    assert set(model.sample(5, given={"churn": "yes"})["churn"]) == {"yes"}
    assert len(model.sample(2, given={})) == 2
    with pytest.raises(Problem, match=says):
        model.sample(1, given=given)


def test_a_model_fitted_without_labels_says_how_to_get_them() -> None:
    model = Labelled(random_state=0).fit(numbers())
    with pytest.raises(Problem, match="fitted without labels: give --label or --target"):
        model.sample(1, given={"x0": 1.0})


def test_hooks_that_are_missing_are_named() -> None:
    class Bare(Model):
        pass

    class Silent(Mean):
        _log_prob = Scores._log_prob

    with pytest.raises(TypeError, match="Bare must define _fit"):
        Bare().fit(numbers())
    with pytest.raises(TypeError, match="Silent must define _log_prob"):
        Silent(random_state=0).fit(numbers()).log_prob(numbers())
