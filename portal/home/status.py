"""Status: is it working, how far behind are the sources, what waits to be sent."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from core import clock, outbox
from core.models import GAVE_UP, WAITS, Outbox
from core.shapes import Tone
from gateway.selectors import gateway_names
from portal.context import roles_here
from portal.health import PULL_STALE_SECONDS, Check, checks
from teams.types import PersonRequest
from usage.models import ImportCursor
from usage.selectors.reconciliation import cursors

STALE_AFTER = timedelta(seconds=PULL_STALE_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusLine:
    """One part of the portal, how it is, and when it was last seen if that is known."""

    name: str
    tone: str
    text: str
    detail: str
    seen_at: datetime | None = None


@require_safe
def status(request: PersonRequest) -> HttpResponse:
    """Show every check, every source and the outbox; the words of a failure to those who see everything."""
    results = checks()
    lines = [
        *(_check_line(check) for check in results),
        *_source_lines(in_full=roles_here(request).sees_everything),
        *_outbox_lines(),
    ]
    overall = _overall(results, lines)
    context = {
        "tone": overall.tone,
        "text": overall.text,
        "checked_at": clock.now(),
        "version": settings.VERSION,
        "checks": lines,
        "has_seen": any(line.seen_at for line in lines),
    }
    return render(request, "portal/status.html", {"status": context})


def _overall(results: list[Check], lines: list[StatusLine]) -> Tone:
    if any(check.essential and not check.ok for check in results):
        return Tone(tone="bad", text="Does not work")
    if any(line.tone in {"warn", "bad"} for line in lines):
        return Tone(tone="warn", text="Works, with a delay")
    return Tone(tone="ok", text="Everything works")


def _check_line(check: Check) -> StatusLine:
    name = f"{check.name[0].upper()}{check.name[1:]}"
    if check.ok:
        return StatusLine(name=name, tone="ok", text="Working", detail=check.detail)
    return StatusLine(
        name=name,
        tone="bad" if check.essential else "warn",
        text="Not working" if check.essential else "Late",
        detail=check.detail,
    )


def _source_lines(*, in_full: bool) -> list[StatusLine]:
    found = cursors()
    names = gateway_names() if found else {}
    return [
        _source_line(cursor, names.get(cursor.source, cursor.source), in_full=in_full) for cursor in found
    ]


def _source_line(cursor: ImportCursor, name: str, *, in_full: bool) -> StatusLine:
    label = f"Usage of {name}"
    last = cursor.last_success_at
    if cursor.last_error:
        detail = (
            cursor.last_error if in_full else "It could not be read. Finance or an administrator sees why."
        )
        return StatusLine(name=label, tone="warn", text="Not readable", detail=detail, seen_at=last)
    if last is None or clock.now() - last > STALE_AFTER:
        detail = f"It should be read every {settings.PULL_EVERY_SECONDS:.0f} seconds."
        return StatusLine(name=label, tone="warn", text="Late", detail=detail, seen_at=last)
    return StatusLine(name=label, tone="ok", text="Read", detail=f"{cursor.rows_read:,} rows", seen_at=last)


def _outbox_lines() -> list[StatusLine]:
    told = Outbox.objects.filter(WAITS | GAVE_UP)
    counted = told.aggregate(waiting=Count("pk", filter=WAITS), dead=Count("pk", filter=GAVE_UP))
    waiting, dead = counted["waiting"], counted["dead"]
    line = StatusLine(name="Messages to send", tone="ok", text="Working", detail=f"{waiting:,} waiting")
    if not dead:
        return [line]
    detail = f"{dead:,} given up after {outbox.MAX_ATTEMPTS} attempts. Ask an administrator."
    return [line, StatusLine(name="Messages not delivered", tone="warn", text="Given up", detail=detail)]
