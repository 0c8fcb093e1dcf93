"""Numbers agree with their nouns."""

from __future__ import annotations

import pytest

from core.words import counted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 days"), (1, "1 day"), (2, "2 days"), (1_200, "1,200 days")]
)
def test_noun_agrees_with_its_number(number: int, text: str) -> None:
    assert counted(number, "day") == text
