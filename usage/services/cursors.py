"""When a source is read: one reader at a time, later after each failure, at once when somebody asks."""

import secrets
from collections.abc import Collection
from datetime import timedelta

import structlog
from django.db import transaction
from django.db.models import F, Q, QuerySet

from core import audit, clock
from core.errors import NotFoundError
from teams.errors import RoleNeededError
from teams.models import Role, User
from teams.selectors import names_of, role_holders, roles_of
from usage.models import ImportCursor, SourceKind
from usage.ports import SourceUnavailableError

log = structlog.get_logger(__name__)

FIRST_WAIT = timedelta(minutes=1)
# A journal that lags costs money; a provider that is down is not asked more often than it changes.
LONGEST_WAIT = {
    SourceKind.JOURNAL: timedelta(minutes=5),
    SourceKind.LOG: timedelta(minutes=15),
    SourceKind.USAGE: timedelta(hours=4),
    SourceKind.COST: timedelta(hours=4),
}
# How often a source is read that can be read; journals and logs whenever their job runs.
EVERY = {SourceKind.USAGE: timedelta(hours=1), SourceKind.COST: timedelta(hours=1)}
JITTER_SECONDS = 600
LONGEST_RETRY_AFTER = timedelta(days=1)
MAX_DOUBLINGS = 12
# Longer than a task may run, so that only a killed reader's claim ends by itself.
CLAIM = timedelta(seconds=150)
MAX_ERROR = 500


def open_cursor(*, source: str, kind: SourceKind, gateway: str = "") -> None:
    """Make the cursor of a source that has none yet, and open one that was closed; a new one is due at once.

    `gateway` is the one whose log it is: its calls are compared with the ledger from then on.
    """
    stands = {"gateway": gateway or F("gateway"), "closed_at": None}
    _, made = ImportCursor.objects.get_or_create(source=source, defaults={"kind": kind, "gateway": gateway})
    if not made:
        changed = Q(closed_at__isnull=False) | (~Q(gateway=gateway) if gateway else Q())
        ImportCursor.objects.filter(changed, source=source).update(**stands)


def close_cursors(*, sources: Collection[str]) -> None:
    """Let sources be read no more: what they lack from now on is no difference, and no month waits for it."""
    ImportCursor.objects.filter(source__in=sources, closed_at=None).update(closed_at=clock.now())


def due() -> QuerySet[ImportCursor]:
    """Return the cursors whose source may be asked now and that nobody reads."""
    now = clock.now()
    return ImportCursor.objects.filter(
        Q(next_attempt_at=None) | Q(next_attempt_at__lte=now),
        Q(claimed_until=None) | Q(claimed_until__lte=now),
        closed_at=None,
    )


def claim(*, source: str) -> bool:
    """Take a due source for one reader. False when it is not due, or somebody else reads it."""
    return bool(due().filter(source=source).update(claimed_until=clock.now() + CLAIM))


@transaction.atomic
def note_success(*, source: str, go_on: bool = False) -> None:
    """Write down that a source was read; `go_on` when there was no time for all of it."""
    cursor = _locked(source)
    now = clock.now()
    every = EVERY.get(SourceKind(cursor.kind))
    cursor.failures, cursor.last_error, cursor.last_success_at = 0, "", now
    cursor.claimed_until = cursor.next_attempt_at = None
    if every and not go_on:
        cursor.next_attempt_at = now + every + timedelta(seconds=secrets.randbelow(JITTER_SECONDS))
    cursor.save(
        update_fields=["failures", "last_error", "last_success_at", "claimed_until", "next_attempt_at"]
    )


@transaction.atomic
def note_failure(*, source: str, error: SourceUnavailableError) -> None:
    """Write down why a source could not be read and when it is asked again.

    The wait doubles with each failure in a row, up to the longest of its kind, and is never shorter than what
    the source asked for (a day at most).
    """
    cursor = _locked(source)
    now = clock.now()
    wait = min(FIRST_WAIT * 2 ** min(cursor.failures, MAX_DOUBLINGS), LONGEST_WAIT[SourceKind(cursor.kind)])
    asked = timedelta(seconds=error.retry_after_seconds or 0)
    cursor.failures = F("failures") + 1
    cursor.last_error, cursor.last_error_at = str(error)[:MAX_ERROR], now
    cursor.next_attempt_at = now + max(wait, min(asked, LONGEST_RETRY_AFTER))
    cursor.claimed_until = None
    cursor.save(update_fields=["failures", "last_error", "last_error_at", "next_attempt_at", "claimed_until"])
    log.warning("usage.source_unavailable", source=source, error=str(error))


@transaction.atomic
def read_now(*, actor: User, source: str) -> ImportCursor:
    """Let a source be read with the next scan, whatever it waits for; asking twice changes nothing.

    Raises RoleNeededError, and NotFoundError for a source that was never opened.
    """
    require_bookkeeper(actor, "have a source read")
    cursor = ImportCursor.objects.select_for_update(no_key=True).order_by("pk").filter(source=source).first()
    if cursor is None or cursor.closed_at is not None:
        raise NotFoundError("There is no such source, or it is read no more.")
    before = {"until": cursor.next_attempt_at}
    cursor.next_attempt_at = None
    cursor.save(update_fields=["next_attempt_at"])
    audit.record(
        actor=actor, action="source.read_asked", subject=cursor, before=before, after={"until": None}
    )
    return cursor


def require_bookkeeper(user: User, act: str) -> None:
    """Raise RoleNeededError that names who may, unless the user is of finance or an administrator."""
    roles = {Role.ADMIN, Role.FINANCE}
    if roles & roles_of(user).organisation_wide:
        return
    holders = role_holders()
    people = {person for role in roles for person in holders.organisation_wide.get(role, ())}
    named = names_of(sorted(holders.names[person] for person in people))
    raise RoleNeededError(f"Only finance and administrators may {act}. Ask {named}.")


def _locked(source: str) -> ImportCursor:
    return ImportCursor.objects.select_for_update(no_key=True).order_by("pk").get(source=source)
