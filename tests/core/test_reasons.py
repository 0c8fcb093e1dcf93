"""Why somebody does what he does: one check for every act."""

import pytest

from core.errors import InvalidInputError
from core.reasons import LONGEST, MOST_CHARACTERS, checked_reason


def test_a_reason_is_kept_without_the_space_around_it() -> None:
    assert checked_reason("  The plan. \n") == "The plan."
    assert checked_reason("x" * MOST_CHARACTERS) == "x" * MOST_CHARACTERS
    assert checked_reason("x" * LONGEST, most=LONGEST) == "x" * LONGEST


@pytest.mark.parametrize("reason", ["", " \n\t"])
def test_without_a_reason_it_says_where_one_would_be_kept(reason: str) -> None:
    with pytest.raises(InvalidInputError, match="Enter a reason: it stays with the key") as refusal:
        checked_reason(reason, kept="it stays with the key")
    assert refusal.value.field == "reason"


def test_a_reason_that_is_too_long_is_told_the_limit() -> None:
    with pytest.raises(InvalidInputError, match="at most 240 characters"):
        checked_reason("x" * (MOST_CHARACTERS + 1))
    with pytest.raises(InvalidInputError, match="at most 2,000 characters"):
        checked_reason("x" * (LONGEST + 1), most=LONGEST)
