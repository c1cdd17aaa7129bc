"""Bad input is answered: one line that says what, where and the fix, exit 2, nothing written, at once, within bounds."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from benchmarks.reliability.malformed import CASES, Place, answer, faults
from benchmarks.reliability.malformed.cases import prepare
from benchmarks.reliability.mistakes import misses, mistakes

MEMORY = 600  # MB that one answer may take: twice what may be unpacked before a bomb is known as one
APART = 299  # every so many, a case also runs as a command of its own


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("runs"))


def test_there_are_many_different_ideas() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 300


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_answered_in_one_line(case, runs, tmp_path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    given = answer(case, Place(tmp_path, runs))
    assert not faults(case, given), given.err
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY * 1000


@pytest.mark.parametrize("case", CASES[::APART], ids=lambda case: case.name)
def test_so_does_the_command_itself(case, runs, tmp_path) -> None:
    given = answer(case, Place(tmp_path, runs), apart=True)
    assert not faults(case, given), given.err


@pytest.mark.parametrize("mistake", mistakes(), ids=lambda mistake: mistake.name)
def test_a_slip_is_answered_with_the_right_word(mistake, runs, tmp_path) -> None:
    given = answer(mistake, Place(tmp_path, runs))
    assert not faults(mistake, given), given.err
    assert not misses(mistake, given), given.err
