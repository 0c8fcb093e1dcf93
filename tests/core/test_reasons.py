"""Why somebody does what he does: one check for every act."""

import pytest

from core.errors import InvalidInputError
from core.reasons import LONGEST, MOST_CHARACTERS, checked_purpose, checked_reason, checked_remark


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


def test_a_remark_may_be_left_out_and_has_a_limit() -> None:
    assert checked_remark(" \n") == ""
    assert checked_remark(" The plan. ") == "The plan."
    with pytest.raises(InvalidInputError, match="at most 240 characters"):
        checked_remark("x" * (MOST_CHARACTERS + 1))


@pytest.mark.parametrize("reason", ["", " " * 50, "too short", "x" * 51])
def test_a_purpose_has_as_many_characters_as_an_approver_needs(reason: str) -> None:
    assert checked_purpose(" It is for the spring release. ", purpose="", least=10, most=50)[0] == "I"
    with pytest.raises(InvalidInputError, match="Say what it is for, in 10 to 50 characters") as refusal:
        checked_purpose(reason, purpose="what it is for", least=10, most=50)
    assert refusal.value.field == "reason"
