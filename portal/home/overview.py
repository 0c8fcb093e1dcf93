"""The Overview: will we pass the budget, which project causes it, what waits for me."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from approvals.selectors import inbox
from approvals.views.shapes import Row, row_of, row_of_increase
from core import addresses
from core.shapes import Column, Tab
from core.sorting import Head, Table
from core.spreadsheets import Cell, csv_response
from keys.models import ApiKey
from keys.selectors import to_reveal
from portal.context import administers, may_be_asked, roles_here
from portal.home import scopes
from portal.home.periods import (
    CUMULATIVE,
    MONTH,
    PERIODS,
    VIEWS,
    chart_summary,
    limit_note,
    period_asked,
    period_tabs,
    tabs,
)
from teams.types import PersonRequest
from usage import selectors
from usage.models import SpendWarning
from usage.selectors.quarantine import waiting_in_quarantine
from usage.selectors.warnings import open_warnings
from usage.types import Overview, ProjectRow

KEPT = ("scope", "p", "view", "sort")
PROJECTS = Table(
    usual="-spent",
    heads=(
        Head(label="Project", sort="name"),
        Head(label="Status"),
        Head(label="Spent", sort="spent", numeric=True),
        Head(label="Budget", sort="limit", numeric=True),
        Head(label="Used", sort="used", falls=True),
        Head(label="Forecast", sort="forecast", numeric=True),
        Head(label="13 weeks"),
    ),
)
SORTS: dict[str, Callable[[ProjectRow], str | Decimal | None]] = {
    "name": lambda row: row.name.casefold(),
    "spent": lambda row: row.spent_usd,
    "limit": lambda row: row.limit_usd,
    "used": lambda row: row.spent_percent,
    "forecast": lambda row: row.forecast_usd,
}
CSV_HEAD = (
    *("project", "project_id", "owner", "tier", "status"),
    *("spent_usd", "budget_usd", "used_percent", "forecast_usd"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewPage:
    """What surrounds the figures: which view of them this is, and the way to the others."""

    view: str
    period_tabs: tuple[Tab, ...]
    chart_tabs: tuple[Tab, ...]
    scope_choices: tuple[scopes.Choice, ...]
    place: scopes.Place | None
    carried: tuple[tuple[str, str], ...]
    chart_summary: str
    limit_note: str
    forecast_note: str
    columns: tuple[Column, ...]
    projects: tuple[ProjectRow, ...]
    csv_url: str
    waiting: tuple[Row, ...]
    to_reveal: tuple[ApiKey, ...]
    unbooked: int
    unusual: tuple[SpendWarning, ...]


@require_safe
def overview(request: PersonRequest) -> HttpResponse:
    """Show the spend of the person's own scope, or of `?scope=`, in `?p=`; as CSV with `?format=csv`."""
    chosen = scopes.choose(request.user, roles_here(request), request.GET.get("scope", ""))
    figures = selectors.overview(chosen.scope, period=period_asked(request))
    projects = PROJECTS.order(request).of(figures.projects, SORTS)
    if request.GET.get("format") == "csv":
        return csv_response(f"projects-{figures.period.first_day}", CSV_HEAD, map(_cells, projects))
    is_fragment = request.headers.get("HX-Target") == "chart"
    waiting = () if is_fragment else _waiting(request)
    context = {
        "overview": figures,
        "page": _page(request, chosen, figures, projects=projects, waiting=waiting),
        "freshness": figures.freshness,
        "approvals_waiting": len(waiting),
    }
    return render(request, f"portal/overview.html{'#chart' if is_fragment else ''}", context)


def _waiting(request: PersonRequest) -> tuple[Row, ...]:
    if not may_be_asked(roles_here(request)):
        return ()
    waiting = inbox(request.user)
    return (*map(row_of, waiting.requests), *map(row_of_increase, waiting.increases))


def _page(
    request: PersonRequest,
    chosen: scopes.Chosen,
    figures: Overview,
    *,
    projects: tuple[ProjectRow, ...],
    waiting: tuple[Row, ...],
) -> OverviewPage:
    period = addresses.choice(request, "p", PERIODS, MONTH)
    view = addresses.choice(request, "view", VIEWS, CUMULATIVE)
    is_running = period == MONTH
    return OverviewPage(
        view=view,
        period_tabs=period_tabs(request, KEPT),
        chart_tabs=tabs(request, KEPT, name="view", labels=VIEWS, current=view, default=CUMULATIVE),
        scope_choices=chosen.choices,
        place=chosen.place,
        carried=tuple((name, request.GET[name]) for name in KEPT[1:] if request.GET.get(name)),
        chart_summary=chart_summary(figures),
        limit_note=limit_note(period=period, has_budget=bool(chosen.scope.budget)),
        forecast_note="Needs a day of usage" if is_running else "Only this month is forecast",
        columns=PROJECTS.columns(request, KEPT),
        projects=projects,
        csv_url=addresses.link(request, KEPT, format="csv"),
        waiting=waiting,
        to_reveal=tuple(to_reveal(request.user)),
        unusual=tuple(open_warnings(chosen.scope)) if is_running else (),
        unbooked=waiting_in_quarantine() if administers(roles_here(request)) else 0,
    )


def _cells(row: ProjectRow) -> tuple[Cell, ...]:
    return (
        row.name,
        row.code,
        row.owner,
        row.tier,
        row.status.text,
        row.spent_usd,
        row.limit_usd,
        row.spent_percent,
        row.forecast_usd,
    )
