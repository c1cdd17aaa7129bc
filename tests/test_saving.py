"""A fitted model to a folder and back: what goes in comes out, damage is one line that names the file, nothing executes."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import genlearn
from genlearn import store
from genlearn.errors import Problem
from genlearn.model import Model
from genlearn.models import GMM, Copycat

FILES = (store.CONFIG, store.CODEC, store.WEIGHTS)


@pytest.fixture(scope="module")
def fitted() -> tuple[GMM, GMM]:
    x = np.random.default_rng(0).normal(size=(60, 2))
    return GMM(components=1, random_state=0).fit(x), GMM(components=2, random_state=0).fit(3 * x + 5)


@pytest.fixture
def folder(fitted: tuple[GMM, GMM], tmp_path: Path) -> Path:
    return fitted[0].save(tmp_path / "model")


def refused(folder: Path, says: str) -> None:
    """Loading fails by one line that names the folder and matches."""
    with pytest.raises(Problem, match=says) as problem:
        genlearn.load(folder)
    assert "\n" not in str(problem.value)
    assert str(folder) in str(problem.value)


def forge(folder: Path, change: Callable[[dict[str, Any]], Any] = lambda config: None) -> None:
    """Change config.json as an adversary would: with checksums that fit what now lies in the folder."""
    config = json.loads((folder / store.CONFIG).read_text())
    files = {name: (folder / name).read_bytes() for name in (store.CODEC, store.WEIGHTS)}
    config = json.loads(store._sealed(config, files))
    own = config["sha256"][store.CONFIG]
    change(config)
    data = store.json_bytes(config)
    (folder / store.CONFIG).write_bytes(store._signed(data, own) if own.encode() in data else data)


# -- round trips -----------------------------------------------------------------------------------------------------
def test_a_model_comes_back(folder: Path, fitted: tuple[GMM, GMM]) -> None:
    model, back = fitted[0], genlearn.load(folder)
    assert type(back) is GMM
    assert back.get_params() == model.get_params()
    assert back.seed_ == model.seed_
    x = model.sample(20, random_state=0)
    np.testing.assert_array_equal(back.sample(20, random_state=0), x)
    np.testing.assert_array_equal(back.log_prob(x), model.log_prob(x))
    assert type(GMM.load(folder)) is GMM
    assert sorted(p.name for p in folder.iterdir()) == sorted([*FILES, "README.md"])
    card = (folder / "README.md").read_text()
    assert card.startswith("# gmm\n")
    assert "x0 (real), x1 (real)" in card
    with pytest.raises(Problem, match="holds a gmm, not a copycat"):
        Copycat.load(folder)


def test_saving_again_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = genlearn.load(folder).save(tmp_path / "again")
    for name in (*FILES, "README.md"):
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name


def test_other_files_of_the_folder_stay(folder: Path, fitted: tuple[GMM, GMM]) -> None:
    (folder / "history.jsonl").write_text("{}\n")
    fitted[1].save(folder)
    assert (folder / "history.jsonl").read_text() == "{}\n"
    assert genlearn.load(folder).components == 2


def test_a_model_that_load_would_not_find_is_not_saved(tmp_path: Path) -> None:
    class Mine(Copycat):
        pass

    model = Mine(random_state=0).fit(np.zeros((3, 2)))
    with pytest.raises(Problem, match=r'load would not find "test_saving"\. Keep Mine in a module of its own'):
        model.save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_tables_and_labels_come_back_with_their_types(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"é": ["ß", "ü"] * 9, "n": np.arange(18, dtype="int32"), "when": pd.date_range("2020", periods=18)}
    )
    model = Copycat(random_state=0).fit(frame)
    back = Model.load(model.save(tmp_path / "m"))
    pd.testing.assert_frame_equal(back.sample(18, random_state=0), model.sample(18, random_state=0))


# -- damage ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_noticed(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    for place in np.linspace(0, len(whole) - 1, 40).astype(int):
        data = bytearray(whole)
        data[place] ^= 1 << (place % 8)
        (folder / name).write_bytes(data)
        refused(folder, f"{re.escape(str(folder / name))} (is damaged|is not of a genlearn model)|has format")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.4, 0.99])
def test_truncated_files_are_named(folder: Path, name: str, share: float) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(share * len(data))])
    refused(folder, f"{re.escape(str(folder / name))} is damaged")


@pytest.mark.parametrize("name", FILES)
def test_missing_files_are_named(folder: Path, name: str) -> None:
    refused(folder / "nowhere", "nowhere does not exist. Give a folder that `genlearn fit` or save")
    (folder / name).unlink()
    refused(folder, f"{re.escape(str(folder / name))} does not exist")
    (folder / name).mkdir()
    refused(folder, f"{re.escape(str(folder / name))} cannot be read")


def test_files_of_two_models_do_not_mix(folder: Path, fitted: tuple[GMM, GMM], tmp_path: Path) -> None:
    other = fitted[1].save(tmp_path / "other")
    shutil.copy(other / store.WEIGHTS, folder / store.WEIGHTS)
    refused(folder, r"weights.safetensors is damaged \(it has \d+ bytes, not \d+\)")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(format=2), "has format 2, this genlearn reads 1"),
        (lambda c: c.update(format="1"), "is not of a genlearn model"),
        (lambda c: c.clear(), "is not of a genlearn model"),
        (lambda c: c.pop("state"), "its state is missing or of the wrong type"),
        (lambda c: c.update(params=[1]), "its params is missing or of the wrong type"),
        (lambda c: c.update(model={"a": 1}), "its model is missing or of the wrong type"),
        (lambda c: c.update(sha256="none"), "its sha256 is missing or of the wrong type"),
        (lambda c: c.update(model="os"), 'holds a model named "os". Install the package'),
        (lambda c: c.update(model="_em"), 'holds a model named "_em"'),
        (lambda c: c.update(modality="smell"), 'no codec for modality "smell"'),
        (lambda c: c.update(modality="../table"), 'no codec for modality "../table"'),
        (lambda c: c.update(modality="base"), 'no codec for modality "base"'),
        (lambda c: c["params"].update(colour=1), "names unknown settings of gmm: colour"),
        (lambda c: c["params"].update(components="many"), "components must be .*, not 'many'"),
        (lambda c: c["state"].update(__class__="x"), "__class__ cannot be learned state"),
        (lambda c: c["state"].update(sample="x"), "sample cannot be learned state"),
        (lambda c: c["state"].update(codec_={}), "codec_ cannot be learned state"),
        (lambda c: c["state"].update(layout_=1), "layout_ cannot be learned state"),
    ],
)
def test_a_configuration_of_the_wrong_kind_is_refused(folder: Path, change: Callable, says: str) -> None:
    forge(folder, change)
    refused(folder, says)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "\xff",
        "NaN,",
        '{"$float": "sixty"}',
        '{"$float": [1]}',
        "[" * 100_000,
        '{"a": 1' + "0" * 5000 + "}",
    ],
    ids=["empty", "open", "list", "latin", "nan", "float", "float list", "nested", "long number"],
)
@pytest.mark.parametrize("name", [store.CONFIG, store.CODEC])
def test_text_that_is_no_description_is_refused(folder: Path, name: str, text: str) -> None:
    (folder / name).write_bytes(text.encode("latin-1"))
    if name == store.CODEC:
        forge(folder)
    refused(folder, "is damaged|is not of a genlearn model|does not fit together")


def header(spec: dict[str, Any], body: bytes = b"") -> bytes:
    text = json.dumps(spec).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        struct.pack("<Q", 2**63) + b"{}",
        header({"means_": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 2**62]}}),
        header({"means_": {"dtype": "F32", "shape": [2**33], "data_offsets": [0, 4]}}, b"\0" * 4),
        header({"means_": {"dtype": "F32", "shape": [1], "data_offsets": [8, 4]}}, b"\0" * 8),
        header({"means_": {"dtype": "Q99", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
        header({"means_": 7}),
    ],
    ids=["empty", "header size", "shape", "shape beyond data", "offsets", "type", "kind"],
)
def test_absurd_weights_are_refused_without_memory_for_them(folder: Path, data: bytes) -> None:
    (folder / store.WEIGHTS).write_bytes(data)
    forge(folder)
    refused(folder, "weights.safetensors is damaged")


def test_a_file_larger_than_memory_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_memory", lambda: 100)
    refused(folder, r"weights.safetensors is too large \([0-9,]+ bytes, at most 100\)")


def test_a_codec_that_does_not_fit_is_refused(folder: Path) -> None:
    whole = json.loads((folder / store.CODEC).read_text())
    for change in ({"columns": 3}, {"takes": None}, {"columns": [{"part": "os"}]}, {"target": "nowhere"}):
        (folder / store.CODEC).write_bytes(store.json_bytes(whole | change))
        forge(folder)
        refused(folder, "does not fit together")
    (folder / store.CODEC).write_bytes(b"[]")
    forge(folder)
    refused(folder, "codec.json is damaged .not an object")


# -- nothing executes ------------------------------------------------------------------------------------------------
class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('code of a model folder was run')",)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("protocol", ["pickle", "torch"])
def test_pickled_files_are_refused_unread(folder: Path, name: str, protocol: str) -> None:
    if protocol == "pickle":
        (folder / name).write_bytes(pickle.dumps(Trap()))
    else:
        torch.save(Trap(), folder / name)
    if name != store.CONFIG:
        forge(folder)
    refused(folder, "is damaged")


def test_a_model_s_name_is_never_imported_as_such(folder: Path) -> None:
    (folder / "trap.py").write_text("raise SystemExit('code of a model folder was run')")
    for name in ("trap", str(folder / "trap"), "..trap", "gmm.trap", "genlearn.models.gmm", ""):
        forge(folder, lambda c, name=name: c.update(model=name))  # type: ignore[misc]
        refused(folder, "holds a model named")
