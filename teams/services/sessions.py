"""Ends sign-ins in other browsers."""

from collections.abc import Iterable

from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db import transaction

from core import audit
from teams.models import User


@transaction.atomic
def end_sessions(*, actor: User | None, user: User, sessions: Iterable[UserSession] | None = None) -> int:
    """End these sign-ins of a person, or all of them, and return how many there were."""
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
    audit.record(actor=actor, action="person.sessions_ended", subject=user, after=after)
    return len(ended)
