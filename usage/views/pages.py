"""Reconciliation: do our figures equal the gateways'. For finance, auditors and administrators."""

from datetime import UTC, date

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from core import clock
from core.errors import NotFoundError
from teams.selectors import roles_of
from teams.types import PersonRequest
from usage.ports import SourceNames
from usage.selectors import reconciliation
from usage.views.lines import call_lines, day_line, quarantine_lines, run_status, source_line, sum_lines

NO_SUCH_PAGE = "There is no such page, or it is not for your role. Ask finance or an administrator."


@require_safe
def list_days(request: PersonRequest, *, names_of_sources: SourceNames) -> HttpResponse:
    """List the sources and the last 31 days of each."""
    require_books_here(request)
    names = names_of_sources()
    today = clock.now().astimezone(UTC).date()
    runs = reconciliation.recent_runs(today)
    calls_today = {run.source: run.gateway_calls for run in runs if run.day == today}
    context = {
        "sources": [
            source_line(cursor, names=names, calls_today=calls_today.get(cursor.source))
            for cursor in reconciliation.cursors()
        ],
        "days": [day_line(run, names=names) for run in runs],
    }
    return render(request, "usage/reconciliation_list.html", {"reconciliation": context})


@require_safe
def show_day(request: PersonRequest, source: str, day: str, *, names_of_sources: SourceNames) -> HttpResponse:
    """Show one day of one source: sums, the calls that differ, and the rows that could not be booked."""
    require_books_here(request)
    run = reconciliation.find_run(source, _date(day))
    context = {
        "day": run.day,
        "source": names_of_sources().get(run.source, run.source),
        "reconciled_at": run.last_run_at,
        "status": run_status(run),
        "sums": sum_lines(run),
        "discrepancies": call_lines(reconciliation.differences(run)),
        "quarantine": quarantine_lines(reconciliation.quarantined(run)),
    }
    return render(request, "usage/reconciliation_detail.html", {"day": context})


def require_books_here(request: PersonRequest) -> None:
    """Refuse who holds no role for the whole organisation: figures of all teams stand here."""
    request.roles_held = roles_of(request.user)
    if not request.roles_held.sees_everything:
        raise NotFoundError(NO_SUCH_PAGE)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise NotFoundError("There is no such day. Write it as 2026-11-23.") from error
