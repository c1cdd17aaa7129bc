"""Laws that hold for whatever is drawn: what was written is read, what was encoded is decoded, nothing is changed on the way."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from benchmarks.reliability.malformed.arrays import idx
from genlearn.codecs import EVERY_KIND, codec_for
from genlearn.data import Records, read_all
from genlearn.errors import Problem
from tests.test_codecs_table import ugly_frames

DRAWS = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
NUMBERS_ONLY = frozenset({"real", "category"})
# Words begin with a letter, since a column of "7" or "2020-01-31" is read as numbers or dates; the ends are cut of spaces.
LETTERS = st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"))
WORDS = st.text(st.one_of(LETTERS, st.sampled_from(",;\t\"'\n|")), max_size=8).map(lambda t: f"w{t}z")
NAMES = st.lists(st.text(LETTERS, max_size=6).map(lambda t: f"n{t}z"), min_size=3, max_size=3, unique=True)
PIXELS = arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6))


@st.composite
def tables(draw: Any) -> pd.DataFrame:
    """Draw a table of words, whole numbers and numbers, with names in any script and at least two rows."""
    n = draw(st.integers(2, 12))
    cells = (WORDS, st.integers(-(2**53), 2**53), st.floats(-1e300, 1e300).map(lambda v: v + 0.0))
    return pd.DataFrame(
        {name: draw(st.lists(c, min_size=n, max_size=n)) for name, c in zip(draw(NAMES), cells, strict=True)}
    )


def everywhere(frame: pd.DataFrame, other: pd.DataFrame) -> None:
    """Assert that two tables are equal, cell by cell, whatever the dtypes that hold them."""
    assert list(frame.columns) == list(other.columns)
    for name in frame:
        assert frame[name].tolist() == other[name].tolist()


# -- readers -----------------------------------------------------------------------------------------------------------
@DRAWS
@given(tables(), st.sampled_from([",", ";", "\t", "|"]), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_delimited_text_is_read_as_it_was_written(tmp_path_factory, frame, delimiter, encoding) -> None:
    path = tmp_path_factory.mktemp("t") / "a.csv"
    path.write_bytes(frame.to_csv(index=False, sep=delimiter).encode(encoding))
    everywhere(read_all(path).x, frame)


@DRAWS
@given(tables())
def test_json_lines_are_read_as_they_were_written(tmp_path_factory, frame) -> None:
    path = tmp_path_factory.mktemp("t") / "a.jsonl"
    rows = frame.to_dict(orient="records")
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8", newline="")
    everywhere(read_all(path).x, frame)


@DRAWS
@given(tables())
def test_parquet_is_read_as_it_was_written(tmp_path_factory, frame) -> None:
    path = tmp_path_factory.mktemp("t") / "a.parquet"
    frame.to_parquet(path)
    everywhere(read_all(path).x, frame)


@DRAWS
@given(PIXELS, st.booleans())
def test_arrays_are_read_as_they_were_written(tmp_path_factory, pixels, fortran) -> None:
    folder = tmp_path_factory.mktemp("t")
    order = np.asfortranarray(pixels) if fortran else pixels
    np.save(folder / "a.npy", order)
    np.savez_compressed(folder / "a.npz", x=order, y=np.arange(len(pixels)))
    (folder / "train-images-idx3-ubyte").write_bytes(idx(pixels))
    for name in ("a.npy", "a.npz", "train-images-idx3-ubyte"):
        assert np.array_equal(read_all(folder / name).x[..., 0], pixels)
    assert read_all(folder / "a.npz").y.tolist() == list(range(len(pixels)))


@DRAWS
@given(PIXELS)
def test_folders_and_zips_of_pictures_are_read_as_they_were_written(tmp_path_factory, pixels) -> None:
    folder = tmp_path_factory.mktemp("t")
    (folder / "album").mkdir()
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for i, picture in enumerate(pixels):
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "PNG")
            (folder / "album" / f"{i}.png").write_bytes(buffer.getvalue())
            archive.writestr(f"{i}.png", buffer.getvalue())
    for name in ("album", "a.zip"):
        assert np.array_equal(read_all(folder / name).x[..., 0], pixels)


@settings(DRAWS, max_examples=150)
@given(
    st.binary(max_size=300),
    st.sampled_from(["a.csv", "a.jsonl", "a.json", "a.parquet", "a.npy", "a.npz", "a.png", "a.zip", "a.txt", "a.gz", "a-idx3-ubyte"]),
)  # fmt: skip
def test_any_bytes_are_data_or_a_problem(tmp_path_factory, content, name) -> None:
    path: Path = tmp_path_factory.mktemp("t") / name
    path.write_bytes(content)
    try:
        said, read = "", len(read_all(path))
    except Problem as problem:
        said, read = str(problem), 0
    assert read or (str(path) in said and said.isprintable())


# -- codecs ------------------------------------------------------------------------------------------------------------
@DRAWS
@given(ugly_frames(), st.sampled_from([EVERY_KIND, NUMBERS_ONLY]), st.booleans())
def test_encoding_a_table_changes_nothing_and_has_a_finite_density(frame, takes, with_target) -> None:
    name = frame.columns[-1]
    target = name if with_target and frame[name].notna().any() else None
    records = Records("table", frame.copy(), target=target)
    codec = codec_for("table")(takes).fit(records)
    code = codec.encode(records, torch.Generator().manual_seed(0))
    pd.testing.assert_frame_equal(records.x, frame)
    assert torch.isfinite(code.log_det).all()
    before = code.x.clone()
    codec.decode(code)
    assert torch.equal(before.nan_to_num(9e99), code.x.nan_to_num(9e99))


@DRAWS
@given(
    arrays(np.uint8, array_shapes(min_dims=4, max_dims=4, max_side=3)),
    st.lists(st.one_of(WORDS, st.none()), min_size=3, max_size=3),
    st.sampled_from([EVERY_KIND, NUMBERS_ONLY]),
    st.booleans(),
)
def test_labelled_images_come_back_from_their_code(images, labels, takes, fold) -> None:
    y = np.array([labels[i % 3] for i in range(len(images))], dtype=object)
    records = Records("image", images.copy(), y, "label")
    codec = codec_for("image")(takes, fold).fit(records)
    twin = codec_for("image").from_json(json.loads(json.dumps(codec.to_json())))
    code = codec.encode(records, torch.Generator().manual_seed(0))
    assert np.array_equal(records.x, images)
    assert torch.isfinite(code.log_det).all()
    back = twin.decode(code)
    assert np.array_equal(back.x, images)
    if any(label is not None for label in y):
        assert back.y is not None
        assert [None if v != v else v for v in back.y.tolist()] == y.tolist()


@pytest.mark.parametrize("modality", ["table", "image"])
def test_a_codec_knows_its_own_json(modality) -> None:
    frame = pd.DataFrame({"a": [1.5, 2.5, None], "b": ["x", None, "y"]})
    x: Any = frame if modality == "table" else np.eye(3, dtype=np.uint8)[None, ..., None].repeat(3, 0)
    codec = codec_for(modality)().fit(Records(modality, x))  # type: ignore[arg-type]
    spec = json.loads(json.dumps(codec.to_json()))
    assert codec_for(modality).from_json(spec).to_json() == codec.to_json()
