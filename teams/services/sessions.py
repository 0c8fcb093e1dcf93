"""Ends sign-ins in other browsers, and keeps when each was last used."""

from collections.abc import Iterable
from datetime import datetime

import structlog
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db import InternalError, transaction

from core import audit, clock
from core.reasons import LONGEST, checked_reason
from teams.models import User

log = structlog.get_logger(__name__)


@transaction.atomic
def end_sessions(
    *, actor: User | None, user: User, reason: str, sessions: Iterable[UserSession] | None = None
) -> int:
    """End these sign-ins of a person, or all of them, and return how many there were.

    Raises InvalidInputError without a reason.
    """
    text = checked_reason(reason, most=LONGEST)
    mine = UserSession.objects.filter(user=user)
    if sessions is not None:
        mine = mine.filter(pk__in=[session.pk for session in sessions])
    ended = list(mine)
    if not ended:
        return 0
    Session.objects.filter(session_key__in=[session.session_key for session in ended]).delete()
    mine.delete()
    addresses = sorted({session.ip for session in ended})
    after = {"sessions": len(ended), "addresses": addresses}
    audit.record(actor=actor, action="person.sessions_ended", subject=user, after=after, reason=text)
    return len(ended)


class LastSeen:
    """Keeps when a session was last used, exact to the minute: one write a minute and session at most.

    What this process has asked to be written in the current minute it does not ask again; of several
    processes the first one writes. So a page costs nothing but, once a minute, one statement.
    """

    def __init__(self) -> None:
        self._minute: datetime | None = None
        self._seen: set[str] = set()

    def saw(self, session_key: str) -> None:
        """Write down that a session is in use now, unless that is known of this minute."""
        now = clock.now()
        minute = now.replace(second=0, microsecond=0)
        if minute != self._minute:
            self._minute, self._seen = minute, set()
        if session_key in self._seen:
            return
        self._seen.add(session_key)
        mine = UserSession.objects.filter(session_key=session_key, last_seen_at__lt=minute)
        try:
            with transaction.atomic():
                mine.update(last_seen_at=now)
        except InternalError:  # the database only reads: so do people
            log.warning("session.last_use_lost")
