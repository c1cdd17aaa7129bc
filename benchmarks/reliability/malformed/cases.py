"""One malformed input: how it is made, how the command answers, and what is wrong with an answer."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

# Seconds of the processor for one answer (the clock depends on the neighbours); a command of its own also has to import torch.
LONGEST, START = 5.0, 5.0
# A fix is an order ("Give ..."), the right word ("Did you mean ...", "Columns: ..."), or the right form ("must be ...").
_ORDERS = (
    "Add|Ask|Call|Check|Choose|Close|Convert|Delete|Download|Drop|Fit|Flatten|Free|Give|Go on|Install|Keep|Leave|Look|Make|Mend|"
    "Name|Pack|Put|Quote|Remove|Rename|Replace|Rescale|Resize|Restore|Run|Save|Scale|Set|Split|Start|Swap|Threshold|Unpack|Use|"
    "Widen|Write"
)
_FIX = re.compile(
    rf"[.;:)?] (?:{_ORDERS})\b|Did you mean \"|(?:Values|Columns|Known|Models that [^:]+): \S|"
    r"\bmust (?:be|lie|read|hold|have)\b|`genlearn \S.*`"
)


@dataclass(frozen=True)
class Place:
    """Where a case happens: a folder of its own, which is the working directory, and finished runs that it may use."""

    folder: Path
    runs: Path

    def run(self, name: str) -> str:
        """Return the path of a finished run: `gmm` and `vae` of a table, `pictures` (a VAE of images), `marginals`."""
        return str(self.runs / name)

    @cached_property
    def table(self) -> str:
        """A good table in the folder, as a relative path."""
        (self.folder / "good.csv").write_text(good_csv())
        return "good.csv"


@dataclass(frozen=True)
class Case:
    """One malformed input.

    Arguments:
        name: What is wrong, in words; unique.
        make: Writes the input into the place and returns the words of the command.
        says: What the message must hold: file, row, column, the wrong word.
    """

    name: str
    make: Callable[[Place], Sequence[str]]
    says: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What the command said and did."""

    code: int
    out: str
    err: str
    seconds: float
    touched: tuple[str, ...]
    apart: bool = False


def good_csv(n: int = 40) -> str:
    """Return a small table: two numbers, a category, a label."""
    rng = np.random.default_rng(0)
    numbers = zip(rng.normal(size=n), rng.integers(30, 90, n), strict=True)
    rows = [f"{a:.2f},{b},{'ab'[b % 2]},{'no' if a < 0 else 'yes'}" for a, b in numbers]
    return "\n".join(["height,age,city,churn", *rows, ""])


def given(name: str, file: str, content: bytes | str, *says: str, words: Sequence[str] = ()) -> Case:
    """Return the case of one file that `fit` is to learn; the message must name it."""

    def make(place: Place) -> Sequence[str]:
        data = content.encode() if isinstance(content, str) else content
        (place.folder / file).write_bytes(data)
        return ("fit", "marginals", file, *words)

    return Case(name, make, (file, *says))


def prepare(folder: Path) -> Path:
    """Fit the runs that cases use: `gmm`, `vae`, `marginals` of a table with a label, `pictures`, a VAE of grey images."""
    from genlearn.cli import main

    (folder / "good.csv").write_text(good_csv())
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.savez(folder / "pixels.npz", x=pixels, y=np.arange(40) % 2)
    for name, words in {
        "gmm": ("gmm", "good.csv", "--target", "churn", "--components", "1"),
        "marginals": ("marginals", "good.csv"),
        "vae": ("vae", "good.csv", "--target", "churn", "--steps", "2", "--hidden", "8"),
        "pictures": ("vae", "pixels.npz", "--steps", "2", "--hidden", "8"),
    }.items():
        with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
            assert main(["fit", *words, "--seed", "0", "--out", name, "--quiet"]) == 0
    return folder


def answer(case: Case, place: Place, *, apart: bool = False) -> Answer:
    """Make a case and run its command in the folder of the place; `apart` runs it in a process of its own."""
    from genlearn.cli import main

    with contextlib.chdir(place.folder):
        words = [str(w) for w in case.make(place)]
        there = _tree(place)
        begun = _worked()
        if apart:
            line = [sys.executable, "-m", "genlearn", *words]
            done = subprocess.run(line, capture_output=True, text=True, timeout=100)
            code, out, err = done.returncode, done.stdout, done.stderr
        else:
            said, complained = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
                code = main(words)
            out, err = said.getvalue(), complained.getvalue()
        seconds = _worked() - begun
        now = _tree(place)
    touched = tuple(sorted(str(path) for path in there | now if there.get(path) != now.get(path)))
    return Answer(code, out, err, seconds, touched, apart)


def faults(case: Case, given: Answer) -> list[str]:
    """Return what is wrong with an answer, one sentence each; nothing if it is as it must be."""
    wrong = []
    if given.code != 2:
        wrong.append(f"exit {given.code}")
    if given.err.count("\n") != 1 or not given.err.startswith("genlearn: "):
        wrong.append("not one line that begins with genlearn:")
    if any(ord(c) < 32 for c in given.err[:-1]) or len(given.err) > 600:
        wrong.append("control characters, or longer than a person reads")
    if missing := [w for w in case.says if w not in given.err]:
        wrong.append(f"does not name {', '.join(missing)}")
    if not _FIX.search(given.err):
        wrong.append("no fix")
    if given.out:
        wrong.append("something on stdout")
    if given.touched:
        wrong.append(f"touched {', '.join(given.touched[:3])}")
    if given.seconds > LONGEST + START * given.apart:
        wrong.append(f"{given.seconds:.1f} s")
    return wrong


def _worked() -> float:
    """Return the seconds that this process and those that it waited for have kept a processor busy."""
    return sum(os.times()[:4])


def _tree(place: Place) -> dict[Path, tuple[int, int]]:
    """Return size and time of every file and folder that a command could have touched."""
    found = {}
    for root in (place.folder, place.runs):
        for path in sorted(root.rglob("*")):
            with contextlib.suppress(OSError):
                status = path.lstat()
                found[path] = (status.st_size if not path.is_dir() else 0, status.st_mtime_ns)
    return found
