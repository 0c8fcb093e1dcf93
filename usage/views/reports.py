"""Reports: what teams cost in a month, the statement of one of them, and the export for FinOps tools."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from core import addresses
from core.errors import NotFoundError
from core.shapes import Column, Tab
from core.sheets import CSV_HEAD, cells
from core.sorting import Head, Table
from core.spreadsheets import Cell, csv_response, csv_stream
from teams.models import Team
from teams.selectors import roles_of
from teams.types import PersonRequest
from usage import focus
from usage.selectors.export import export_rows
from usage.selectors.periods import last_month, month_of, organisation_today, this_month
from usage.selectors.showback import TeamMonth, showback
from usage.selectors.statement import statement
from usage.types import Period
from usage.views.access import require_books
from usage.views.sheets import sheet

MONTHS_BACK = 12
KEPT = ("month", "sort")
TABLE = Table(
    usual="-spent",
    heads=(
        Head(label="Team", sort="team"),
        Head(label="Calls", sort="calls", numeric=True),
        Head(label="Spent", sort="spent", numeric=True),
        Head(label="Share", numeric=True),  # in the order of what was spent
        Head(label="Budget", sort="budget", numeric=True),
        Head(label="Used", sort="used", falls=True),
        Head(label="Unattributed", numeric=True),  # as above
    ),
)
TEAMS_HEAD = (
    *("team", "team_id", "department", "calls", "spent_usd", "share_percent"),
    *("budget_usd", "used_percent", "unallocated_usd"),
)


SORTS: dict[str, Callable[[TeamMonth], str | int | Decimal | None]] = {
    "team": lambda row: row.team,
    "calls": lambda row: row.calls,
    "spent": lambda row: row.cost_usd,
    "budget": lambda row: row.limit_usd,
    "used": lambda row: row.used_percent,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamLine:
    """A team of the showback with the address of its statement."""

    month: TeamMonth
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportsPage:
    """What surrounds the figures of the showback."""

    months: tuple[Tab, ...]
    lines: tuple[TeamLine, ...]
    columns: tuple[Column, ...]
    csv_url: str
    focus_url: str


@require_safe
def list_teams(request: PersonRequest) -> HttpResponse:
    """Show what the teams that the person oversees cost in `?month=`, by `?sort=`; as CSV with
    `?format=csv`.
    """
    request.roles_held = roles_of(request.user)
    today = organisation_today()
    period = month_asked(request.GET["month"]) if "month" in request.GET else this_month(today)
    found = showback(Team.objects.overseen_by(request.user), period)
    rows = TABLE.order(request).of(found.rows, SORTS)
    if request.GET.get("format") == "csv":
        return csv_response(f"teams-{name_of(period)}", TEAMS_HEAD, map(_cells, rows))
    sees_all = request.roles_held.sees_everything
    page = ReportsPage(
        months=_months(request, period, today),
        lines=tuple(TeamLine(month=row, url=_statement_url(row.team_id, period)) for row in rows),
        columns=TABLE.columns(request, KEPT),
        csv_url=addresses.link(request, KEPT, month=name_of(period), format="csv"),
        focus_url=reverse("reports:focus", args=[name_of(period)]) if sees_all else "",
    )
    return render(request, "usage/reports.html", {"reports": found, "page": page})


@require_safe
def show_statement(request: PersonRequest, public_id: str, month: str) -> HttpResponse:
    """Show the statement of a team that the person oversees; as CSV with `?format=csv`."""
    period = month_asked(month)
    teams = Team.objects.overseen_by(request.user).select_related("department")
    team = teams.filter(public_id=public_id).first()
    if team is None:
        raise NotFoundError("There is no such team, or you do not answer for it. Ask its lead.")
    found = statement(team, period)
    sections = sheet(found)
    if request.GET.get("format") == "csv":
        return csv_response(f"statement-{team.code}-{name_of(period)}", CSV_HEAD, cells(sections))
    context = {
        "statement": found,
        "sections": sections,
        "all_url": f"{reverse('reports:list')}?month={name_of(period)}",
        "csv_url": f"{request.path}?format=csv",
        "newer_url": _newer_url(found.team_id, period),
        "older_url": _statement_url(found.team_id, last_month(period.first_day)),
    }
    return render(request, "usage/statement.html", context)


@require_safe
def export_focus(request: PersonRequest, month: str) -> HttpResponseBase:
    """Send the month of the whole organisation as FOCUS rows, a piece at a time."""
    require_books(request)
    period = month_asked(month)
    return csv_stream(request, f"focus-{name_of(period)}", focus.HEAD, focus.rows(export_rows(period)))


def month_asked(text: str) -> Period:
    """Return the month that an address names. Raises NotFoundError for one that is none or is to come."""
    try:
        period = month_of(text)
    except ValueError as error:
        raise NotFoundError("There is no such month. Write it as 2026-11.") from error
    if period.first_day > organisation_today():
        raise NotFoundError("This month is still to come.")
    return period


def name_of(period: Period) -> str:
    """Return a month as addresses and files name it."""
    return f"{period.first_day:%Y-%m}"


def _months(request: HttpRequest, current: Period, today: date) -> tuple[Tab, ...]:
    """Return the last months to choose from, the newest first, and the current one wherever it is."""
    months = [this_month(today)]
    while len(months) < MONTHS_BACK:
        months.append(last_month(months[-1].first_day))
    if current not in months:
        months.append(current)
    return tuple(Tab(label=each.label, url=name_of(each), current=each == current) for each in months)


def _statement_url(team_id: str, period: Period) -> str:
    return reverse("reports:statement", args=[team_id, name_of(period)])


def _newer_url(team_id: str, period: Period) -> str:
    today = organisation_today()
    if period.last_day >= today:
        return ""
    following = this_month(date.fromordinal(period.last_day.toordinal() + 1))
    return _statement_url(team_id, following)


def _cells(row: TeamMonth) -> tuple[Cell, ...]:
    return (
        row.team,
        row.team_id,
        row.department,
        row.calls,
        row.cost_usd,
        row.percent,
        row.limit_usd,
        row.used_percent,
        row.unallocated_usd,
    )
