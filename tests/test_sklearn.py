"""genlearn's models are scikit-learn estimators: its own checks, pipelines, searches, diagrams."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from benchmarks.reliability.estimators import EXPECTED, estimators
from genlearn.errors import Problem
from genlearn.models import GMM, VAE

RNG = np.random.default_rng(0)
Y = np.arange(300) % 2
X = RNG.normal(size=(300, 2)) + 6.0 * Y[:, None]  # two clouds, six standard deviations apart on each axis


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(estimators(), expected_failed_checks=lambda model: EXPECTED)
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_few_failures_are_expected():
    assert len(EXPECTED) <= 5


def test_a_pipeline_scores_and_samples():
    pipe = make_pipeline(StandardScaler(), GMM(components=2, random_state=0)).fit(X)
    scaler, gmm = pipe
    assert pipe.score(X) == pytest.approx(gmm.score(scaler.transform(X)))
    assert gmm.sample(3, random_state=0).shape == (3, 2)


@pytest.mark.parametrize("form", [np.asarray, lambda x: pd.DataFrame(x, columns=["a", "b"])], ids=["array", "frame"])
def test_a_search_finds_the_number_of_components_by_score(form):
    found = GridSearchCV(GMM(random_state=0), {"components": [1, 2, 30]}, cv=3).fit(form(X))
    assert found.best_params_ == {"components": 2}
    # Held-out nats of the best fit lie near minus the source's entropy: 2 * 0.5 log(2 pi e) + log 2.
    assert found.best_score_ == pytest.approx(-np.log(2 * np.pi * np.e) - np.log(2), abs=0.15)


def test_cross_validation_in_two_processes_gives_the_same():
    alone, two = (cross_val_score(GMM(components=2, random_state=0), X, cv=3, n_jobs=n) for n in (None, 2))
    np.testing.assert_allclose(two, alone, rtol=1e-9)


def test_latents_stand_in_front_of_a_classifier():
    pipe = make_pipeline(VAE(latent=2, steps=100, random_state=0), LogisticRegression()).fit(X, Y)
    assert pipe.score(X, Y) > 0.95


def test_latents_come_out_as_a_frame():
    frame = pd.DataFrame(X, columns=["a", "b"], index=np.arange(300) + 7)
    model = VAE(latent=3, steps=3, random_state=0).set_output(transform="pandas")
    latents = model.fit_transform(frame)
    assert list(latents.columns) == ["vae0", "vae1", "vae2"]
    assert (latents.index == frame.index).all()
    np.testing.assert_array_equal(latents, model.encode(frame))


def test_features_are_counted_and_named():
    fitted = GMM(components=1).fit(pd.DataFrame({"a": X[:, 0], "b": X[:, 1]}))
    assert fitted.n_features_in_ == 2
    assert fitted.feature_names_in_.tolist() == ["a", "b"]
    assert GMM(components=1).fit(X, Y).n_features_in_ == 2, "labels are no feature"
    assert not hasattr(GMM(components=1).fit(X), "feature_names_in_")
    assert not hasattr(GMM(), "n_features_in_")
    images = RNG.integers(0, 255, size=(20, 4, 5, 3)).astype(np.uint8)
    assert GMM(components=1).fit(images).n_features_in_ == 60


def test_a_clone_has_the_settings_and_nothing_learned():
    model = GMM(components=3, random_state=5).fit(X)
    again = clone(model)
    assert again.get_params() == model.get_params()
    with pytest.raises(NotFittedError, match="not fitted yet"):
        again.sample()


def test_the_diagram_shows_the_model_and_its_state():
    assert "fitted" not in GMM(components=3).fit(X).__repr__()
    for model, state in ((GMM(components=3), "Not fitted"), (GMM(components=3).fit(X), "<span>Fitted</span>")):
        page = model._repr_html_()
        assert "GMM" in page
        assert "components" in page
        assert state in page


@pytest.mark.parametrize(
    "data, says",
    [
        (np.ones(5), r"1D array of 5 numbers. Reshape your data: X.reshape\(-1, 1\)"),
        (np.ones((5, 0)), "Give at least one column"),
        (np.ones((5, 2)) * 1j, "Complex data not supported"),
    ],
    ids=["1-d", "no columns", "complex"],
)
def test_unusable_arrays_are_answered(data, says):
    with pytest.raises(Problem, match=says):
        GMM().fit(data)


def test_an_array_of_objects_is_read_like_a_table():
    rows = np.array([["f", 1.5], ["m", 2.25], ["f", np.nan], [None, 4.0]] * 10, dtype=object)
    model = GMM(components=1, random_state=0).fit(rows)
    assert set(model.sample(50, random_state=0)["x0"].dropna()) == {"f", "m"}
    numbers = GMM(components=1, random_state=0).fit(X.astype(object))
    assert numbers.score(X) == GMM(components=1, random_state=0).fit(X).score(X)
