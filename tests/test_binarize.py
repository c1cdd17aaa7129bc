"""Two-valued images: a threshold, or fresh draws for every batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import genlearn
from genlearn.codecs.image import ImageCodec
from genlearn.data.reading import read, read_all
from genlearn.data.records import Records
from genlearn.errors import Problem
from genlearn.models import GMM, VAE
from genlearn.training.feed import Feed

GREY = (load_digits().images[:300] * 255 / 16).astype(np.uint8)
SMALL = {"hidden": (8,), "latent": 2, "steps": 20, "random_state": 0}


def test_a_threshold_makes_every_part_two_valued():
    data = read(GREY, binarize="threshold")
    for part in (data.train, data.valid, data.test):
        assert set(np.unique(part.x)) == {0, 255}
    whole = read_all(GREY, binarize="threshold").x[..., 0]
    assert np.array_equal(whole, np.where(GREY > 127, 255, 0))


def test_dynamic_draws_valid_and_test_once_and_leaves_train_grey():
    data, again = read(GREY, binarize="dynamic"), read(GREY, binarize="dynamic")
    assert np.array_equal(data.test.x, again.test.x)
    assert set(np.unique(data.test.x)) == {0, 255}
    assert len(np.unique(data.train.x)) > 10
    assert data.train.options["binarize"] == "dynamic"


def test_batches_are_drawn_anew_with_the_chance_of_the_level():
    """4,000 draws of 40 images: each pixel's mean within 5 standard errors, one false alarm in 700 seeds."""
    codec = ImageCodec().fit(Records("image", GREY[:40, ..., None], options={"binarize": "dynamic"}))
    code = codec.encode(Records("image", GREY[:40, ..., None]), noise=torch.Generator().manual_seed(0))
    assert codec.layout.fields[0].kind == "binary"
    feed, total = Feed(code, 3, 40, torch.device("cpu")), torch.zeros(64)
    for _ in range(100):
        x, _ = feed.next()
        total += x.double().mean(0)
    chance = torch.from_numpy(GREY[:40].reshape(40, 64) / 255.0)
    error = ((chance * (1 - chance)).mean(0) / 4000).sqrt()
    assert bool(((total / 100 - chance.mean(0)).abs() <= 5 * error + 1e-12).all())
    feed.go_to(0, 40)
    repeated = Feed(code, 3, 40, torch.device("cpu")).next()[0]
    assert torch.equal(feed.next()[0], repeated), "the same place in a run gives the same draws"


def test_models_of_dynamic_images_give_two_valued_ones_and_come_back(tmp_path):
    data = read(GREY, binarize="dynamic")
    for model in (VAE(**SMALL), GMM(components=3, random_state=0)):
        model.fit(data)
        drawn = model.sample(3, random_state=0)
        assert set(np.unique(drawn)) <= {0, 255}
        again = genlearn.load(model.save(tmp_path / model.name()))
        assert np.array_equal(again.log_prob(data.test), model.log_prob(data.test))
        assert np.isfinite(again.score(Records("image", GREY[:5, ..., None]))), (
            "grey records are drawn, with numbers that all share"
        )


def test_learning_sees_more_than_one_draw():
    """With one fixed draw the first batches of two epochs would hold the same values."""
    code = (
        ImageCodec()
        .fit(Records("image", GREY[..., None], options={"binarize": "dynamic"}))
        .encode(Records("image", GREY[..., None]), noise=torch.Generator().manual_seed(0))
    )
    feed = Feed(code, 0, 300, torch.device("cpu"))
    first, second = feed.next()[0].sum(), feed.next()[0].sum()
    assert first != second


@pytest.mark.parametrize(
    ("how", "message"), [("dynamc", 'Did you mean "dynamic"'), (3, "must be one of threshold, dynamic")]
)
def test_other_ways_are_refused(how, message):
    with pytest.raises(Problem, match=message):
        read(GREY, binarize=how)


def test_tables_have_no_pixels():
    with pytest.raises(Problem, match="--binarize is for images"):
        read(np.zeros((9, 2)) + np.arange(9)[:, None], binarize="threshold")
