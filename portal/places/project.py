"""One project: is it healthy, what may it call, how."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from urllib.parse import urlencode

from django.conf import settings
from django.db.models import Exists, OuterRef, Prefetch, Subquery
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from catalog.models import LlmModel, Mode
from core import addresses, clock
from core.errors import NotFoundError
from core.money import ZERO
from core.shapes import Column, Tab, Tone
from core.sheets import CSV_HEAD, Line, Section, cells, day_of
from core.sorting import Head, Order, Table
from core.spreadsheets import csv_response
from keys.models import ApiKey, Grant
from keys.selectors import active_grants, state_in_words, tiers_now
from portal.context import roles_here
from portal.home.periods import MONTH, PERIODS, chart_summary, limit_note, period_asked, period_tabs
from portal.places import snippets
from portal.places.acts import Acts, acts_of_project
from portal.places.finding import teams_for
from teams.models import Project
from teams.types import PersonRequest
from usage import selectors
from usage.reasons import Reason, reason_of
from usage.selectors.blocked import blocked_and_today
from usage.selectors.overview import Known
from usage.selectors.periods import day_starts_at, end_of
from usage.selectors.planned import changing_prices
from usage.selectors.projects import with_top_tier
from usage.types import Blocked, Overview, Period, Status

KEPT = ("p", "sort")
KEYS = Table(
    usual="-spent",
    heads=(
        Head(label="Key", sort="name"),
        Head(label="State", sort="state"),
        Head(label="May call", sort="tiers"),
        Head(label="Expires", sort="expires"),
        Head(label="Spent", sort="spent", numeric=True),
    ),
)
OTHERS = "Keys of others"
EVERYDAY = 1
ARCHIVED = Status(tone="info", text="Archived")  # and nothing was spent on it lately


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLine:
    """A key that the reader may see, with its spend in the period; or those of others together."""

    name: str
    owner: str
    url: str
    state: Tone | None
    tiers: str
    expires_at: datetime | None
    spent_usd: Decimal


KEY_SORTS: dict[str, Callable[[KeyLine], str | Decimal | datetime | None]] = {
    "name": lambda line: line.name.casefold(),
    "state": lambda line: line.state.text if line.state else None,
    "tiers": lambda line: line.tiers,
    "expires": lambda line: line.expires_at,
    "spent": lambda line: line.spent_usd,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantLine:
    """What raises a key above Tier 1, until when, and who approved it."""

    access: str
    key: str
    expires_at: datetime
    approver: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedRow:
    """Refused calls of the period for one reason."""

    reason: Reason
    code: str
    calls: int
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectPage:
    """What the page shows besides the figures, which are the Overview's."""

    project: Project
    status: Status
    tier: str
    period_tabs: tuple[Tab, ...]
    chart_summary: str
    limit_note: str
    forecast_note: str
    keys: tuple[KeyLine, ...]
    key_columns: tuple[Column, ...]
    grants: tuple[GrantLine, ...]
    blocked: tuple[BlockedRow, ...]
    curl: str
    python: str
    team_url: str
    ask_tier_url: str
    ask_budget_url: str
    budget_url: str
    make_key_url: str
    acts: Acts
    needs_start: bool
    blocked_url: str
    csv_url: str


@require_safe
def show_project(request: PersonRequest, public_id: str) -> HttpResponse:
    """Show a project to who works in its team or oversees it, in `?p=`; as CSV with `?format=csv`."""
    project = _find(request, public_id)
    scope, period = selectors.project_scope(project), period_asked(request)
    since, until = day_starts_at(period.first_day), end_of(period.last_day)
    blocked, today = blocked_and_today(scope, since, until)
    known = Known(project=project, blocked_today=today, prices_change=vars(project)["prices_change"])
    figures = selectors.overview(scope, period=period, known=known)
    page = _page(request, project, figures, blocked)
    if request.GET.get("format") == "csv":
        name = f"project-{project.code}-{figures.period.first_day}"
        return csv_response(name, CSV_HEAD, cells(_sheet(figures, page)))
    context = {"overview": figures, "page": page, "freshness": figures.freshness}
    return render(request, "portal/project.html", context)


def _find(request: PersonRequest, public_id: str) -> Project:
    """Return the project with its highest tier, the name of an everyday model for the snippet, and whether a
    price is known to change in the running month. One query.
    """
    now = clock.now()
    month = selectors.this_month(selectors.organisation_today(now))
    everyday = LlmModel.objects.filter(tier=EVERYDAY, mode=Mode.CHAT, retired_at__isnull=True)
    projects = (
        Project.objects.visible_to(request.user)
        .select_related("team__department", "owner")
        .annotate(
            everyday_model=Subquery(everyday.order_by("name").values("name")[:1]),
            prices_change=Exists(changing_prices(now, end_of(month.last_day))),
            has_other_home=Exists(teams_for(roles_here(request)).exclude(pk=OuterRef("team"))),
        )
    )
    project = with_top_tier(projects, now).filter(public_id=public_id).first()
    if project is None:
        raise NotFoundError("There is no such project, or it is not one of your teams'.")
    return project


