"""Model folders from anywhere and from earlier versions: hostile ones do no harm, golden ones stay readable."""

from __future__ import annotations

import json
import os
import pickle
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import genlearn
from benchmarks.reliability import folders
from benchmarks.reliability.folders import bases, hostile, mutations
from benchmarks.reliability.folders.child import Watch
from genlearn import store
from genlearn.errors import Problem
from genlearn.models import GMM, VAE
from genlearn.report.page import write as write_report
from genlearn.report.sections import home_of
from tests.golden import make

GOLDEN = sorted(path.parent for path in make.HERE.glob("*/*/config.json"))


# -- folders from anywhere -------------------------------------------------------------------------------------------
def test_no_folder_runs_code_or_fills_the_memory() -> None:
    report = folders.run(quick=True)
    assert not report.details["misses"]
    assert all(check.met for check in report.checks)


def test_there_are_hundreds_of_ideas_each_with_its_name() -> None:
    names = [name for name, *_ in hostile.ideas(large=False)]
    assert len(names) == len(set(names)) > 500


def test_the_hook_sees_what_must_not_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, link = tmp_path / "inside", tmp_path / "link"
    inside.write_text("")
    link.symlink_to("/etc/hostname")
    watch = Watch()  # a hook cannot be taken away again, but it is blind while no folder is named

    def seen(deed: Callable[[], object]) -> set[str]:
        watch.folder, watch.seen = str(tmp_path), []
        deed()
        watch.folder = ""
        return {event.split()[0] for event in watch.seen}

    assert seen(inside.read_bytes) == set()
    assert seen(link.read_bytes) == seen(Path("/etc/hostname").read_bytes) == {"open"}
    assert seen(lambda: inside.write_text("x")) == {"open"}
    monkeypatch.delitem(sys.modules, "zipapp", raising=False)
    assert "import" in seen(lambda: __import__("zipapp"))
    assert seen(lambda: eval("1")) == {"compile", "exec"}
    assert "os.system" in seen(lambda: os.system("true"))
    assert "pickle.find_class" in seen(lambda: pickle.loads(pickle.dumps(GMM)))


def test_what_save_writes_load_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = GMM(components=1, random_state=0).fit(np.random.default_rng(0).normal(size=(20, 2)))
    monkeypatch.setitem(store.MOST, store.CODEC, 100)
    with pytest.raises(Problem, match=r"codec.json would have [\d,]+ bytes, at most 100 can be read back"):
        model.save(tmp_path / "m")
    assert not (tmp_path / "m").exists()
    with pytest.raises(Problem, match=r"takes [\d,]+ bytes to write down, at most 100"):  # before anything is learned
        GMM(components=1).fit(np.zeros((20, 2)))


# -- folders of earlier versions -------------------------------------------------------------------------------------
def test_this_version_has_golden_folders() -> None:
    kept = {path.name.partition("-")[0] for path in GOLDEN if path.parent.name == genlearn.__version__}
    assert kept == set(genlearn.model.model_names())
    assert sum(file.stat().st_size for path in GOLDEN for file in path.iterdir()) < 25_000 * len(GOLDEN)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name} {path.name}")
def test_a_golden_folder_says_what_it_said(path: Path) -> None:
    config = json.loads((path / store.CONFIG).read_text())
    if config["format"] != store.FORMAT:
        with pytest.raises(Problem, match=r"has format .* Install the matching one"):
            genlearn.load(path)
        return
    model, expected = genlearn.load(path), json.loads((path / make.EXPECTED).read_text())
    said = make.answers(model, make.records_of(expected["records"]))
    assert said.keys() == expected.keys() - {"records", "draws"}
    for name, numbers in said.items():
        # Scores are sums of float64 or of some hundred float32 terms, in another order on another machine.
        np.testing.assert_allclose(numbers, expected[name], rtol=1e-6, atol=1e-6 if name == "scores" else 1e-5)
    if str(torch.__version__) == config["versions"]["torch"]:  # another torch may draw other numbers from a seed
        _alike(make.draws(model), expected["draws"])


def _alike(drawn: object, expected: object) -> None:
    """Compare draws: numbers to what float32 nets hold on any machine, all else exactly."""
    if not isinstance(drawn, dict):
        np.testing.assert_array_equal(drawn, expected)
        return
    for name, column in pd.DataFrame(drawn).items():
        other = pd.DataFrame(expected)[name]
        if pd.api.types.is_float_dtype(column):
            np.testing.assert_allclose(column, other.astype(float), rtol=1e-4)
        else:
            assert column.tolist() == other.tolist(), name


# -- run folders -----------------------------------------------------------------------------------------------------
def test_a_report_of_damaged_or_forged_files_is_a_page_or_one_line(tmp_path: Path) -> None:
    VAE(steps=4, hidden=(4,), latent=2, random_state=0).fit(bases.table(), out=tmp_path / "run").save(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(
        json.dumps({"data": {"name": "a", "split": "b"}, "command": ["genlearn"], "seed": 0})
    )
    write_report(tmp_path / "run")
    rng, refused = random.Random(0), 0
    files = [tmp_path / "run" / name for name in ("run.json", "config.json", "history.jsonl")]
    whole = {file: file.read_bytes() for file in files}
    for _ in range(40):
        file = rng.choice(files)
        if file.suffix == ".json" and rng.random() < 0.8:
            spec = json.loads(whole[file])
            mutations.change(spec, rng)
            file.write_text(json.dumps(spec))
        else:
            file.write_bytes(mutations.hurt(whole[file], rng))
        try:
            write_report(tmp_path / "run")
        except Problem:
            refused += 1
        file.write_bytes(whole[file])
    assert 3 < refused < 37


def test_a_comparison_names_no_folder_but_its_own(tmp_path: Path) -> None:
    for name in ("../outside", "..", "", "/etc", "a/b"):
        with pytest.raises(ValueError, match="names no row"):
            home_of(tmp_path, name)
