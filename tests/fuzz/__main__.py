"""Run one fuzz target for a while: `python -m tests.fuzz delimited --seconds 60 --seed 1`."""

from __future__ import annotations

import argparse

from . import TARGETS, shake

parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
parser.add_argument("parser", choices=sorted(TARGETS))
parser.add_argument("--seconds", type=float, default=10.0)
parser.add_argument("--seed", type=int, default=0)
asked = parser.parse_args()
tried, refused = shake(TARGETS[asked.parser], seed=asked.seed, seconds=asked.seconds)
print(f"{asked.parser}: {tried:,} inputs, {refused:,} refused in one line, the others read")
