"""Why somebody does what he does: asked of every act that is kept, and checked in this one place."""

from core.errors import InvalidInputError

MOST_CHARACTERS = 240  # what a column for a reason holds
LONGEST = 2_000  # where it is kept in the audit alone


def checked_reason(reason: str, *, kept: str = "it is kept in the audit", most: int = MOST_CHARACTERS) -> str:
    """Return a reason without the space around it.

    Raises InvalidInputError, which says where it is `kept`, when nothing is left or it is too long.
    """
    text = reason.strip()
    if not text:
        raise InvalidInputError(f"Enter a reason: {kept}.", field="reason")
    if len(text) > most:
        raise InvalidInputError(f"Enter a reason of at most {most:,} characters: {kept}.", field="reason")
    return text
