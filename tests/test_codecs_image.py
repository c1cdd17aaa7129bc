"""Images to codes: round trips, mass one in data units, labels, masks, helpful errors."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import norm

from genlearn.codecs import EVERY_KIND, codec_for
from genlearn.codecs.image import ImageCodec
from genlearn.data.records import Records, as_records
from genlearn.errors import Problem

NUMBERS_ONLY = frozenset({"real", "category"})
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 17, (20, 4, 5), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (20, 4, 5, 3), dtype=np.uint8)
TWO = np.where(RNG.random((20, 4, 5)) < 0.5, 0, 255).astype(np.uint8)
LABELS = np.arange(20) % 3 + 4


@pytest.mark.parametrize(
    "images, levels, kind, weaker",
    [(GREY, 17, "ordered", "real"), (COLOUR, 256, "ordered", "real"), (TWO, 2, "binary", "category")],
    ids=["17 grey levels", "colour", "two values"],
)
@pytest.mark.parametrize("takes", [EVERY_KIND, NUMBERS_ONLY], ids=["every kind", "numbers only"])
@pytest.mark.parametrize("fold", [False, True])
def test_round_trip(images: np.ndarray, levels: int, kind: str, weaker: str, takes: frozenset[str], fold: bool) -> None:
    records = as_records(images, LABELS)
    codec = ImageCodec(takes, fold).fit(records)
    field = codec.layout.fields[0]
    assert (field.kind, field.levels) == (kind if takes == EVERY_KIND else weaker, levels)
    assert field.shape == (records.x.shape[3], 4, 5)
    assert codec.kind == ("bound" if field.kind == "real" else "exact")
    assert codec.layout.measure_id == ImageCodec().fit(records).layout.measure_id
    again = ImageCodec.from_json(json.loads(json.dumps(codec.to_json())))
    assert again.layout == codec.layout
    for noise in (None, torch.Generator().manual_seed(0), torch.full((codec.layout.size,), 0.9999)):
        code = codec.encode(records, noise)
        assert code.x.shape == (20, codec.layout.size)
        assert code.x.dtype == (torch.float32 if fold or field.kind == "real" else torch.uint8)
        back, y = again.decode(code).natural(return_y=True)
        assert back.dtype == np.uint8
        assert (back == images).all()
        assert y.dtype == LABELS.dtype
        assert (y == LABELS).all()


def test_pixels_are_channel_first() -> None:
    code = ImageCodec().fit(as_records(COLOUR)).encode(as_records(COLOUR))
    assert (code.x[3].reshape(3, 4, 5)[1, 2].numpy() == COLOUR[3, 2, :, 1]).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    arrays(np.uint8, array_shapes(min_dims=4, max_dims=4, max_side=4), elements=st.integers(0, 255)),
    st.sampled_from([0, 1, 3, 31, 32, 255]),
    st.sampled_from([EVERY_KIND, NUMBERS_ONLY]),
)
def test_any_images_come_back(images: np.ndarray, top: int, takes: frozenset[str]) -> None:
    images = np.minimum(images, top)
    records = as_records(images)
    codec = ImageCodec(takes).fit(records)
    field = codec.layout.fields[0]
    assert field.levels >= 2
    assert field.scale > 0
    code = codec.encode(records, torch.Generator().manual_seed(0))
    assert (codec.decode(code).x == images).all()
    assert (codec.encode(records.take([0])).x == codec.encode(records).x[:1]).all()


def test_total_mass_of_dequantised_pixels() -> None:
    images = np.arange(17, dtype=np.uint8).reshape(17, 1, 1)
    codec = ImageCodec(NUMBERS_ONLY).fit(as_records(images))
    # A normal density that lies inside the range of codes; midpoint rule over the noise.
    mass = 0.0
    for u in (np.arange(64) + 0.5) / 64:
        code = codec.encode(as_records(images), torch.tensor([u]))
        mass += float((norm.pdf(code.x[:, 0].numpy(), 0.1, 0.15) * np.exp(code.log_det.numpy())).sum()) / 64
    assert mass == pytest.approx(1, abs=1e-5)  # float32 codes


def test_log_det_is_that_of_the_map() -> None:
    codec = ImageCodec(NUMBERS_ONLY).fit(as_records(GREY))
    code = codec.encode(as_records(GREY))
    assert code.log_det is not None
    assert code.log_det.tolist() == pytest.approx([20 * math.log(2 / 17)] * 20, rel=1e-12)
    step = (
        codec.encode(as_records(np.ones((1, 4, 5), "uint8"))).x
        - codec.encode(as_records(np.zeros((1, 4, 5), "uint8"))).x
    )
    assert np.allclose(step, codec.layout.fields[0].width)


@pytest.mark.parametrize(
    "images, told, levels",
    [(GREY, 32, 32), (GREY, 256, 256), (np.zeros((2, 2, 2), "uint8"), None, 2), (TWO, 256, 256), (TWO, 2, 2)],
)
def test_levels(images: np.ndarray, told: int | None, levels: int) -> None:
    records = Records("image", images[..., None], options={} if told is None else {"levels": told})
    codec = ImageCodec().fit(records)
    assert codec.layout.fields[0].levels == levels
    assert (codec.decode(codec.encode(records)).x == records.x).all()


@pytest.mark.parametrize(
    "told, message", [(16, "value 16, but levels=16"), (2, "has? 17 values|17 values"), (1, "2..256")]
)
def test_levels_that_do_not_fit(told: int, message: str) -> None:
    with pytest.raises(Problem, match=message):
        ImageCodec().fit(Records("image", GREY[..., None], options={"levels": told}))


# -- labels ----------------------------------------------------------------------------------------------------------
def test_labels_of_any_type_known_or_not() -> None:
    names = np.array(["cat", None, "dog", "cat"] * 5, dtype=object)
    records = Records("image", GREY[..., None], names, target="animal")
    codec = ImageCodec().fit(records)
    assert codec.layout.target is not None
    assert (codec.layout.target.name, codec.layout.target.labels) == ("animal", ("cat", "dog"))
    code = codec.encode(records)
    assert code.y is not None
    assert code.y[:4].tolist() == [0, -1, 1, 0]
    back = codec.decode(code).y
    assert back is not None
    assert back[0] == "cat"
    assert back[1] != back[1]
    new = codec.encode(Records("image", GREY[:2, ..., None], np.array(["cow", "dog"], dtype=object)))
    assert new.y.tolist() == [-1, 1]
    assert new.log_det.tolist() == pytest.approx([-math.log(22), 0])
    assert codec.encode(as_records(GREY)).y.tolist() == [-1] * 20
    folded = ImageCodec(fold=True).fit(records).encode(records)
    assert folded.y is None
    assert torch.isnan(folded.x[1, -1])
    assert ImageCodec().fit(Records("image", GREY[..., None], np.array([None] * 20))).layout.target is None


def test_given() -> None:
    codec = ImageCodec().fit(as_records(GREY, LABELS))
    assert codec.given({"label": 5}).y == codec.given({"label": "5"}).y == 1
    folded = ImageCodec(fold=True).fit(as_records(GREY, LABELS)).given({"label": 6})
    assert folded.y is None
    assert folded.x[0, -1] == 2
    assert torch.isnan(folded.x[0, :-1]).all()
    with pytest.raises(Problem, match=r'"label" has no value "9". Values: 4, 5, 6'):
        codec.given({"label": 9})
    with pytest.raises(Problem, match=r'images have no "lable". Did you mean "label"'):
        codec.given({"lable": 4})
    with pytest.raises(Problem, match="had no labels"):
        ImageCodec().fit(as_records(GREY)).given({"label": 4})


# -- holes -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "mask, expected",
    [
        (np.eye(4, 5, dtype=bool), 4 * 3),
        (np.eye(4, 5, dtype=np.uint8) * 255, 4 * 3),
        (np.eye(4, 5), 4 * 3),
        (np.ones((20, 4, 5), bool), 20 * 3),
        (np.arange(20 * 60).reshape(20, 4, 5, 3) % 20 == 0, 3),
        (np.zeros((4, 5), bool), 0),
    ],
)
def test_masks(mask: np.ndarray, expected: int) -> None:
    records = as_records(COLOUR)
    codec = ImageCodec().fit(records)
    unknown = codec.missing(records, mask)
    assert unknown.shape == COLOUR.shape
    code = codec.encode(records, unknown=unknown)
    assert code.mask is not None
    assert (~code.mask).sum(1).tolist() == [expected] * 20
    assert torch.equal(torch.isnan(code.x), ~code.mask)
    assert torch.equal(code.x[code.mask], codec.encode(records).x[code.mask].float())
    filled = codec.fill(records, Records("image", 255 - COLOUR), unknown)
    assert (filled.x[unknown] == 255 - COLOUR[unknown]).all()
    assert (filled.x[~unknown] == COLOUR[~unknown]).all()


def test_masks_of_dequantised_and_labelled_images() -> None:
    records = as_records(GREY, LABELS)
    codec = ImageCodec(NUMBERS_ONLY, fold=True).fit(records)
    code = codec.encode(records, unknown=codec.missing(records, np.ones((4, 5), bool)))
    assert code.mask is not None
    assert code.mask.shape == code.x.shape
    assert code.mask[:, -1].all()
    assert not code.mask[:, :-1].any()


@pytest.mark.parametrize("mask, message", [(None, "give a mask"), (np.ones((5, 4)), r"shape \(5, 4\)")])
def test_masks_that_do_not_fit(mask: Any, message: str) -> None:
    with pytest.raises(Problem, match=message):
        ImageCodec().fit(as_records(GREY)).missing(as_records(GREY), mask)


# -- errors that teach -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "fit, other, message",
    [
        (GREY, GREY[:, :3], "images are 3 x 5 x 1, the model was fitted on 4 x 5 x 1"),
        (GREY, COLOUR, "4 x 5 x 3"),
        (GREY, GREY + 100, "in training they were 0..16"),
        (TWO, GREY, "two values, 0 and 255"),
    ],
)
def test_images_that_do_not_fit(fit: np.ndarray, other: np.ndarray, message: str) -> None:
    with pytest.raises(Problem, match=message):
        ImageCodec().fit(as_records(fit)).parse(as_records(other))


def test_not_images() -> None:
    with pytest.raises(Problem, match="uint8 array"):
        ImageCodec().fit(Records("image", GREY.astype(float)))
    with pytest.raises(Problem, match="fitted on images"):
        ImageCodec().fit(as_records(GREY)).parse(as_records(np.zeros((2, 2))))


def test_registry() -> None:
    assert codec_for("image") is ImageCodec
    with pytest.raises(Problem, match='no codec for modality "smell"'):
        codec_for("smell")
