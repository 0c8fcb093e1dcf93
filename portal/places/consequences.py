"""Says what a move or an end means before it is done: for budgets, keys, grants, leases, requests, usage."""

from collections.abc import Iterable, Sequence

from django.db.models import Q, QuerySet

from approvals.models import AccessRequest, BudgetRequest
from approvals.selectors import waiting_in_team
from budgets.models import Lease, ScopeKind
from budgets.selectors import budget_rows, open_budgets_above, open_budgets_below, scope_place
from budgets.types import BudgetRow, ScopePlace
from core import clock
from core.money import format_usd
from keys.directory import key_labels
from keys.models import ApiKey, Grant
from teams.models import Department, Project, Team, User
from teams.selectors import open_in

STAYS = "The {} stays until somebody closes it."
FOR_GOOD = ("What was used until now stays in every report.", "It cannot be opened again.")
MANY = 5  # names that a sentence holds, and budgets that have a line each


def of_project(user: User, project: Project, team: Team) -> list[str]:
    """Return what a project's move to another team means."""
    projects = Project.objects.filter(pk=project.pk)
    waiting = AccessRequest.objects.pending().filter(project=project).count()
    return [
        *_bound(ScopeKind.TEAM, project.team.pk, team.pk),
        *_own(user, scope_place(ScopeKind.PROJECT, project.pk)),
        *_calls(projects),
        *([f"Requests that wait start again with the new lead: {waiting}."] if waiting else []),
        f"The lead of {team} team answers for it, its members see it; {project.team} team no longer does.",
        f"What was used until now stays with {project.team} team in every report.",
    ]


def of_team(user: User, team: Team, department: Department) -> list[str]:
    """Return what a team's move to another department means."""
    projects = Project.objects.filter(team=team, archived_at__isnull=True)
    before = team.department
    names = _some(projects.order_by("name", "pk").values_list("name", flat=True))
    return [
        *_bound(ScopeKind.DEPARTMENT, before.pk, department.pk),
        *([f"Its projects go with it: {names}."] if names else []),
        *_own(user, scope_place(ScopeKind.TEAM, team.pk)),
        *_calls(projects),
        *_with_directors(team, department),
        f"The director of {department} department sets its limits; who directs {before} no longer does.",
        f"What was used until now stays with {before} department in every report.",
    ]


def of_archiving_project(user: User, project: Project) -> list[str]:
    """Return what ends with a project, and what stays."""
    projects = Project.objects.filter(pk=project.pk)
    asked = BudgetRequest.objects.pending().filter(project=project).count()
    return [
        *_refused(projects, asked),
        *_own(user, scope_place(ScopeKind.PROJECT, project.pk), STAYS),
        *FOR_GOOD,
    ]


def of_archiving_team(user: User, team: Team) -> list[str]:
    """Return what ends with a team, and what stays."""
    projects = Project.objects.filter(team=team, archived_at__isnull=True)
    names = _some(projects.order_by("name", "pk").values_list("name", flat=True))
    asked = BudgetRequest.objects.pending().filter(Q(project__in=projects) | Q(team=team)).count()
    return [
        *([f"Its projects are archived with it: {names}."] if names else []),
        *_refused(projects, asked),
        *_own(user, scope_place(ScopeKind.TEAM, team.pk), STAYS),
        "Its people stay in their other teams; roles in this one have nothing to decide any more.",
        *FOR_GOOD,
    ]


def of_archiving_department(user: User, department: Department) -> list[str]:
    """Return what is in the way of a department's end, and what stays."""
    asked = BudgetRequest.objects.pending().filter(department=department).count()
    in_the_way = [f"{each[0].upper()}{each[1:]} is open." for each in open_in(department)]
    return [
        *(f"{each} That has to be archived, or moved, first." for each in in_the_way),
        *([f"Requests that wait for a decision are closed: {asked}."] if asked else []),
        *_own(user, scope_place(ScopeKind.DEPARTMENT, department.pk), STAYS),
        "Nobody adds a team to it any more; its director has nothing to decide there.",
        *FOR_GOOD,
    ]


