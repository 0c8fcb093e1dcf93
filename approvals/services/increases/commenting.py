"""Questions about a request for more budget, and their answers."""

from django.db import transaction

from approvals.models import BudgetComment, BudgetRequest
from approvals.owners import who_can_decide
from approvals.services.increases.common import locked_increase, record_increase, require_open
from approvals.services.mails import mail_about_budget
from core import clock
from core.errors import InvalidInputError
from teams.models import User

MAX_TEXT_CHARACTERS = 2_000


@transaction.atomic
def comment_increase(*, actor: User, request: BudgetRequest, text: str) -> BudgetComment:
    """Ask or answer something about a pending request; it changes nothing of it.

    Whoever sees the request may speak (the caller has checked that). Raises InvalidInputError,
    AlreadyDecidedError, GoneError.
    """
    mine = locked_increase(request)
    require_open(mine)
    words = text.strip()
    if not words or len(words) > MAX_TEXT_CHARACTERS:
        raise InvalidInputError(
            f"Enter what you want to say, in up to {MAX_TEXT_CHARACTERS:,} characters.", field="text"
        )
    said = BudgetComment.objects.create(
        request=mine, revision=mine.revision, author=actor, text=words, at=clock.now()
    )
    after = {"comment": said, "revision": mine.revision}
    record_increase(actor, "budget_increase.commented", mine, after=after, reason=words)
    for person in _listeners(mine, actor):
        mail_about_budget(
            mine, person, event=f"comment:{said.public_id}", subject=f"{actor} about {mine}", body=words
        )
    return said


def _listeners(request: BudgetRequest, speaker: User) -> list[User]:
    """Return whom a comment is for: the requester hears the others, and who spoke or may decide hears him."""
    if speaker.pk != request.requester_id:
        return [request.requester]
    spoke = User.objects.filter(pk__in=request.comments.values("author"), is_active=True)
    people = {person.pk: person for person in (*who_can_decide(request), *spoke)}
    return [person for pk, person in sorted(people.items()) if pk != speaker.pk]
