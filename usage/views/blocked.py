"""Blocked calls: which calls were refused, why, and where somebody can do something about it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from budgets.selectors import visible_budgets
from core import addresses, clock
from core.shapes import Column, Tab
from core.sorting import Head, Table
from core.spreadsheets import Cell, csv_stream
from keys.models import ApiKey
from teams.models import Role
from teams.selectors import roles_of
from teams.types import PersonRequest
from usage.reasons import Reason, Remedy, reason_of
from usage.selectors.blocked import BlockedLine, blocked_lines, blocked_since, every_blocked_line, watched_by
from usage.selectors.periods import day_starts_at, organisation_today
from usage.types import Blocked, Scope

KEPT = ("p", "code", "project", "budget", "sort")
TABLE = Table(
    usual="-since",
    heads=(
        Head(label="Key"),
        Head(label="Day", sort="since", falls=True),
        Head(label="Project", sort="project"),
        Head(label="Reason", sort="code"),
        Head(label="Calls", sort="calls", numeric=True),
        Head(label="Last seen", sort="last", falls=True),
        Head(label="What to do"),
    ),
)
PERIODS = {"24h": "24 hours", "7d": "7 days", "30d": "30 days"}
DAYS = {"7d": 7, "30d": 30}
HOURS, WEEK = "24h", "7d"
PAGE_ROWS = 50
LOOKUPS = {"code": "code", "project": "project__public_id", "budget": "budget__public_id"}
CSV_HEAD = (
    *("since", "code", "reason", "key", "key_id", "owner", "project", "project_id"),
    *("team", "refused_by", "budget_id", "calls", "last_seen"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One choice of a filter."""

    value: str
    label: str
    current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """The page on which somebody acts; without an address there is none."""

    text: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonRow:
    """How many calls were refused for one reason."""

    code: str
    reason: Reason
    calls: int
    last_at: datetime
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRow:
    """A line with its reason, the calls that the same budget refused, and the page that acts."""

    line: BlockedLine
    reason: Reason
    url: str
    act: Act


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedPage:
    """What the page shows; `calls` is the number of all calls that the filters leave."""

    scope: str
    by_hour: bool
    period: str
    period_tabs: tuple[Tab, ...]
    codes: tuple[Option, ...]
    projects: tuple[Option, ...]
    budgets: tuple[Option, ...]
    calls: int
    reasons: tuple[ReasonRow, ...]
    columns: tuple[Column, ...]
    rows: tuple[CallRow, ...]
    is_filtered: bool
    all_url: str
    csv_url: str
    previous_url: str
    next_url: str


@require_safe
def list_blocked(request: PersonRequest) -> HttpResponseBase:
    """List refused calls of the person's scope by day, or by hour for `?p=24h`; by `?sort=`, and all pages as
    CSV with `?format=csv`.
    """
    request.roles_held = roles_of(request.user)
    scope = watched_by(request.user, request.roles_held)
    period = addresses.choice(request, "p", PERIODS, WEEK)
    since, only, order = _since(period), _only(request), TABLE.order(request)
    if request.GET.get("format") == "csv":
        every = every_blocked_line(scope, since, by_hour=period == HOURS, only=only, order=order)
        return csv_stream(request, f"blocked-calls-{organisation_today()}", CSV_HEAD, map(_cells, every))
    first = PAGE_ROWS * addresses.page_number(request)
    part = slice(first, first + PAGE_ROWS + 1)
    lines = blocked_lines(scope, since, by_hour=period == HOURS, only=only, order=order, part=part)
    page = _page(request, scope, period, lines[:PAGE_ROWS], has_more=len(lines) > PAGE_ROWS)
    return render(request, "usage/blocked.html", {"blocked": page})


def _since(period: str) -> datetime:
    if period == HOURS:
        hour = clock.now().replace(minute=0, second=0, microsecond=0)
        return hour - timedelta(hours=23)
    return day_starts_at(organisation_today() - timedelta(days=DAYS[period] - 1))


def _wanted(request: HttpRequest, name: str) -> str:
    """Return what the address filters by; a word that no code and no id could be finds nothing."""
    value = request.GET.get(name, "")
    return value if not value or value.isidentifier() else "none"


def _only(request: HttpRequest) -> dict[str, str]:
    """Return the lookups that the address asks for."""
    wanted = {lookup: _wanted(request, name) for name, lookup in LOOKUPS.items()}
    return {lookup: value for lookup, value in wanted.items() if value}


