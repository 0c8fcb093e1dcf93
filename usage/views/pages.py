"""Reconciliation: do our figures equal the gateways' and the providers'. For finance, auditors and
administrators.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.dateparse import parse_date
from django.views.decorators.http import require_safe

from core import addresses, clock
from core.errors import NotFoundError
from core.shapes import Tab
from core.sorting import Head, Table
from core.spreadsheets import Cell, csv_stream, in_batches
from teams.types import PersonRequest
from usage.models import DiscrepancyClass, DiscrepancyState, Level, PeriodState
from usage.ports import SourceNames
from usage.selectors import reconciliation
from usage.selectors.accounts import open_cursors
from usage.selectors.closing import last_month_over, state_of_month
from usage.selectors.reconciliation import Wanted
from usage.views.access import keeps_the_books, require_books
from usage.views.lines import (
    DifferenceLine,
    call_lines,
    day_line,
    difference_lines,
    drift_lines,
    period_tone,
    quarantine_lines,
    run_status,
    source_line,
    source_words,
    sum_lines,
    variance_lines,
)

KEPT = ("p", "level", "source", "kind", "state", "day", "sort")
PERIODS = {"7d": "7 days", "31d": "31 days", "92d": "92 days"}
DAYS = {"7d": 7, "31d": 31, "92d": 92}
USUAL, EVERY = "31d", "all"
PAGE_ROWS = 10
DRIFT_AT_A_GLANCE = 6
TABLE = Table(
    usual="-day",
    heads=(
        Head(label="What", sort="what"),
        Head(label="Class", sort="class"),
        Head(label="Day", sort="day", falls=True),
        Head(label="Amount", sort="amount", numeric=True),
        Head(label="Looked after by", sort="owner"),
        Head(label="Since", sort="since"),
        Head(label="State", sort="state"),
        Head(label="Actions", quiet=True),
    ),
)
CSV_HEAD = (
    *("day", "source", "level", "class", "what", "model", "amount_usd", "state", "owner", "opened_at", "id"),
    "confirmation",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One choice of a filter."""

    value: str
    label: str
    current: bool


@require_safe
def list_days(request: PersonRequest, *, names_of_sources: SourceNames) -> HttpResponseBase:
    """Show how far sources are read, what differs by day and class, and the differences that filters and
    `?sort=` leave; all of these as CSV with `?format=csv`.
    """
    require_books(request)
    wanted = _wanted(request)
    names = reconciliation.names_with(names_of_sources())
    differences = reconciliation.differences_of(wanted, order=TABLE.order(request))
    if request.GET.get("format") == "csv":
        every = in_batches(differences, lambda part: difference_lines(part, names))
        return csv_stream(request, f"reconciliation-{_today()}", CSV_HEAD, map(_cells, every))
    first = PAGE_ROWS * addresses.page_number(request)
    found = list(differences[first : first + PAGE_ROWS + 1])
    context = {
        **_at_a_glance(request, wanted, names),
        **_controls(request, wanted, names, has_more=len(found) > PAGE_ROWS),
        "differences": difference_lines(found[:PAGE_ROWS], names),
        "may_act": keeps_the_books(request),
    }
    return render(request, "usage/reconciliation_list.html", {"reconciliation": context})


@require_safe
def show_day(request: PersonRequest, source: str, day: str, *, names_of_sources: SourceNames) -> HttpResponse:
    """Show one day of one source: sums, why money differs, what differs, and rows that were not booked."""
    require_books(request)
    run = reconciliation.find_run(source, _date(day), request.GET.get("level", ""))
    names = reconciliation.names_with(names_of_sources())
    context = {
        "day": run.day,
        "source": source_words(run, names),
        "other_side": "Gateway" if run.level == Level.CALLS else "Provider",
        "reconciled_at": run.last_run_at,
        "notice": run.notice,
        "alone": run.alone,
        "provisional": run.provisional,
        "refreshed_at": run.data_refreshed_at,
        "status": run_status(run),
        "sums": sum_lines(run),
        "variance": variance_lines(run),
        "discrepancies": call_lines(reconciliation.differences(run)),
        "quarantine": quarantine_lines(reconciliation.quarantined(run)),
    }
    return render(request, "usage/reconciliation_detail.html", {"day": context})


