"""One team: who is in it, who may approve, who spends, and what its projects were given of its budget."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Exists, OuterRef
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from approvals.selectors import lent_for_team
from budgets.models import ScopeKind
from budgets.selectors import standings_of_scopes
from budgets.types import BudgetStanding, BudgetStandings
from core import addresses
from core.errors import NotFoundError
from core.money import ZERO
from core.shapes import Column
from core.sheets import CSV_HEAD, Line, Section, cells, day_of
from core.spreadsheets import csv_response
from keys.selectors import usable_by_owner
from portal.context import roles_here
from portal.places.acts import Acts, acts_of
from portal.places.finding import departments_for
from portal.places.people import DeciderRow, MemberRow, decider_rows, member_rows
from portal.places.team_tables import (
    KEPT,
    MEMBER_SORTS,
    MONTH_SORTS,
    MONTHS,
    PEOPLE,
    PROJECT_SORTS,
    PROJECTS,
    MonthLine,
    ProjectLine,
)
from teams.models import Project, Team
from teams.selectors import people_of_team
from teams.types import PersonRequest
from usage import selectors
from usage.selectors.projects import month_budget, share
from usage.types import MonthRow, Period, Spend


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """The team's month in US dollars: its monthly budget, its spend, what its projects were given."""

    budget: BudgetStanding | None
    spent_usd: Decimal
    allocated_usd: Decimal

    @property
    def limit_usd(self) -> Decimal | None:
        """Return the monthly limit, if there is one."""
        return self.budget.limit_usd if self.budget else None

    @property
    def spent_percent(self) -> Decimal | None:
        """Return the spent share of the limit, unrounded."""
        return share(self.spent_usd, self.limit_usd)

    @property
    def free_usd(self) -> Decimal | None:
        """Return what no project was given; negative when they were given more than there is."""
        return None if self.limit_usd is None else self.limit_usd - self.allocated_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamPage:
    """What the page shows."""

    public_id: str
    name: str
    is_open: bool
    department: str
    month: Period
    members: tuple[MemberRow, ...]
    deciders: tuple[DeciderRow, ...]
    money: Money
    projects: tuple[ProjectLine, ...]
    months: tuple[MonthLine, ...]
    trend: tuple[Decimal, ...]
    member_columns: tuple[Column, ...]
    project_columns: tuple[Column, ...]
    month_columns: tuple[Column, ...]
    oversees: bool
    overview_url: str
    statement_url: str
    acts: Acts
    csv_url: str

    @property
    def is_led(self) -> bool:
        """Whether somebody leads the team."""
        return any(row.leads for row in self.members)

    @property
    def needs_start(self) -> bool:
        """Whether something is missing without which nobody asks for access here, or nobody approves."""
        return bool(self.acts.add_member_url) and not (self.members and self.is_led and self.has_project)

    @property
    def has_project(self) -> bool:
        """Whether the team has an open project."""
        return any(line.is_open for line in self.projects)


@require_safe
def show_team(request: PersonRequest, public_id: str) -> HttpResponse:
    """Show a team to who works in it or oversees it; the others' spend to who oversees it. CSV likewise."""
    page = _page(request, *_find(request, public_id))
    if request.GET.get("format") == "csv":
        return csv_response(f"team-{page.month.first_day:%Y-%m}", CSV_HEAD, cells(_sheet(page)))
    return render(request, "portal/team.html", {"page": page})


def _find(request: PersonRequest, public_id: str) -> tuple[Team, Sequence[Project], bool]:
    """Return a team that the reader may see, its projects by name, and whether it could go to another
    department. One query, two without any project.
    """
    teams = Team.objects.visible_to(request.user).filter(public_id=public_id)
    homes = departments_for(roles_here(request))
    projects = list(
        Project.objects.filter(team__in=teams)
        .select_related("team__department")
        .annotate(has_other_home=Exists(homes.exclude(pk=OuterRef("team__department"))))
        .order_by("name", "pk")
    )
    if projects:
        return projects[0].team, projects, vars(projects[0])["has_other_home"]
    found = teams.annotate(has_other_home=Exists(homes.exclude(pk=OuterRef("department"))))
    team = found.select_related("department").first()
    if team is None:
        raise NotFoundError("There is no such team, or it is not one of yours.")
    return team, projects, vars(team)["has_other_home"]


