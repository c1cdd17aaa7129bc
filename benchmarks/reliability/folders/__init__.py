"""Model folders from anywhere: 2,000 mutated and hundreds of hostile ones are loaded and drawn from in a watched process.

Each load must end in a usable model or in one printable line, within `SECONDS` and within `ROOM` bytes and `TIMES` the folder's
own; and nothing may be run, imported, or opened outside the folder meanwhile (the system's time zones aside).
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ...checks import Check, Report
from . import bases, hostile, mutations
from .loader import Loader, Outcome

SECONDS, ROOM, TIMES = 2.0, 256 * 2**20, 8
QUICK = ("gan-colour", "vaegan-table", "vae-grey", "kde-matrix")  # besides those that ideas begin from
GOOD = ("fine", "problem")


def run(*, quick: bool = False) -> Report:
    """Load them all; `quick` takes 150 mutations and the ideas that are made at once."""
    with tempfile.TemporaryDirectory() as place:
        wanted = {base for _, base, _ in hostile.ideas(large=False)} | {*QUICK} if quick else None
        good = bases.write(Path(place) / "good", wanted)
        with Loader(good) as loader:
            mutated = [tried(loader, path, what) for what, path in _mutated(good, 150 if quick else 2000)]
            ideas = [tried(loader, path, what) for what, path in _hostile(Path(place), quick)]
    return _report(mutated, ideas)


def tried(loader: Loader, path: Path, what: str) -> tuple[str, Outcome]:
    """Load one folder, delete it, and return what it was and what came of it."""
    outcome = loader.load(path)
    shutil.rmtree(path)
    return what, outcome


def _mutated(good: list[Path], count: int, seed: int = 0) -> Iterator[tuple[str, Path]]:
    rng, files = random.Random(seed), [mutations.read(path) for path in good]
    for i in range(count):
        k = rng.randrange(len(good))
        what, mutated = mutations.mutate(files[k], files, rng)
        yield f"{what} {i} of {good[k].name}", mutations.write(good[k].parents[1] / f"mutated-{i}", mutated)


def _hostile(place: Path, quick: bool) -> Iterator[tuple[str, Path]]:
    for i, (what, base, deed) in enumerate(hostile.ideas(large=not quick)):
        folder = place / "hostile" / f"{i}"
        shutil.copytree(place / "good" / base, folder)
        deed(folder)
        yield what, folder
        for beside in folder.parent.iterdir():  # what the idea left beside the folder
            beside.unlink()


def missed(outcome: Outcome) -> str:
    """Return what an outcome did that it must not, empty for none."""
    if outcome.kind not in GOOD:
        return f"{outcome.kind}: {outcome.text}"
    if outcome.seen:
        return "; ".join(outcome.seen)
    if outcome.cpu > SECONDS:
        return f"{outcome.cpu:.1f} s"
    return f"{outcome.memory:,} bytes" if outcome.memory > ROOM + TIMES * outcome.size else ""


def _report(mutated: list[tuple[str, Outcome]], ideas: list[tuple[str, Outcome]]) -> Report:
    everything = mutated + ideas
    misses = {what: why for what, outcome in everything if (why := missed(outcome))}
    cpu, slowest = max((outcome.cpu, what) for what, outcome in everything)
    most = max(outcome.memory - TIMES * outcome.size for _, outcome in everything) / 2**20
    silent = sum(not outcome.seen for _, outcome in everything)
    strange = "code run, modules imported, files opened outside, warnings"
    checks = [
        _answers("mutated folders (bytes, values, tensors, whole files; most with right checksums)", mutated),
        _answers("hostile folders, each with an idea of its own", ideas),
        Check(strange, "none", f"none in {silent} of {len(everything)}", silent == len(everything)),
        Check("slowest answer, processor time", f"<= {SECONDS:.0f} s", f"{cpu:.2f} s ({slowest})", cpu <= SECONDS),
        Check(f"peak memory beyond {TIMES} x the folder", f"<= {ROOM >> 20} MB", f"{most:.0f} MB", most * 2**20 <= ROOM),
    ]  # fmt: skip
    notes = [
        "An audit hook (sys.addaudithook) records every event from the call of load to the end of sample, after each model has been "
        "loaded and drawn from once; allowed are reading files of the folder and the system's time zones.",
        "An answer that takes more than 20 s of wall time, and a process that dies, are misses. Reading and hashing a folder of many "
        "gigabytes takes the time that it takes.",
    ]
    memory, largest = max((outcome.memory, what) for what, outcome in everything)
    details = {
        "misses": dict(list(misses.items())[:20]),
        "outcomes": dict(sorted(Counter(f"{what.split()[0]}: {outcome.kind}" for what, outcome in mutated).items())),
        "wall seconds": round(max(outcome.wall for _, outcome in everything), 2),
        "most memory": {largest: memory},
    }
    return Report("Model folders from anywhere", checks, notes, details=details)


def _answers(what: str, outcomes: list[tuple[str, Outcome]]) -> Check:
    kinds = Counter(outcome.kind for _, outcome in outcomes)
    right = sum(kinds[kind] for kind in GOOD)
    reached = f"{kinds['problem']} one line, {kinds['fine']} a usable model, {len(outcomes) - right} else"
    return Check(f"{len(outcomes):,} {what}", "each a usable model or one line", reached, right == len(outcomes))