def _at_a_glance(request: HttpRequest, wanted: Wanted, names: Mapping[str, str]) -> dict[str, Any]:
    """Return the lag of sources, the drift by day and class, both sides of each day, and the close."""
    month = last_month_over()
    runs = reconciliation.recent_runs(wanted, month)
    drifts, today = reconciliation.drift(runs, wanted), _today()
    calls_today = {run.source: run.gateway_calls for run in runs if run.day == today}
    state = vars(runs[0])["month_state"] or PeriodState.OPEN if runs else state_of_month(month)
    drift = drift_lines(
        drifts,
        lambda each: addresses.link(
            request, KEPT, day=each.day.isoformat(), level=str(each.level), kind=each.kind, state=""
        ),
    )
    return {
        "sources": [
            source_line(cursor, names=names, calls_today=calls_today.get(cursor.source))
            for cursor in open_cursors()
        ],
        "days": [day_line(run, names=names) for run in runs],
        "compared_at": max((run.last_run_at for run in runs), default=None),
        "drift": drift[:DRIFT_AT_A_GLANCE],
        "older_drift": drift[DRIFT_AT_A_GLANCE:],
        "sums": [(level.label, sums) for level, sums in reconciliation.open_by_level(drifts).items()],
        "month": month,
        "month_url": reverse("reconciliation:period", args=[f"{month:%Y-%m}"]),
        "month_status": period_tone(PeriodState(state)),
    }


def _today() -> date:
    return clock.now().astimezone(UTC).date()


def _wanted(request: HttpRequest) -> Wanted:
    period = addresses.choice(request, "p", PERIODS, USUAL)
    state = addresses.choice(request, "state", [EVERY, *DiscrepancyState.values], DiscrepancyState.OPEN)
    source = request.GET.get("source", "")
    return Wanted(
        first_day=_today() - timedelta(days=DAYS[period] - 1),
        level=addresses.choice(request, "level", [str(level) for level in Level.values], ""),
        source=source if not source or source.isidentifier() else "none",
        kind=addresses.choice(request, "kind", DiscrepancyClass.values, ""),
        day=_day(request),
        state="" if state == EVERY else state,
    )


def _day(request: HttpRequest) -> date | None:
    """Return the one day that the address asks for; what is none filters nothing."""
    try:
        return parse_date(request.GET.get("day", ""))
    except ValueError:
        return None


def _controls(
    request: HttpRequest, wanted: Wanted, names: Mapping[str, str], *, has_more: bool
) -> dict[str, Any]:
    previous_url, next_url = addresses.pages(request, KEPT, has_more=has_more)
    period = addresses.choice(request, "p", PERIODS, USUAL)
    states = [*DiscrepancyState.choices, (EVERY, "All states")]
    return {
        "period": PERIODS[period],
        "period_value": "" if period == USUAL else period,
        "tabs": tuple(
            Tab(
                label=label,
                url=addresses.link(request, KEPT, p="" if value == USUAL else value, day=""),
                current=value == period,
            )
            for value, label in PERIODS.items()
        ),
        "levels": _options(((str(value), label) for value, label in Level.choices), wanted.level),
        "kinds": _options(DiscrepancyClass.choices, wanted.kind),
        "states": _options(states, wanted.state or EVERY),
        "source_choices": _options(sorted(names.items(), key=lambda item: item[1]), wanted.source),
        "is_filtered": bool(wanted.level or wanted.kind or wanted.source or wanted.day),
        "day": wanted.day,
        "columns": TABLE.columns(request, KEPT),
        "all_url": addresses.link(request, ("p", "sort")),
        "csv_url": addresses.link(request, KEPT, format="csv"),
        "previous_url": previous_url,
        "next_url": next_url,
    }


def _options(known: Iterable[tuple[str, str]], wanted: str) -> tuple[Option, ...]:
    return tuple(Option(value=value, label=label, current=value == wanted) for value, label in known)


def _cells(line: DifferenceLine) -> Sequence[Cell]:
    return (
        line.day.isoformat(),
        line.source,
        line.level,
        line.kind,
        line.external_id,
        line.model,
        "" if line.unpriced and not line.amount_usd else line.amount_usd,
        line.status.text,
        line.owner,
        line.opened_at.isoformat(),
        line.url.rstrip("/").rpartition("/")[2],
        "unconfirmed" if line.unconfirmed else "",
    )


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise NotFoundError("There is no such day. Write it as 2026-11-23.") from error
