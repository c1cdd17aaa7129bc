"""Runs that are killed, damaged, refused by the disk: what is resumed ends as if nothing had happened, bit by bit."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..checks import Check, Report
from . import incidents
from .victims import PLACES, Death, Sitting, differing, outcome, sit

KILLS, DAMAGES = 50, 100
LATEST = {"step": 170, "save": 6, "write": 6, "rename": 6, "delete": 4, "history": 80, "end": 24}  # visits to a place
SMALL = ["--hidden", "8", "--latent", "2", "--batch", "16", "--steps", "200", "--seed", "3"]
FITS = {
    "vae": ["vae", *SMALL, "--ema", "0.99", "--clip", "1"],
    "gan": ["gan", *SMALL],
    "gmm": ["gmm", "--components", "6", "--seed", "3"],
}
LOST = "genlearn: another process of this run has ended."


def records(home: Path) -> Path:
    """Write a small table: numbers that depend on each other, and a category."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 3))
    frame = pd.DataFrame(x, columns=list("abc")).assign(d=np.where(x[:, 0] > 0, "yes", "no"))
    frame.to_csv(home / "records.csv", index=False)
    return home / "records.csv"


def begin(fit: str, source: Path, folder: Path) -> list[str]:
    """Return the command that begins a run."""
    model, *settings = FITS[fit]
    return ["fit", model, str(source), *settings, "--out", str(folder)]


def go_on(fit: str, source: Path, folder: Path) -> list[str]:
    """Return what a person types after a kill: the run goes on, or begins where it had not begun."""
    return ["fit", "--resume", str(folder)] if (folder / "run.json").exists() else begin(fit, source, folder)


# -- kills ---------------------------------------------------------------------------------------------------------------
@dataclass
class Tally:
    """What came of runs that were killed again and again, each until it ended."""

    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    wrong: list[str] = field(default_factory=list)
    survivors: int = 0
    lost: list[str] = field(default_factory=list)

    def note(self, sitting: Sitting) -> None:
        """Count where a process fell, and look at how the others ended."""
        self.kills[sitting.fell] += 1
        for code, said in zip(sitting.codes, sitting.said, strict=True):
            if code >= 0:
                self.survivors += 1
                orderly = code == 0 or (code == 1 and said.splitlines()[-1].startswith(LOST))
                if not orderly or "Traceback" in said or sitting.hung:
                    self.lost.append(f"exit {code}{', hung' * sitting.hung}: {said[-300:]}")

    def places(self) -> str:
        """Return how many fell where."""
        return ", ".join(f"{self.kills[place]} {place}" for place in PLACES if self.kills[place])


def deaths(rng: random.Random, processes: int, seconds: float) -> Iterator[Death]:
    """Yield deaths for ever: half of them at a place, half at any time."""
    while True:
        of = rng.choice([(0,), (1,), (0, 1)]) if processes > 1 else (0,)
        if rng.random() < 0.5:
            yield Death(seconds=rng.uniform(0.0, seconds), of=of)
        else:
            place = "step" if of == (1,) else rng.choice(list(LATEST))  # only the first process writes
            yield Death(place, rng.randint(1, LATEST[place]), of=of)


def kill(fit: str, source: Path, home: Path, *, kills: int, processes: int = 1, seed: int = 0) -> Tally:
    """Kill runs until so many kills are reached, each run up to five times, and compare what they leave in the end."""
    straight = sit(begin(fit, source, home / "straight"), home / "straight", processes=processes)
    expected, rng, tally = outcome(home / "straight"), random.Random(f"{fit} {processes} {seed}"), Tally()
    coming = deaths(rng, processes, straight.seconds)
    while tally.kills.total() < kills:
        folder = home / f"killed-{tally.runs}"
        for _ in range(min(rng.randint(1, 5), kills - tally.kills.total())):
            sitting = sit(go_on(fit, source, folder), folder, next(coming), processes=processes)
            if not sitting.fell:
                break
            tally.note(sitting)
        tally.wrong += _difference(fit, source, folder, expected, processes)
        tally.runs += 1
        shutil.rmtree(folder, ignore_errors=True)
    return tally


