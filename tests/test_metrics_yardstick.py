"""The yardstick on real data, image feature spaces and latent metrics."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.datasets import load_digits, load_wine
from torch.distributions import Normal, kl_divergence

from genlearn.data.records import Dataset, Records
from genlearn.errors import Problem
from genlearn.metrics import METRICS, Result, Yardstick
from genlearn.metrics.features import spaces
from genlearn.metrics.image_features import label_levels, pixel_vectors, rotated
from genlearn.metrics.latent import active_units, kl, kl_per_dim, posterior_auc
from genlearn.model import Encodes


def digits(labels=True):
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    x = found.images.astype(np.uint8)[order][..., None]
    y = found.target[order].astype(object) if labels else None
    records = Records("image", x, y, "label" if labels else None, {"squeeze": True})
    return Dataset("digits", *(records.take(slice(a, b)) for a, b in ((0, 1257), (1257, 1437), (1437, 1797))))


def drawn(records, n, seed=0):
    return records.take(np.random.default_rng(seed).integers(len(records), size=n))


def independent_pixels(data, n):
    rng = np.random.default_rng(0)
    x = data.train.x
    picked = np.stack([x[rng.integers(len(x), size=n), i, j] for i in range(8) for j in range(8)], 1)
    return replace(data.train, x=picked.reshape(n, 8, 8, 1), y=data.train.y[:n])


@pytest.fixture(scope="module")
def yardstick():
    return Yardstick(digits())


@pytest.fixture(scope="module")
def wine():
    frame = load_wine(as_frame=True).frame.rename(columns={"target": "grower"})
    frame["grower"] = frame["grower"].map({0: "a", 1: "b", 2: "c"})
    frame = frame.sample(frac=1, random_state=0)
    records = Records("table", frame.reset_index(drop=True), target="grower")
    return Yardstick(Dataset("wine", *(records.take(slice(a, b)) for a, b in ((0, 90), (90, 130), (130, 178)))))


# -- digits ----------------------------------------------------------------------------------------------------------
def test_the_best_reachable_is_not_told_from_real(yardstick):
    real = yardstick.real()
    assert real.n == yardstick.n == 180
    assert real.metrics["auc"].low < 0.5 < real.metrics["auc"].high
    assert real.metrics["coverage"].value > 0.9
    assert real.metrics["useful"].value > 0.75
    assert real.copies.flag is False
    assert set(real.metrics) == {m for m in METRICS if m in real.metrics}
    assert list(real.metrics) == [m for m in METRICS if m in real.metrics]
    assert not {"shapes", "pairs", "validity", "kl"} & set(real.metrics)


def test_a_copycat_looks_real_and_is_flagged(yardstick):
    judgement = yardstick.judge(drawn(yardstick.data.train, 180))
    assert judgement.metrics["auc"].value < 0.6
    assert judgement.copies.flag
    fake, train, distance = judgement.copies.pairs[0]
    assert distance == 0
    assert (drawn(yardstick.data.train, 180).x[fake] == yardstick.data.train.x[train]).all()


def test_independent_pixels_are_told_in_both_spaces(yardstick):
    judgement = yardstick.judge(independent_pixels(yardstick.data, 180))
    real = yardstick.real().metrics
    for name in ("auc_a", "auc_b", "kid_a", "kid_b"):
        assert judgement.metrics[name].low > real[name].high, name
    assert judgement.metrics["coverage"].high < real["coverage"].low
    assert judgement.metrics["useful"].high < real["useful"].low
    assert judgement.copies.flag is False


def test_a_dropped_digit_is_seen(yardstick):
    few = yardstick.data.train.take(np.flatnonzero(np.isin(yardstick.data.train.y.astype(int), [0, 1, 2])))
    judgement = yardstick.judge(drawn(few, 180))
    assert judgement.metrics["coverage"].high < yardstick.real().metrics["coverage"].low
    assert "no records of: 3, 4, 5, 6, 7 ..." in judgement.metrics["useful"].note


def test_same_seed_same_numbers_and_nobody_elses_randomness(yardstick):
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    again = Yardstick(digits()).judge(drawn(yardstick.data.train, 180))
    assert json.dumps(again.to_json()) == json.dumps(yardstick.judge(drawn(yardstick.data.train, 180)).to_json())
    assert (torch.get_rng_state() == torch_state).all()
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def test_the_order_of_a_sorted_file_does_not_matter_much(yardstick):
    fake = drawn(yardstick.data.train, 180)
    ordered = fake.take(np.argsort(fake.y.astype(int), kind="stable"))
    values = [yardstick.judge(f, full=False).metrics["auc"] for f in (fake, ordered)]
    # Another deal of the same records into folds: within the interval of the first.
    assert values[0].low < values[1].value < values[0].high


def test_quick_judgement_leaves_the_slow_parts_out(yardstick):
    quick = yardstick.judge(yardstick.data.valid, full=False)
    assert set(quick.metrics) == {"auc", "auc_a", "auc_b", "kid_a", "kid_b", "coverage", "variance", "groups"}
    assert quick.copies is None
    assert quick.metrics["auc"] == yardstick.real().metrics["auc"]


def test_fewer_records_meet_fewer_real_ones(yardstick):
    few = yardstick.judge(yardstick.data.valid.take(slice(0, 50)))
    assert few.n == few.metrics["auc"].n == 50
    one = yardstick.judge(yardstick.data.valid.take(slice(0, 1)))
    assert one.metrics["auc"].value is None


def test_what_cannot_be_judged_says_so(yardstick, wine):
    with pytest.raises(Problem, match="images of 8x8x1, these are 4x4x1"):
        yardstick.judge(Records("image", np.zeros((9, 4, 4, 1), np.uint8)))
    with pytest.raises(Problem, match="these are table"):
        yardstick.judge(wine.data.train)
    with pytest.raises(Problem, match="no generated records"):
        yardstick.judge(yardstick.data.train.take(slice(0, 0)))
    with pytest.raises(Problem, match="no valid records"):
        Yardstick(replace(yardstick.data, valid=yardstick.data.valid.take(slice(0, 0))))


def test_unlabelled_records_of_labelled_data(yardstick):
    judgement = yardstick.judge(replace(yardstick.data.valid, y=None, target=None))
    assert judgement.metrics["useful"].value is None


def test_spaces_that_disagree_are_noted(yardstick):
    told, hidden = Result(0.8, 0.75, 0.85, 180), Result(0.5, 0.45, 0.55, 180)
    found = {"auc_a": hidden, "auc_b": told}
    assert any("space B only (AUC 0.50 in A, 0.80 in B)" in note for note in yardstick._notes(found))
    assert not any("disagree" in note for note in yardstick._notes({"auc_a": told, "auc_b": told}))
    close = Result(0.56, 0.51, 0.61, 180)
    assert not any("disagree" in note for note in yardstick._notes({"auc_a": hidden, "auc_b": close}))


# -- a table ---------------------------------------------------------------------------------------------------------
def test_a_table_gets_its_columns_judged(wine):
    real = wine.real()
    assert {"shapes", "pairs", "validity", "useful"} <= set(real.metrics)
    assert real.metrics["useful"].value > 0.95
    assert set(real.columns.shapes) == set(wine.data.train.x.columns)
    assert real.copies.flag is None
    json.dumps(real.to_json())


def test_a_shifted_column_of_a_table_is_told(wine):
    x = wine.data.valid.x
    moved = replace(wine.data.valid, x=x.assign(proline=x["proline"] + 3 * x["proline"].std()))
    judgement, real = wine.judge(moved), wine.real()
    assert judgement.metrics["auc_a"].low > real.metrics["auc_a"].high
    assert judgement.columns.shapes["proline"] < 0.5
    assert judgement.metrics["validity"].value < real.metrics["validity"].value


def test_a_numeric_target_is_judged_by_r2(wine):
    part = {
        p: Records("table", wine.data.part(p).x.drop(columns="grower"), target="alcohol")
        for p in ("train", "valid", "test")
    }
    judged = Yardstick(Dataset("wine", **part)).real()
    assert judged.metrics["useful"].note == "R2"
    assert "R2" in judged.notes[1]


def test_a_table_without_target_has_no_useful(wine):
    part = {p: Records("table", wine.data.part(p).x.drop(columns="grower")) for p in ("train", "valid", "test")}
    assert "useful" not in Yardstick(Dataset("wine", **part)).real().metrics


def test_without_target_both_aucs_are_one(wine):
    part = {p: Records("table", wine.data.part(p).x.drop(columns="grower")) for p in ("train", "valid", "test")}
    yardstick = Yardstick(Dataset("wine", **part))
    real = yardstick.real()
    assert real.metrics["auc_a"] == real.metrics["auc_b"] == real.metrics["auc"]
    assert real.metrics["kid_a"] != real.metrics["kid_b"]
    assert "both AUCs are one" in real.notes[1]


def test_many_labels_with_one_image_each():
    rng = np.random.default_rng(0)
    records = Records(
        "image", rng.integers(0, 255, (90, 8, 8, 1)).astype(np.uint8), np.arange(90).astype(object) % 30, "who"
    )
    data = Dataset("people", *(records.take(slice(a, b)) for a, b in ((0, 30), (30, 60), (60, 90))))
    assert Yardstick(data).real().metrics["useful"].n == 30


# -- image features --------------------------------------------------------------------------------------------------
def test_space_a_needs_no_seed_and_b_says_how_good_it_is(yardstick):
    other = spaces(yardstick.data, seed=5)
    valid = yardstick.data.valid
    assert yardstick.spaces["A"](valid) == pytest.approx(other["A"](valid), abs=0.05)  # scales: another training subset
    assert yardstick.spaces["A"](valid).shape == (180, 256)
    assert '"label": accuracy 0.' in yardstick.spaces["B"].note
    assert float(yardstick.spaces["B"].note.split("accuracy ")[1][:4]) > 0.7


def test_without_labels_space_b_learns_rotations():
    rng = np.random.default_rng(0)
    x = np.zeros((300, 5, 9, 3), np.uint8)
    x[:, :2] = rng.integers(128, 255, (300, 2, 9, 3))
    records = Records("image", x)
    data = Dataset("sky", *(records.take(slice(a, b)) for a, b in ((0, 200), (200, 250), (250, 300))))
    found = spaces(data)
    assert "rotations (no labels)" in found["B"].note
    assert np.isfinite(found["B"](data.test)).all()
    real = Yardstick(data).real()
    assert "useful" not in real.metrics


def test_flat_images_have_finite_features():
    records = Records("image", np.zeros((40, 28, 28, 1), np.uint8))
    real = Yardstick(Dataset("black", records, records, records)).real()
    assert real.metrics["kid_a"].value == pytest.approx(0, abs=1e-6)
    assert real.metrics["auc"].value == 0.5


def test_rotation_turns_each_image_by_its_own_quarters():
    x = torch.arange(6.0).reshape(1, 1, 2, 3).repeat(4, 1, 1, 1)
    turned = rotated(x, torch.arange(4))
    assert turned.shape == (4, 1, 3, 3)
    for k in range(4):
        assert torch.equal(turned[k], torch.rot90(turned[0], k, (1, 2)))


def test_labels_keep_their_numbers_and_unknown_ones_are_minus_one():
    records = Records("image", np.zeros((4, 1, 1, 1), np.uint8), np.array([7, 3.0, np.nan, "7"], object))
    assert label_levels(records)[0] == ["3", "7"]
    assert label_levels(records)[1].tolist() == [1, 0, -1, 1]
    assert label_levels(replace(records, y=None), ["a"])[1].tolist() == [-1] * 4


def test_images_that_cannot_be_written_to_are_read(yardstick):
    frozen = yardstick.data.valid.x.copy()
    frozen.setflags(write=False)
    assert yardstick.spaces["A"](replace(yardstick.data.valid, x=frozen)).shape == (180, 256)


def test_large_images_are_compared_at_64_pixels():
    records = Records("image", np.full((2, 128, 32, 3), 255, np.uint8))
    assert pixel_vectors(records, records).shape == (2, 64 * 32 * 3)


# -- latent metrics --------------------------------------------------------------------------------------------------
def test_kl_agrees_with_torch():
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=(50, 3)), rng.uniform(0.1, 2, size=(50, 3))
    theirs = kl_divergence(Normal(torch.tensor(mean), torch.tensor(std)), Normal(0.0, 1.0)).numpy()
    assert kl_per_dim(mean, std) == pytest.approx(theirs.mean(0))
    assert kl(mean, std).value == pytest.approx(theirs.sum(1).mean())


def test_active_units_counts_dimensions_that_move():
    mean = np.stack([np.linspace(-1, 1, 50), np.full(50, 3.0), np.linspace(-0.1, 0.1, 50)], 1)
    assert active_units(mean).value == 1
    assert active_units(mean).note == "of 3"
    assert active_units(np.zeros((5, 2))).value == 0


def test_posterior_auc_is_half_where_the_aggregate_is_the_prior():
    rng = np.random.default_rng(0)
    share = rng.normal(size=(1500, 2)) * 0.8
    fits = posterior_auc(share, np.full((1500, 2), 0.6))  # 0.64 + 0.36 = 1
    assert fits.low < 0.5 < fits.high
    shifted = posterior_auc(share + 1, np.full((1500, 2), 0.6))
    # Two dimensions shifted by 1: the best classifier reaches Phi(sqrt 2 / sqrt 2).
    assert shifted.value == pytest.approx(norm.cdf(1), abs=0.05)


class Encoder(Encodes):
    """Stands in for a fitted latent model whose posterior is known."""

    def __init__(self, mean, std):
        self.latents_, self._code = mean.shape[1], torch.from_numpy(mean)
        self._sd = torch.from_numpy(std)

    def _check_fitted(self):
        pass

    def _codes(self, data, y=None):
        return [range(len(data))]

    def _encode(self, code):
        return self._code[: len(code)]

    def _spread(self, code):
        return self._sd[: len(code)]


def test_latent_models_get_their_latent_space_judged(yardstick):
    mean = np.random.default_rng(0).normal(size=(500, 2)) * [0.8, 0.0]
    std = np.full((500, 2), [0.6, 1.0])
    found = yardstick.judge(yardstick.data.valid, model=Encoder(mean, std)).metrics
    assert found["active_units"].value == 1
    assert found["kl"].value == pytest.approx(kl(mean[:180], std[:180]).value)
    assert found["posterior_auc"].low < 0.5 < found["posterior_auc"].high
    plain = yardstick.judge(yardstick.data.valid, model=Encoder(mean, 0 * std)).metrics
    assert "active_units" in plain
    assert "kl" not in plain
