"""SIGKILL at any moment: what is resumed ends as if nothing had happened, bit by bit. In full: `benchmarks.reliability kills`."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from benchmarks.reliability import kills
from benchmarks.reliability.victims import Death, differing, outcome, sit
from genlearn.training import checkpoints


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kills")


@pytest.fixture(scope="module")
def source(home: Path) -> Path:
    return kills.records(home)


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_never_was(source: Path, home: Path) -> None:
    """In a file half written, in a row of history, before the last rename: all kinds of places in one run."""
    straight, folder = home / "straight", home / "killed"
    sit(kills.begin("vae", source, straight), straight)
    deaths = [Death("write", 4), Death("history", 40), Death(seconds=0.1), Death("rename", 5), Death("end", 3)]
    fell = [sit(kills.go_on("vae", source, folder), folder, death).fell for death in deaths]
    assert fell[:2] == ["write", "history"]
    assert fell[3:] == ["rename", "end"]
    last = sit(kills.go_on("vae", source, folder), folder)
    assert last.codes == (0,), last.said
    assert differing(outcome(straight), outcome(folder)) == []
    assert not list(folder.rglob(".*")), "no half files stay"


def test_when_one_of_two_processes_is_killed_the_other_ends_and_the_run_goes_on(source: Path, home: Path) -> None:
    straight, folder = home / "together", home / "alone"
    sit(kills.begin("vae", source, straight), straight, processes=2)
    sitting = sit(kills.begin("vae", source, folder), folder, Death("step", 150, of=(1,)), processes=2)
    assert sitting.codes == (1, -9)
    assert not sitting.hung
    assert sitting.said[0].splitlines()[-1].startswith(kills.LOST)
    assert sit(kills.go_on("vae", source, folder), folder, processes=2).codes == (0, 0)
    assert differing(outcome(straight), outcome(folder)) == []


def test_a_classical_fit_that_is_killed_leaves_no_half_model(source: Path, home: Path) -> None:
    folder = home / "gmm"
    sitting = sit(kills.begin("gmm", source, folder), folder, Death("write", 3))  # run.json, codec.json, weights
    assert sitting.fell == "write"
    assert not (folder / "config.json").exists()
    assert sit(kills.go_on("gmm", source, folder), folder).codes == (0,)
    assert outcome(folder)["draws"]


def test_every_damage_to_the_newest_checkpoint_is_seen(source: Path, home: Path) -> None:
    folder = kills.killed_late("vae", source, home / "late")
    older, newest = sorted((folder / "checkpoints").iterdir())
    rng = random.Random(0)
    for _ in range(20):
        shutil.rmtree(home / "damaged", ignore_errors=True)
        shutil.copytree(folder, home / "damaged")
        how, _ = kills.damage(home / "damaged", rng)
        found = checkpoints.newest(home / "damaged" / "checkpoints")
        assert found is not None
        assert found.step == int(older.name[5:17]), how
        assert found.notes == (f"{newest.name} is damaged and was passed over",)
