"""What somebody may do to a team or a project: the addresses that their pages offer."""

from dataclasses import dataclass
from urllib.parse import urlencode

from django.urls import reverse

from budgets.authority import PURSE_HOLDERS
from budgets.models import ScopeKind
from teams.models import Project, Role, Team
from teams.selectors import RolesHeld


@dataclass(frozen=True, slots=True, kw_only=True)
class Acts:
    """Addresses of acts, empty where the reader may not do that, or the place was archived.

    `lead_query` fills in the form that gives a person the lead of the team; only administrators give roles.
    """

    move_url: str = ""
    rename_url: str = ""
    archive_url: str = ""
    hand_over_url: str = ""
    add_project_url: str = ""
    add_member_url: str = ""
    open_budget_url: str = ""
    lead_query: str = ""


def acts_of(roles: RolesHeld, team: Team, *, has_other_home: bool) -> Acts:
    """Return what somebody with these roles may do to a team; it moves where there is another department."""
    if team.archived_at is not None:
        return Acts()
    is_admin, directs, oversees = _powers(roles, team)
    lead = {"role": Role.LEAD.value, "team": team.public_id}
    return Acts(
        move_url=_address("move_team", team, may=(is_admin or directs) and has_other_home),
        rename_url=_address("teams:rename_team", team, may=is_admin or directs),
        archive_url=_address("teams:archive_team", team, may=is_admin or directs),
        add_project_url=_address("teams:add_project", team, may=oversees),
        add_member_url=_address("teams:add_member", team, may=oversees),
        open_budget_url=_open_budget(roles, ScopeKind.TEAM, team.public_id, oversees=oversees),
        lead_query=f"?{urlencode(lead)}" if is_admin else "",
    )


def acts_of_project(roles: RolesHeld, project: Project, *, has_other_home: bool) -> Acts:
    """Return what somebody with these roles may do to a project, whose team is loaded.

    It moves where there is another team.
    """
    if project.archived_at is not None or project.team.archived_at is not None:
        return Acts()
    is_admin, directs, oversees = _powers(roles, project.team)
    may = is_admin or directs
    return Acts(
        move_url=_address("move_project", project, may=may and has_other_home),
        rename_url=_address("rename_project", project, may=may),
        archive_url=_address("archive_project", project, may=may),
        hand_over_url=_address("hand_over_project", project, may=oversees),
        open_budget_url=_open_budget(roles, ScopeKind.PROJECT, project.public_id, oversees=oversees),
    )


def _powers(roles: RolesHeld, team: Team) -> tuple[bool, bool, bool]:
    is_admin = Role.ADMIN in roles.organisation_wide
    return is_admin, team.department_id in roles.directs, roles.oversees(team)


def _address(view: str, place: Team | Project, *, may: bool) -> str:
    return reverse(view, args=[place.public_id]) if may else ""


def _open_budget(roles: RolesHeld, kind: ScopeKind, public_id: str, *, oversees: bool) -> str:
    if not oversees and not roles.organisation_wide & PURSE_HOLDERS:
        return ""
    return f"{reverse('budgets:open')}?{urlencode({'scope': f'{kind.value}:{public_id}'})}"