def _page(
    request: PersonRequest, project: Project, figures: Overview, blocked: Sequence[Blocked]
) -> ProjectPage:
    keys = _visible_keys(request, project, figures.period)
    row = next((each for each in figures.projects if each.id == project.pk), None)
    base_url, model = settings.GATEWAY_PUBLIC_URL, vars(project)["everyday_model"] or ""
    is_open = project.archived_at is None and project.team.archived_at is None
    works_here = is_open and project.team_id in roles_here(request).works_in
    period = addresses.choice(request, "p", PERIODS, MONTH)
    for_project = urlencode({"project": project.code})
    budget = row.budget if row else ""
    return ProjectPage(
        project=project,
        status=row.status if row else ARCHIVED,
        tier=row.tier if row else f"Tier {EVERYDAY}",
        period_tabs=period_tabs(request, KEPT),
        chart_summary=chart_summary(figures),
        limit_note=limit_note(period=period, has_budget=True),
        forecast_note="Needs a day of usage" if period == MONTH else "Only this month is forecast",
        keys=_key_lines(keys, figures.figures.spent_usd, KEYS.order(request)),
        key_columns=KEYS.columns(request, KEPT),
        grants=tuple(_grant_line(key, grant) for key in keys for grant in active_grants(key)),
        blocked=tuple(_blocked(each) for each in blocked),
        curl=snippets.curl(base_url=base_url, model=model),
        python=snippets.python(base_url=base_url, model=model),
        team_url=reverse("team", args=[project.team.public_id]),
        ask_tier_url=f"{reverse('approvals:ask')}?{for_project}" if works_here else "",
        ask_budget_url=reverse("approvals:ask_budget", args=[budget]) if budget and is_open else "",
        budget_url=reverse("budgets:detail", args=[budget]) if budget else "",
        make_key_url=f"{reverse('keys:create')}?{for_project}" if works_here else "",
        acts=acts_of_project(roles_here(request), project, has_other_home=vars(project)["has_other_home"]),
        needs_start=is_open and not keys,
        blocked_url=f"{reverse('blocked:list')}?{urlencode({'project': project.public_id})}",
        csv_url=addresses.link(request, KEPT, format="csv"),
    )


def _visible_keys(request: PersonRequest, project: Project, period: Period) -> list[ApiKey]:
    """Return the keys of the project that the reader may see with what they spent, the newest first. Two
    queries.
    """
    spent = selectors.key_spend(selectors.project_scope(project), period)
    grants = Grant.objects.select_related("tier", "granted_by").order_by("tier_id", "-expires_at", "-id")
    found = ApiKey.objects.visible_to(request.user).filter(project=project).select_related("owner")
    return list(found.annotate(spent_usd=spent).prefetch_related(Prefetch("grants", queryset=grants)))


def _key_lines(keys: Sequence[ApiKey], whole_usd: Decimal, order: Order) -> tuple[KeyLine, ...]:
    """Return the visible keys in order, and last what all others spent together, so that it adds up."""
    lines = [
        KeyLine(
            name=key.name,
            owner=str(key.owner),
            url=reverse("keys:detail", args=[key.public_id]),
            state=state_in_words(key),
            tiers=", ".join(f"Tier {tier}" for tier in tiers_now(key)) or "—",
            expires_at=key.expires_at,
            spent_usd=vars(key)["spent_usd"] or ZERO,
        )
        for key in keys
    ]
    lines = [*order.of(sorted(lines, key=lambda line: line.name), KEY_SORTS)]
    others_usd = whole_usd - sum((line.spent_usd for line in lines), ZERO)
    if others_usd:
        lines.append(
            KeyLine(
                name=OTHERS, owner="", url="", state=None, tiers="—", expires_at=None, spent_usd=others_usd
            )
        )
    return tuple(lines)


def _grant_line(key: ApiKey, grant: Grant) -> GrantLine:
    number = len(grant.model_ids)
    some = f", {number} model{'' if number == 1 else 's'}" if number else ", every model"
    return GrantLine(
        access=f"{grant.tier}{some}",
        key=f"{key.name} of {key.owner}",
        expires_at=grant.expires_at,
        approver=str(grant.granted_by),
        url=reverse("keys:detail", args=[key.public_id]),
    )


def _blocked(found: Blocked) -> BlockedRow:
    return BlockedRow(reason=reason_of(found.code), code=found.code, calls=found.calls, last_at=found.last_at)


def _sheet(figures: Overview, page: ProjectPage) -> tuple[Section, ...]:
    """Return what the page shows of money, keys and calls."""
    sums = figures.figures
    summary = (
        Line(name="Spent", amount_usd=sums.spent_usd, percent=sums.spent_percent),
        Line(name="Monthly budget", amount_usd=sums.limit_usd),
        Line(name="Forecast", note=sums.forecast_method, amount_usd=sums.forecast_usd),
        Line(name="Last 7 days, per day", amount_usd=sums.last7_per_day_usd),
        Line(name="Calls blocked today", calls=sums.blocked_today, amount_usd=None),
    )
    models = [
        Line(name=row.name, amount_usd=row.spent_usd, percent=row.share_percent) for row in figures.models
    ]
    keys = [Line(name=line.name, note=_note(line), amount_usd=line.spent_usd) for line in page.keys]
    days = [Line(name=f"{row.day:%Y-%m-%d}", amount_usd=row.total_usd) for row in figures.days]
    grants = [
        Line(
            name=line.access,
            note=f"{line.key}, until {day_of(line.expires_at)}, approved by {line.approver}",
            amount_usd=None,
        )
        for line in page.grants
    ]
    blocked = [
        Line(name=row.reason.happened, note=row.code, calls=row.calls, amount_usd=None)
        for row in page.blocked
    ]
    return (
        Section(id="sum", title="Summary", lines=summary),
        Section(id="models", title="By model", lines=tuple(models)),
        Section(id="keys", title="By key", lines=tuple(keys)),
        Section(id="days", title="By day", lines=tuple(days)),
        Section(id="grants", title="Grants", lines=tuple(grants)),
        Section(id="blocked", title="Blocked calls", lines=tuple(blocked)),
    )


def _note(line: KeyLine) -> str:
    if line.state is None or line.expires_at is None:
        return ""
    return f"{line.owner}, {line.state.text.lower()}, {line.tiers}, expires {day_of(line.expires_at)}"
