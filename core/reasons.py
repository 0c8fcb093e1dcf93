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


def checked_remark(reason: str, *, most: int = MOST_CHARACTERS) -> str:
    """Return a reason that may be left out, without the space around it. Raises InvalidInputError."""
    return checked_reason(reason, most=most) if reason.strip() else ""


def checked_purpose(reason: str, *, purpose: str, least: int, most: int = LONGEST) -> str:
    """Return what an approver reads of a request: what it is for (`purpose`), in a number of characters.

    Raises InvalidInputError, which asks for it.
    """
    text = reason.strip()
    if not least <= len(text) <= most:
        raise InvalidInputError(f"Say {purpose}, in {least} to {most:,} characters.", field="reason")
    return text


def checked_comment(comment: str, *, denies: bool) -> str:
    """Return what a decider says about his decision; one that denies has to say why.

    Raises InvalidInputError.
    """
    text = comment.strip()
    if denies and not text:
        raise InvalidInputError("Enter why you deny it; the requester will see it.", field="comment")
    if len(text) > LONGEST:
        raise InvalidInputError(f"Use at most {LONGEST:,} characters.", field="comment")
    return text