def _difference(fit: str, source: Path, folder: Path, expected: dict[str, Any], processes: int) -> list[str]:
    """Let a run go on to its end; return what is not as it should be."""
    last = sit(go_on(fit, source, folder), folder, processes=processes)
    if any(last.codes):
        return [f"{folder.name}: exit {last.codes}: {last.said[0][-300:]}"]
    wrong = differing(expected, outcome(folder)) + [f"left over {path.name}" for path in folder.rglob(".*")]
    return [f"{folder.name}: {', '.join(wrong)}"] if wrong else []


def killed_checks(source: Path, home: Path, kills: int) -> Iterator[tuple[Check, dict[str, int]]]:
    """Yield a figure for each kind of run, and where its kills fell."""
    for fit, processes in (("vae", 1), ("gan", 1), ("vae", 2), ("gan", 2)):
        tally = kill(fit, source, _fresh(home / f"{fit}-{processes}"), kills=kills, processes=processes)
        together = f"{fit.upper()}, {processes} process{'es' if processes > 1 else ''}"
        total, same = tally.kills.total(), tally.runs - len(tally.wrong)
        reached = f"{same} of {tally.runs} runs after {total} kills: {tally.places()}{_first(tally.wrong)}"
        bar = f"{kills} kills, every run bit-identical to one without"
        yield Check(f"{together}: SIGKILL", bar, reached, not tally.wrong and total >= kills), dict(tally.kills)
        if processes > 1:
            orderly = tally.survivors - len(tally.lost)
            reached = f"{orderly} of {tally.survivors}{_first(tally.lost)}"
            bar = "the others end by themselves, in one line"
            yield Check(f"{together}: one is lost", bar, reached, not tally.lost), {}


# -- damage --------------------------------------------------------------------------------------------------------------
def _cut(data: bytes, rng: random.Random, other: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _flip(data: bytes, rng: random.Random, other: bytes) -> bytes:
    at, bit = rng.randrange(len(data)), 1 << rng.randrange(8)
    return data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]


def _zeros(data: bytes, rng: random.Random, other: bytes) -> bytes:
    at = rng.randrange(len(data.rstrip(b"\0")) - 1)
    return data[:at] + bytes(len(data) - at)


def _longer(data: bytes, rng: random.Random, other: bytes) -> bytes:
    return data + rng.randbytes(rng.randint(1, 5000))


def _older(data: bytes, rng: random.Random, other: bytes) -> bytes:
    return other


DAMAGE: dict[str, Callable[[bytes, random.Random, bytes], bytes]] = {
    "cut": _cut, "bit flipped": _flip, "tail of zeros": _zeros, "bytes added": _longer, "an older file": _older,
}  # fmt: skip
OFTEN = (
    "cut",
    "bit flipped",
    "cut",
    "bit flipped",
    "cut",
    "bit flipped",
    "tail of zeros",
    "bytes added",
    "an older file",
)


def damage(folder: Path, rng: random.Random) -> tuple[str, Path]:
    """Damage the newest checkpoint of a run; return how, and which."""
    older, newest = sorted((folder / "checkpoints").iterdir())[-2:]
    how = rng.choice(OFTEN)
    newest.write_bytes(DAMAGE[how](newest.read_bytes(), rng, older.read_bytes()))
    return how, newest


def killed_late(fit: str, source: Path, folder: Path) -> Path:
    """Begin a run and kill it near its end, when it has two checkpoints."""
    sit(begin(fit, source, folder), folder, Death("step", LATEST["step"]))
    return folder


def damaged_check(source: Path, home: Path, damages: int) -> Check:
    """Damage the newest checkpoint of a killed run again and again, and let the run go on."""
    sit(begin("vae", source, home / "straight"), home / "straight")
    expected, killed = outcome(home / "straight"), killed_late("vae", source, home / "killed")
    rng, wrong, kinds = random.Random(0), [], Counter[str]()
    for number in range(damages):
        folder = home / f"damaged-{number}"
        shutil.copytree(killed, folder)
        how, newest = damage(folder, rng)
        kinds[how] += 1
        last = sit(["fit", "--resume", str(folder)], folder)
        named = f"{newest.name} is damaged and was passed over; resumed at step "
        # The run's own digests of its last step lie beside the folder that was copied, and are written anew.
        other = differing(expected, outcome(folder)) if last.codes == (0,) else [last.said[0]]
        if named not in last.said[0] or other:
            wrong.append(f"{how}: {', '.join(other) or last.said[0]}")
        shutil.rmtree(folder)
    counts = ", ".join(f"{n} {how}" for how, n in kinds.items())
    reached = f"{damages - len(wrong)} of {damages}: {counts}{_first(wrong)}"
    bar = "damage named, the one before used, the end bit-identical"
    return Check("newest checkpoint damaged", bar, reached, not wrong)


