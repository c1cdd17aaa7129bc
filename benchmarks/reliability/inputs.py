"""Bad input is answered and ugly data are used: malformed inputs, seeded mistakes, ugly data sets, fuzzed parsers."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..checks import Check, Report
from .malformed import CASES, FAMILIES, Answer, Case, Place, answer, faults
from .malformed.cases import prepare
from .mistakes import misses, mistakes
from .ugly import MODELS, SETS, Ugly, use

APART = 20  # every so many, a case also runs as a command of its own
CHEAP = ("marginals", "gmm")


def run(*, quick: bool = False) -> Report:
    """Ask the command everything; use every ugly data set with every model (quick: every tenth case, cheap models)."""
    report = Report("Bad input is answered, ugly data are used", [])
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        runs.mkdir()
        prepare(runs)
        _ask(report, CASES[:: 10 if quick else 1], runs)
        if not quick:
            _ask(report, CASES[::APART], runs, apart=True)
        _slip(report, runs)
    _use(report, [s for s in SETS if not (quick and s.heavy)], CHEAP if quick else MODELS)
    return report


def _ask(report: Report, cases: Sequence[Case], runs: Path, *, apart: bool = False) -> None:
    wrong: dict[str, list[str]] = {}
    seconds: list[float] = []
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in cases:
        given = _answered(case, runs, apart=apart)
        seconds.append(given.seconds)
        if found := faults(case, given):
            wrong[case.name] = found
    where = "as commands of their own" if apart else "in one process"
    most = "10 s with the start" if apart else "5 s"
    bar = f"all: exit 2, one line with what, where and the fix, nothing on stdout, nothing written, {most}"
    reached = f"{len(cases) - len(wrong)} of {len(cases)}, slowest {max(seconds):.1f} s"
    report.checks.append(Check(f"malformed inputs, {where}", bar, reached, not wrong))
    report.details[f"faults, {where}"] = wrong
    if not apart:
        taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1000
        report.details["malformed inputs by family"] = {name: len(family) for name, family in FAMILIES.items()}
        report.checks.append(
            Check("memory that all answers took, bombs among them", "600 MB", f"{taken:.0f} MB", taken < 600)
        )


def _slip(report: Report, runs: Path) -> None:
    slips = mistakes()
    wrong = {}
    for slip in slips:
        given = _answered(slip, runs)
        if faults(slip, given) or misses(slip, given):
            wrong[slip.name] = given.err
    reached = f"{len(slips) - len(wrong)} of {len(slips)}"
    report.checks.append(Check("seeded mistakes", "all: the message holds the right word", reached, not wrong))
    report.details["mistakes without the right word"] = wrong


def _use(report: Report, sets: Sequence[Ugly], models: Sequence[str]) -> None:
    wrong = {}
    for ugly in sets:
        for model in models:
            with tempfile.TemporaryDirectory() as folder:
                if found := use(ugly, model, Path(folder)):
                    wrong[f"{ugly.name}, {model}"] = found
    pairs = len(sets) * len(models)
    bar = "all: fitted, drawn from, scored, saved, with a note; or refused usefully before training"
    reached = f"{pairs - len(wrong)} of {pairs}"
    report.checks.append(Check(f"{len(sets)} ugly data sets with {', '.join(models)}", bar, reached, not wrong))
    report.details["ugly sets that failed"] = wrong


def _answered(case: Case, runs: Path, *, apart: bool = False) -> Answer:
    with tempfile.TemporaryDirectory() as folder:
        return answer(case, Place(Path(folder), runs), apart=apart)