def of_leaving_team(team: Team, person: User) -> list[str]:
    """Return what ends when somebody leaves a team, and what stays."""
    keys = _live(ApiKey.objects.filter(owner=person, project__team=team)).order_by("name", "pk")
    names = _some(f"{key.name} of project {key.project}" for key in keys.select_related("project"))
    waiting = sum(rows.count() for rows in waiting_in_team(person, team))
    return [
        *([f"Keys are revoked, and calls with them refused at once: {names}."] if names else []),
        *([f"Requests that wait for a decision are closed: {waiting}."] if waiting else []),
        f"{person} sees the team and its projects no longer, and asks for nothing there any more.",
        f"What was used until now stays with {team} team in every report.",
    ]


def _refused(projects: QuerySet[Project], asked: int) -> list[str]:
    """Say what is refused and closed when projects are archived; `asked` are requests for more budget."""
    keys = _live(ApiKey.objects.filter(project__in=projects))
    names = _some(f"{key.name} of {key.owner}" for key in keys.select_related("owner").order_by("name", "pk"))
    waiting = asked + AccessRequest.objects.pending().filter(project__in=projects).count()
    return [
        f"Keys are refused from the next call on: {names}." if names else "No key is in use.",
        *([f"Requests that wait for a decision are closed: {waiting}."] if waiting else []),
    ]


def _live(keys: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
    return keys.filter(revoked_at__isnull=True, expires_at__gt=clock.now())


def _with_directors(team: Team, department: Department) -> list[str]:
    waiting = AccessRequest.objects.pending().filter(project__team=team).count()
    if not waiting:
        return []
    wait = "1 request waits" if waiting == 1 else f"{waiting} requests wait"
    return [f"{wait}. What a director decides of that is for the director of {department} from now on."]


def _bound(kind: ScopeKind, before_id: int, after_id: int) -> list[str]:
    """Say which budgets bind from the next call on, and which no longer."""
    before, after = (
        list(budget_rows(open_budgets_above(scope_place(kind, each)))) for each in (before_id, after_id)
    )
    stays = {row.id for row in before} & {row.id for row in after}
    return [
        *_each(after, stays, "From the next call on it counts on the {}."),
        *_each(before, stays, "It no longer counts on the {}."),
    ]


def _each(rows: Sequence[BudgetRow], stays: set[int], sentence: str) -> list[str]:
    return [sentence.format(_budget(row, row.name)) for row in rows if row.id not in stays]


def _own(user: User, place: ScopePlace, sentence: str = "The {} goes with it.") -> list[str]:
    """Say of the budgets of a place, those of wide scopes first, what becomes of them."""
    here = open_budgets_above(place).filter(scope_kind=place.kind, scope_id=place.id)
    rows = budget_rows(open_budgets_below(place) | here)
    labels = key_labels(user, [row.scope_id for row in rows if row.scope_kind is ScopeKind.KEY])
    told = [
        (row, labels.get(row.scope_id, "a key") if row.scope_kind is ScopeKind.KEY else row.name)
        for row in rows[:MANY]
    ]
    others = len(rows) - len(told)
    return [
        *(sentence.format(_budget(row, name)) for row, name in told),
        *_and_others(others),
    ]


def _and_others(number: int) -> list[str]:
    if not number:
        return []
    return ["So does 1 more budget." if number == 1 else f"So do {number} more budgets."]


def _budget(row: BudgetRow, name: str) -> str:
    limit = "without a limit" if row.limit_usd is None else f"of {format_usd(row.limit_usd)}"
    return f"{row.window_label.lower()} budget {limit} for {name}"


def _calls(projects: QuerySet[Project]) -> list[str]:
    """Say what becomes of the keys of projects, of what raises them, and of money held for them."""
    now = clock.now()
    keys = _live(ApiKey.objects.filter(project__in=projects))
    names = _some(f"{key.name} of {key.owner}" for key in keys.select_related("owner").order_by("name", "pk"))
    grants = Grant.objects.filter(key__in=keys, revoked_at__isnull=True, expires_at__gt=now).count()
    leases = Lease.objects.filter(project__in=projects, closed_at__isnull=True).count()
    return [
        *([f"Its keys go on calling: {names}."] if names else []),
        *([f"What raises them above Tier 1 stays until it ends: {grants} in force."] if grants else []),
        *([f"Gateways give back the money that they hold for it: {leases} leases."] if leases else []),
    ]


def _some(names: Iterable[str]) -> str:
    """Return the first names, and how many there are besides."""
    found = list(names)
    others = len(found) - MANY
    return ", ".join(found[:MANY]) + (f" and {others} more" if others > 0 else "")