def _page(request: PersonRequest, team: Team, projects: Sequence[Project], has_other_home: bool) -> TeamPage:
    roles, today = roles_here(request), selectors.organisation_today()
    oversees = roles.oversees(team) or roles.sees_everything
    scope, month = selectors.team_scope(team), selectors.this_month(today)
    people = people_of_team(team)
    spent = selectors.spend_by_month(scope, today=today)
    budgets = standings_of_scopes(
        {ScopeKind.TEAM: [team.pk], ScopeKind.PROJECT: [project.pk for project in projects]}
    )
    months, acts = (
        _months(spent.months, team.public_id if oversees else ""),
        acts_of(roles, team, has_other_home=has_other_home),
    )
    return TeamPage(
        public_id=team.public_id,
        name=team.name,
        is_open=team.archived_at is None,
        department=team.department.name,
        month=month,
        members=PEOPLE.order(request).of(
            member_rows(
                people, spent.by_owner, usable_by_owner(team), seen=None if oversees else {request.user.pk}
            ),
            MEMBER_SORTS,
        ),
        deciders=decider_rows(people, lent_for_team(team)),
        money=_money(team, projects, spent.by_project, budgets),
        projects=PROJECTS.order(request).of(_projects(projects, spent.by_project, budgets), PROJECT_SORTS),
        months=MONTHS.order(request).of(months, MONTH_SORTS),
        trend=tuple(row.total_usd for row in spent.months),
        member_columns=PEOPLE.columns(request, KEPT)[: None if acts.add_member_url else -1],
        project_columns=PROJECTS.columns(request, KEPT),
        month_columns=MONTHS.columns(request, KEPT),
        oversees=oversees,
        overview_url=f"{reverse('overview')}?scope={team.public_id}",
        statement_url=_statement_url(team.public_id, month) if oversees else "",
        acts=acts,
        csv_url=addresses.link(request, KEPT, format="csv"),
    )


def _money(
    team: Team, projects: Sequence[Project], spent: Sequence[Spend], budgets: BudgetStandings
) -> Money:
    given = [month_budget(budgets, (ScopeKind.PROJECT, project.pk)) for project in projects]
    return Money(
        budget=month_budget(budgets, (ScopeKind.TEAM, team.pk)),
        spent_usd=sum((each.cost_usd for each in spent), ZERO),
        allocated_usd=sum((row.limit_usd or ZERO for row in given if row is not None), ZERO),
    )


def _projects(
    projects: Sequence[Project], spent: Sequence[Spend], budgets: BudgetStandings
) -> tuple[ProjectLine, ...]:
    """Return the team's open projects and all that it paid for this month, the dearest first."""
    costs = {each.id: each.cost_usd for each in spent}
    lines = []
    for project in projects:
        if project.archived_at is not None and project.pk not in costs:
            continue
        cost_usd = costs.get(project.pk, ZERO)
        budget = month_budget(budgets, (ScopeKind.PROJECT, project.pk))
        limit_usd = budget.limit_usd if budget else None
        lines.append(
            ProjectLine(
                name=project.name,
                url=reverse("project", args=[project.public_id]),
                is_open=project.archived_at is None,
                spent_usd=cost_usd,
                limit_usd=limit_usd,
                used_percent=share(cost_usd, limit_usd),
            )
        )
    own = {project.pk for project in projects}
    lines += [_moved(each) for each in spent if each.id not in own]
    return tuple(sorted(lines, key=lambda line: (-line.spent_usd, line.name)))


def _moved(spent: Spend) -> ProjectLine:
    """Make the line of a project that was the team's when the money was spent, and is not now."""
    return ProjectLine(
        name=spent.name, url="", is_open=True, spent_usd=spent.cost_usd, limit_usd=None, used_percent=None
    )


def _months(rows: Sequence[MonthRow], team_id: str) -> tuple[MonthLine, ...]:
    """Return the last twelve months, the newest first."""
    dearest = max(row.total_usd for row in rows)
    return tuple(
        MonthLine(
            month=row,
            percent=share(row.total_usd, dearest) if dearest > 0 else None,
            url=_statement_url(team_id, row.period) if team_id else "",
        )
        for row in reversed(rows)
    )


def _statement_url(team_id: str, period: Period) -> str:
    return reverse("reports:statement", args=[team_id, f"{period.first_day:%Y-%m}"])


def _sheet(page: TeamPage) -> tuple[Section, ...]:
    """Return what the page shows; what is not for the reader's eyes is empty in both."""
    money = page.money
    summary = (
        Line(name="Spent", amount_usd=money.spent_usd, percent=money.spent_percent),
        Line(name="Monthly budget", amount_usd=money.limit_usd),
        Line(name="Allocated to projects", amount_usd=money.allocated_usd),
        Line(name="Free", amount_usd=money.free_usd),
    )
    people = [Line(name=row.name, note=_note(row), amount_usd=row.spent_usd) for row in page.members]
    projects = [
        Line(
            name=line.name,
            note="no budget" if line.limit_usd is None else f"budget {line.limit_usd:f}",
            amount_usd=line.spent_usd,
            percent=line.used_percent,
        )
        for line in page.projects
    ]
    months = [
        Line(name=line.month.period.label, calls=line.month.calls, amount_usd=line.month.total_usd)
        for line in page.months
    ]
    deciders = [
        Line(
            name=row.name,
            note=f"{row.role}, {row.state.text.lower()}, {day_of(row.since)} to {day_of(row.until)}",
            amount_usd=None,
        )
        for row in page.deciders
    ]
    return (
        Section(id="sum", title="Summary", lines=summary),
        Section(id="people", title="People", lines=tuple(people)),
        Section(id="projects", title="Projects", lines=tuple(projects)),
        Section(id="months", title="Last 12 months", lines=tuple(months)),
        Section(id="deciders", title="Who may approve", lines=tuple(deciders)),
    )


def _note(row: MemberRow) -> str:
    parts = [row.role]
    if row.since is not None:
        parts.append(f"since {day_of(row.since)}")
    if row.keys is not None:
        parts.append(f"{row.keys} key{'' if row.keys == 1 else 's'}")
    return ", ".join(parts)
