"""Whose a budget's parent is: who decides on more of it, at this moment.

A project's or key's parent is the team's lead as far as his head-room goes, beyond it the department's
director; a team's is the director; a department's and the organisation's are finance and administrators.
"""

from django.db.models import QuerySet

from approvals import policy
from approvals.errors import NotEligibleError
from approvals.models import BudgetRequest
from budgets.models import ScopeKind
from teams.models import Role, User
from teams.selectors import RoleHolders, names_of, role_holders

# Who owns the parent, the nearest first; the last one decides whatever the others may not.
OWNERS: dict[ScopeKind, tuple[Role, ...]] = {
    ScopeKind.KEY: (Role.LEAD, Role.DIRECTOR),
    ScopeKind.PROJECT: (Role.LEAD, Role.DIRECTOR),
    ScopeKind.TEAM: (Role.DIRECTOR,),
    ScopeKind.DEPARTMENT: (Role.FINANCE,),
    ScopeKind.ORGANISATION: (Role.FINANCE,),
}


def holders_here(request: BudgetRequest, holders: RoleHolders) -> dict[str, frozenset[int]]:
    """Return who holds each role where the budget is; administrators do what finance does."""
    team, department = request.home_team, request.home_department
    here = holders.for_place(team.pk if team else None, department.pk if department else None)
    return {**here, Role.FINANCE.value: here[Role.FINANCE] | here[Role.ADMIN]}


def deciders_of(request: BudgetRequest, holders: RoleHolders) -> frozenset[int]:
    """Return the ids of the people who may decide the request, out of `holders`; never its requester."""
    return policy.may_decide(request.role, holders_here(request, holders), {request.requester_id})


def who_can_decide(request: BudgetRequest) -> QuerySet[User]:
    """Return the people who may decide the request now, by name."""
    return User.objects.filter(pk__in=deciders_of(request, role_holders()))


def require_owner(actor: User, request: BudgetRequest) -> None:
    """Refuse an actor who may not decide now. Raises NotEligibleError saying why and who can."""
    holders = role_holders()
    can = deciders_of(request, holders)
    if actor.is_active and actor.pk in can:
        return
    names = sorted(holders.names[person] for person in can)
    raise NotEligibleError(f"{why_not_owner(actor, request, holders)} Ask {names_of(names)}.", who_can=names)


def why_not_owner(actor: User, request: BudgetRequest, holders: RoleHolders) -> str:
    """Say in a sentence why the actor may not decide this request now."""
    if actor.pk == request.requester_id:
        return "This is your own request, and nobody decides his own."
    role = policy.routed_role(request.role, holders_here(request, holders), {request.requester_id})
    return f"It needs {owner_phrase(role, request)}."


def owner_phrase(role: str, request: BudgetRequest) -> str:
    """Write a role with its place, such as `the director of Product`."""
    match role:
        case Role.LEAD:
            return f"the lead of {request.home_team}"
        case Role.DIRECTOR:
            return f"the director of {request.home_department}"
        case Role.ADMIN:
            return "an administrator"
        case _:
            return "finance or an administrator"