# -- fits without steps, comparisons ---------------------------------------------------------------------------------------
def classical_check(source: Path, home: Path, kills: int) -> Check:
    """Kill a fit that knows no steps at every file that it touches; what lies in `--out` is no model, or a whole one."""
    sit(begin("gmm", source, home / "straight"), home / "straight")
    expected, wrong = outcome(home / "straight"), []
    visits = [(place, nth) for nth in range(1, 12) for place in ("write", "rename", "delete")][:kills]
    fallen = 0
    for place, nth in visits:
        folder = home / f"killed-{place}-{nth}"
        fallen += bool(sit(begin("gmm", source, folder), folder, Death(place, nth)).fell)
        if (folder / "config.json").exists() and differing(
            expected | {"samples": b""}, outcome_without_samples(folder)
        ):
            wrong.append(f"{place} {nth}: a model that is not whole")
        wrong += _difference("gmm", source, folder, expected, 1)
    reached = f"{len(visits) - len(wrong)} of {len(visits)}, {fallen} of them killed{_first(wrong)}"
    bar = "a whole model or none; going on ends the same"
    return Check("GMM killed at every file", bar, reached, not wrong and fallen > 0)


def outcome_without_samples(folder: Path) -> dict[str, Any]:
    """Return the outcome of a run that was killed after its model was saved, before samples were drawn."""
    (folder / "samples.csv").touch()
    return outcome(folder) | {"samples": b""}


def comparison_check(source: Path, home: Path, kills: int) -> Check:
    """Kill a comparison at random; the same command goes on, and finds the same numbers."""
    import json

    def command(folder: Path) -> list[str]:
        return ["compare", str(source), "--models", "gmm,vae", "--steps", "100", "--out", str(folder)]

    def found(folder: Path) -> Any:
        board = json.loads((folder / "report.json").read_text())
        rows = [*board["models"], *board["references"]]
        return {row["name"]: (row["metrics"], row["copies"], row["kind"]) for row in rows}

    seconds = sit(command(home / "straight"), home / "straight").seconds
    expected, rng = found(home / "straight"), random.Random(0)
    fallen, folder, runs, wrong = 0, home / "killed-0", 0, []
    while fallen < kills:
        fell = bool(sit(command(folder), folder, Death(seconds=rng.uniform(0.0, 0.7 * seconds))).fell)
        fallen += fell
        if not fell or fallen == kills:
            sit(command(folder), folder)
            wrong += [] if found(folder) == expected else [folder.name]
            runs += 1
            folder = home / f"killed-{runs}"
    reached = f"{runs - len(wrong)} of {runs} comparisons after {fallen} kills{_first(wrong)}"
    return Check("comparison killed", "the same command goes on; the same numbers", reached, not wrong)


# -- the part ------------------------------------------------------------------------------------------------------------
def run(*, quick: bool = False) -> Report:
    """Kill, damage, refuse."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="genlearn-kills-") as place:
        home = Path(place)
        source = records(home)
        killed = list(killed_checks(source, home, 4 if quick else KILLS))
        checks = [check for check, _ in killed]
        checks.append(damaged_check(source, _fresh(home / "damaged"), 6 if quick else DAMAGES))
        checks.append(classical_check(source, _fresh(home / "gmm"), 4 if quick else 33))
        checks.append(comparison_check(source, _fresh(home / "compared"), 1 if quick else 10))
        checks += [] if quick else incidents.checks(source, _fresh(home / "incidents"))
    notes = [
        "Half of the kills are aimed (a step, before a checkpoint, a file half written, before a rename, before a deletion, half a row "
        "of history, anything after the last step), half fall at any time after the first step.",
        "Compared: weights, optimizer moments, moving averages and terms that wait for the next row as they are at the last step; "
        "then history (but for seconds), the saved model, 64 draws from it, samples.csv.",
        "Processes are forked from one that has imported everything; incidents are played with the real command.",
    ]
    return Report("Kills, damage and refusals", checks, notes, details={"places": [places for _, places in killed]})


def _fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _first(wrong: list[str]) -> str:
    return f"; first: {wrong[0]}" if wrong else ""