def _page(
    request: PersonRequest, scope: Scope, period: str, lines: Sequence[BlockedLine], *, has_more: bool
) -> BlockedPage:
    sums, only = blocked_since(scope, _since(period)), _only(request)
    left = blocked_since(scope, _since(period), only=only) if only else sums
    previous_url, next_url = addresses.pages(request, KEPT, has_more=has_more)
    project, code, budget = (_wanted(request, name) for name in ("project", "code", "budget"))
    return BlockedPage(
        scope=scope.label,
        by_hour=period == HOURS,
        period=PERIODS[period],
        period_tabs=_tabs(request, period),
        codes=_options({each.code: reason_of(each.code).happened for each in sums}, code),
        projects=_options({each.project_public_id: each.project_name for each in sums}, project),
        budgets=_options({each.budget_public_id: each.refused_by for each in lines}, budget)
        if budget
        else (),
        calls=sum(each.calls for each in left),
        reasons=_reasons(request, left),
        columns=tuple(
            replace(column, label="Hour" if column.label == "Day" and period == HOURS else column.label)
            for column in TABLE.columns(request, KEPT)
        ),
        rows=_rows(request, lines),
        is_filtered=bool(only),
        all_url=addresses.link(request, ("p", "sort")),
        csv_url=addresses.link(request, KEPT, format="csv"),
        previous_url=previous_url,
        next_url=next_url,
    )


def _tabs(request: HttpRequest, current: str) -> tuple[Tab, ...]:
    return tuple(
        Tab(
            label=label,
            url=addresses.link(request, KEPT, p="" if value == WEEK else value),
            current=value == current,
        )
        for value, label in PERIODS.items()
    )


def _options(known: Mapping[str, str], wanted: str) -> tuple[Option, ...]:
    """Return the choices of a filter by their labels; what the address asks for is one of them."""
    labels = known if not wanted or wanted in known else {**known, wanted: wanted}
    return tuple(
        Option(value=value, label=label, current=value == wanted)
        for value, label in sorted(labels.items(), key=lambda item: (item[1].casefold(), item[0]))
    )


def _reasons(request: HttpRequest, sums: Iterable[Blocked]) -> tuple[ReasonRow, ...]:
    by_code: dict[str, list[Blocked]] = {}
    for each in sums:
        by_code.setdefault(each.code, []).append(each)
    rows = [
        ReasonRow(
            code=code,
            reason=reason_of(code),
            calls=sum(each.calls for each in found),
            last_at=max(each.last_at for each in found),
            url=addresses.link(request, KEPT, code=code),
        )
        for code, found in by_code.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.calls, row.code)))


def _rows(request: PersonRequest, lines: Sequence[BlockedLine]) -> tuple[CallRow, ...]:
    visible = _visible(request, lines)
    return tuple(
        CallRow(
            line=line,
            reason=reason_of(line.code),
            url=addresses.link(request, KEPT, budget=line.budget_public_id),
            act=_act(request, line, visible),
        )
        for line in lines
    )


def _visible(request: PersonRequest, lines: Iterable[BlockedLine]) -> set[int | None]:
    """Return which budgets that refused the person may look at."""
    refusing = {line.budget_id for line in lines if line.budget_id}
    if not refusing:
        return set()
    visible = visible_budgets(
        request.user,
        key_ids=ApiKey.objects.visible_to(request.user).values_list("pk", flat=True),
        roles=request.roles_held,
    )
    return set(visible.filter(pk__in=refusing).order_by().values_list("pk", flat=True))


def _act(request: PersonRequest, line: BlockedLine, visible: set[int | None]) -> Act:
    match reason_of(line.code).remedy:
        case Remedy.BUDGET:
            return _budget_act(line, is_seen=line.budget_id in visible)
        case Remedy.TIER if line.project_team_id in request.roles_held.works_in:
            ask = f"{reverse('approvals:ask')}?{urlencode({'project': line.project_code})}"
            return Act(text="Ask for the tier", url=ask)
        case Remedy.PRICE if Role.ADMIN in request.roles_held.organisation_wide:
            return Act(text="Enter a price", url=reverse("unpriced"))
        case Remedy.PRICE | Remedy.MODELS:
            return Act(text="See the models", url=reverse("models"))
        case Remedy.KEY | Remedy.TIER:
            tab = "" if line.key_owner_public_id == request.user.public_id else "?tab=team"
            return Act(text="See the key", url=f"{reverse('keys:list')}{tab}")
        case _:
            return Act()


def _budget_act(line: BlockedLine, *, is_seen: bool) -> Act:
    if not is_seen:
        return Act(text="See the budgets", url=reverse("budgets:list"))
    url = reverse("budgets:detail", args=[line.budget_public_id])
    return Act(text=f"Budget of {line.cause_name}", url=url)


def _cells(line: BlockedLine) -> tuple[Cell, ...]:
    return (
        line.since.isoformat(),
        line.code,
        reason_of(line.code).happened,
        line.key_name,
        line.key_public_id,
        line.key_owner,
        line.project_name,
        line.project_code,
        line.team_name,
        line.refused_by,
        line.budget_public_id,
        line.calls,
        line.last_at.isoformat(),
    )
