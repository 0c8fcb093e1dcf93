"""Whose a budget's parent is: who decides on more of it, at this moment.

A project's or key's parent is the team's lead as far as his head-room goes, beyond it the department's
director; a team's is the director; a department's and the organisation's are finance and administrators.
When a request has waited too long, the next of them may decide it too, and has as long before the one after
him. Whom one of them lent the role decides for that person, within what the role may.
"""

from typing import Any

from django.db.models import QuerySet

from approvals import policy
from approvals.eligibility import lent_in, lent_of, names_of_able
from approvals.errors import NotEligibleError
from approvals.models import BudgetRequest
from budgets.models import ScopeKind
from budgets.types import Mandate
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
    """Return who holds each role where the budget is."""
    return holders.for_place(*_place(request))


def able_owners(request: BudgetRequest, holders: RoleHolders) -> dict[int, int | None]:
    """Return who may decide the request, out of `holders` and their delegates, and for whom.

    Never its requester, neither himself nor through a delegate. Administrators do what finance does.
    """
    here = holders_here(request, holders)
    lent = lent_of(lent_rows_of(request))
    return policy.who_decides(_roles_now(request), here, {request.requester_id}, lent=lent)


def deciders_of(request: BudgetRequest, holders: RoleHolders) -> frozenset[int]:
    """Return the ids of the people who may decide the request now."""
    return frozenset(able_owners(request, holders))


def names_of_owners(request: BudgetRequest, holders: RoleHolders) -> tuple[str, ...]:
    """Return who may decide now by name; a delegate with the person he stands for."""
    return names_of_able(able_owners(request, holders), lent_rows_of(request), holders)


def lent_rows_of(request: BudgetRequest) -> list[dict[str, Any]]:
    """Return the live delegations where the budget is; those that `with_lent()` found, or a query."""
    if "lent" in vars(request):
        return request.lent
    team, department = _place(request)
    return lent_in(team=team, department=department)


def who_can_decide(request: BudgetRequest) -> QuerySet[User]:
    """Return the people who may decide the request now, by name."""
    return User.objects.filter(pk__in=deciders_of(request, role_holders()))


def require_owner(actor: User, request: BudgetRequest) -> Mandate | None:
    """Refuse an actor who may not decide now; return for whom he decides and in which role, or None.

    Raises NotEligibleError saying why and who can.
    """
    holders = role_holders()
    can = able_owners(request, holders)
    if not actor.is_active or actor.pk not in can:
        names = names_of_owners(request, holders)
        why = why_not_owner(actor, request, holders)
        raise NotEligibleError(f"{why} Ask {names_of(names)}.", who_can=list(names))
    giver = can[actor.pk]
    if giver is None:
        return None
    return Mandate(
        giver=User.objects.get(pk=giver), role=_lent_role(request, holders, giver=giver, taker=actor.pk)
    )


def _lent_role(request: BudgetRequest, holders: RoleHolders, *, giver: int, taker: int) -> Role:
    """Return the widest role that decides now, that the giver holds here and lent to the taker."""
    here = holders_here(request, holders)
    lent = {
        each.role for each in lent_of(lent_rows_of(request)) if (each.giver, each.taker) == (giver, taker)
    }
    *_, widest = (role for role in _turn(request, holders) if role in lent and giver in here[role])
    return Role(widest)


def why_not_owner(actor: User, request: BudgetRequest, holders: RoleHolders) -> str:
    """Say in a sentence why the actor may not decide this request now."""
    if actor.pk == request.requester_id:
        return "This is your own request, and nobody decides their own."
    return f"It needs {owner_text(request, holders)}."


def owner_text(request: BudgetRequest, holders: RoleHolders) -> str:
    """Write whose turn it is, such as `the lead of Search or the director of Product`."""
    turn = _turn(request, holders)
    named = [role for role in turn if role != Role.ADMIN or Role.FINANCE not in turn]
    return " or ".join(owner_phrase(role, request) for role in named)


def escalation_text(request: BudgetRequest) -> str:
    """Write who may decide too when the request has waited too long; empty where nobody does."""
    return owner_phrase(request.next_role, request) if request.next_role else ""


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


def _roles_now(request: BudgetRequest) -> tuple[str, ...]:
    """Return the roles that may decide now: the pinned one, and beside it those that it escalated to."""
    roles = request.chain[: request.turn.index + 1]
    return (*roles, Role.ADMIN) if Role.FINANCE in roles else roles


def _turn(request: BudgetRequest, holders: RoleHolders) -> list[str]:
    """Return those roles, each with the next one in its place when its holder asks himself."""
    here = holders_here(request, holders)
    roles = (policy.routed_role(role, here, {request.requester_id}) for role in _roles_now(request))
    return list(dict.fromkeys(roles))


def _place(request: BudgetRequest) -> tuple[int | None, int | None]:
    """Return the ids of the team and the department that the budget is in, as far as it is in one."""
    team, department = request.home_team, request.home_department
    return team.pk if team else None, department.pk if department else None
