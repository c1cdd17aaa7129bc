"""Ugly data are used: each set trains, draws in the form of its records, scores and saves, and a note tells what was done to it."""

from __future__ import annotations

import pytest

from benchmarks.reliability.ugly import SETS, use

CHEAP = ("marginals", "gmm")
NETS = SETS[::4]  # a net sees what the cheap models see, through the same codec; the benchmark shows it all of them


def test_there_are_enough() -> None:
    assert len({ugly.name for ugly in SETS}) == len(SETS) >= 30


@pytest.mark.parametrize("ugly", [u for u in SETS if not u.heavy], ids=lambda ugly: ugly.name)
def test_ugly_data_are_used_or_refused_usefully(ugly, tmp_path) -> None:
    for model in (*CHEAP, *(("vae",) if ugly in NETS else ())):
        assert use(ugly, model, tmp_path / model) == []
