"""Ends what was given up: it is sent again, or put aside."""

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
    mine.dead_at, mine.put_aside_at, mine.attempts, mine.next_attempt_at = None, None, 0, clock.now()
    mine.save(update_fields=["dead_at", "put_aside_at", "attempts", "next_attempt_at"])
    audit.record(
        actor=actor,
        action="message.sent_again",
        subject=mine,
        before=before,
        after={"dead_at": None, "attempts": 0},
    )
    return mine


@transaction.atomic
def put_aside(*, actor: User, message: Outbox) -> Outbox:
    """Say that nothing is to be done about a message that was given up; administrators may.

    It counts no more on the Status page, and is deleted when its time has come. The second time changes
    nothing. Raises RoleNeededError, and AlreadyDoneError for a message that is not given up.
    """
    require_admin(actor, "put messages aside")
    mine = Outbox.objects.select_for_update(no_key=True).order_by("pk").get(pk=message.pk)
    if mine.dead_at is None:
        raise AlreadyDoneError("This message is not given up: it is delivered, or tried again by itself.")
    if mine.put_aside_at is not None:
        return mine
    mine.put_aside_at = clock.now()
    mine.save(update_fields=["put_aside_at"])
    audit.record(
        actor=actor,
        action="message.put_aside",
        subject=mine,
        before={"put_aside_at": None},
        after={"put_aside_at": mine.put_aside_at},
    )
    return mine
