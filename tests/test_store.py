"""Files: values and tensors come back, a kill or a full disk leaves the old model or the new one, whole."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import genlearn
from genlearn import store
from genlearn.errors import Problem
from genlearn.models import GMM

FILES = (store.CONFIG, store.CODEC, store.WEIGHTS)


@pytest.fixture(scope="module")
def fitted() -> tuple[GMM, GMM]:
    x = np.random.default_rng(0).normal(size=(60, 2))
    return GMM(components=1, random_state=0).fit(x), GMM(components=2, random_state=0).fit(3 * x + 5)


@pytest.fixture
def folder(fitted: tuple[GMM, GMM], tmp_path: Path) -> Path:
    return fitted[0].save(tmp_path / "model")


# -- round trips -----------------------------------------------------------------------------------------------------
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(json_values)
def test_json_keeps_values_and_the_non_finite_ones(value: Any) -> None:
    back = store.from_jsonable(json.loads(store.json_bytes(value)))
    assert repr(back) == repr(value)  # NaN is not equal to itself
    assert store.json_bytes(back) == store.json_bytes(value)


def test_numpy_and_paths_become_plain_values() -> None:
    value = {1: np.float32(0.5), "a": np.arange(2), "t": (np.int8(3), Path("x/y")), "inf": -math.inf}
    assert store.to_jsonable(value) == {"1": 0.5, "a": [0, 1], "t": [3, "x/y"], "inf": {"$float": "-inf"}}


def test_tensors_of_every_kind_come_back() -> None:
    shared = torch.arange(6.0).view(2, 3)
    tensors = {
        "double": torch.rand(3, 2, dtype=torch.float64), "bytes": torch.arange(4, dtype=torch.uint8), "empty": torch.empty(0, 3),
        "scalar": torch.tensor(7), "flags": torch.tensor([True, False]), "turned": shared.T, "same": shared, "part": shared[:, 1],
        "image": torch.rand(1, 3, 4, 4).to(memory_format=torch.channels_last), "parameter": torch.nn.Parameter(torch.ones(2)),
    }  # fmt: skip
    back = safetensors.torch.load(store.tensor_bytes(tensors))
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(back[name], tensor), name
        assert back[name].dtype == tensor.dtype
    back["double"][0] = 1  # what was read can be written to


# -- kills -----------------------------------------------------------------------------------------------------------
class Killed(BaseException):
    """What a power cut looks like from inside."""


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("moment", range(9))
def test_a_kill_at_any_moment_leaves_the_old_model_or_the_new(
    fitted: tuple[GMM, GMM], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, moment: int
) -> None:
    old, new = fitted
    folder, calls, real = old.save(tmp_path / "m"), [0], getattr(os, call)

    def cut(*args: Any) -> None:
        calls[0] += 1
        if calls[0] > moment:
            raise Killed
        real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, cut)
        patch.setattr(Path, "unlink", lambda *a, **k: None)  # a killed process does not tidy up
        try:
            new.save(folder)
            through = True
        except Killed:
            through = False
    found = genlearn.load(folder)
    aim = {1: old, 2: new}[found.components]
    np.testing.assert_array_equal(found.sample(9, random_state=0), aim.sample(9, random_state=0))
    assert aim is new or not through
    old.save(folder)
    np.testing.assert_array_equal(genlearn.load(folder).sample(9, random_state=0), old.sample(9, random_state=0))
    assert sorted(p.name for p in folder.iterdir()) == sorted([*FILES, "README.md"]), "what was left aside is swept up"


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("moment", range(6))
def test_a_full_disk_is_one_line_and_leaves_a_whole_model(
    fitted: tuple[GMM, GMM], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, moment: int
) -> None:
    old, new = fitted
    folder, calls, real = old.save(tmp_path / "m"), [0], getattr(os, call)

    def full(*args: Any) -> None:
        calls[0] += 1
        if calls[0] > moment:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        try:
            new.save(folder)
        except Problem as problem:
            said = str(problem)
        else:
            said = ""
    assert not said or "(No space left on device). Choose another folder or free the disk." in said
    found = genlearn.load(folder)
    assert found.components in (1, 2)
    if found.components == 1:
        assert sorted(p.name for p in folder.iterdir()) == sorted([*FILES, "README.md"]), "nothing half-written stays"


def test_a_file_where_the_folder_should_be(fitted: tuple[GMM, GMM], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    for place in (tmp_path / "taken", tmp_path / "taken" / "inside"):
        with pytest.raises(Problem, match="cannot write the model to"):
            fitted[0].save(place)
    assert (tmp_path / "taken").read_text() == "mine"


# -- files -----------------------------------------------------------------------------------------------------------
def test_readers_never_see_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "deep" / "x.json"
    store.write_json(place, {"a": 1})

    def fail(*args: Any) -> None:
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="broken disk"):
        store.write_json(place, {"a": 2})
    assert store.read_json(place) == {"a": 1}
    assert [p.name for p in place.parent.iterdir()] == ["x.json"]


def test_removing_is_quiet_about_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "f").write_text("x")
    for name in ("d", "f", "g"):
        store.remove(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
