"""Every parser answers mutated inputs with data or with one line."""

import pytest

from tests.fuzz import TARGETS, shake

TIMES = 200


@pytest.mark.parametrize("parser", TARGETS)
def test_whatever_the_bytes_the_answer_is_data_or_one_line(parser: str) -> None:
    tried, refused = shake(TARGETS[parser], times=TIMES)
    assert tried == TIMES
    assert refused > 0
