"""Benchmarks that check bars: parts of a suite, each a module with `run`, each written down as one JSON.

A suite is a package below `benchmarks` with a `PARTS` tuple of module names. `run(quick=False)` returns what it found as `Check`s.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from . import record


@dataclass(frozen=True)
class Check:
    """One figure beside its bar.

    Arguments:
        what: What was tried, in words: "VAE, 2 processes, 50 kills".
        bar: What had to be reached, in words: "all bit-identical".
        reached: The figure, in words: "50 of 50".
        met: Whether it was reached.
    """

    what: str
    bar: str
    reached: str
    met: bool


@dataclass
class Report:
    """What one part found.

    Arguments:
        title: Heading of its table.
        checks: Figures beside their bars.
        notes: Sentences for the reader: how it was measured, what was left out and why.
        seeds: Seeds of all that was random.
        details: Raw figures that a reader may want, small.
    """

    title: str
    checks: list[Check]
    notes: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0])
    details: dict[str, Any] = field(default_factory=dict)


def main(suite: str, parts: Sequence[str], argv: Sequence[str] | None = None) -> int:
    """Run the parts that are named (default: all), print each figure, write `results/<suite>_<part>.json`; 1 if a bar was missed.

    `--quick` runs a small version and writes nothing.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{suite}")
    parser.add_argument("parts", nargs="*", choices=[*parts, []], metavar="PART", help=", ".join(parts))
    parser.add_argument("--quick", action="store_true", help="a small version; nothing is written")
    asked = parser.parse_args(argv)
    missed = 0
    for part in asked.parts or parts:
        module = importlib.import_module(f"benchmarks.{suite}.{part}")
        begun = time.perf_counter()
        report: Report = module.run(quick=asked.quick)
        seconds = round(time.perf_counter() - begun, 1)
        print(f"\n{report.title} ({seconds:.0f} s)")
        for check in report.checks:
            print(
                f"  {'met   ' if check.met else 'MISSED'}  {check.what}: {check.reached} (bar: {check.bar})", flush=True
            )
            missed += not check.met
        if not asked.quick:
            record.write(f"{suite}_{part}", {"suite": suite, "part": part, "seconds": seconds, **asdict(report)})
    return int(missed > 0)


def lines(result: dict[str, Any]) -> list[str]:
    """Return the table of one part, for `benchmarks.table`."""
    rows = [
        f"| {c['what']} | {c['bar']} | {c['reached']} | {'met' if c['met'] else '**missed**'} |"
        for c in result["checks"]
    ]
    command = f"`python -m benchmarks.{result['suite']} {result['part']}`, {result['seconds']:.0f} s"
    return [
        f"{command}.",
        "",
        "| what | bar | reached | |",
        "|---|---|---|---|",
        *rows,
        "",
        *(f"- {n}" for n in result["notes"]),
    ]


def exit_with(suite: str, parts: Sequence[str]) -> None:
    """Run a suite as a command."""
    sys.exit(main(suite, parts))
