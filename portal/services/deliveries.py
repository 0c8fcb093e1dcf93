"""Sends again what was given up."""

from django.db import transaction

from core import audit, clock
from core.errors import AlreadyDoneError
from core.models import Outbox
from teams.models import User
from teams.selectors import require_admin


@transaction.atomic
def send_again(*, actor: User, message: Outbox) -> Outbox:
    """Let a message that was given up be tried again from now on, as often as a new one; administrators may.

    Raises RoleNeededError, and AlreadyDoneError for a message that is not given up.
    """
    require_admin(actor, "send messages again")
    mine = Outbox.objects.select_for_update(no_key=True).order_by("pk").get(pk=message.pk)
    if mine.dead_at is None:
        raise AlreadyDoneError("This message is not given up: it is delivered, or tried again by itself.")
    before = {"dead_at": mine.dead_at, "attempts": mine.attempts}
    mine.dead_at, mine.attempts, mine.next_attempt_at = None, 0, clock.now()
    mine.save(update_fields=["dead_at", "attempts", "next_attempt_at"])
    audit.record(
        actor=actor,
        action="message.sent_again",
        subject=mine,
        before=before,
        after={"dead_at": None, "attempts": 0},
    )
    return mine
