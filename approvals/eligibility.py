"""Who may decide a request at this moment. Terms are pinned; people are looked up when it matters.

The page, the mail and the services all ask here, so what is offered is what is allowed.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import F, QuerySet

from approvals import policy
from approvals.errors import NotEligibleError
from approvals.models import AccessRequest, Decision, Delegation, Stage, delegation_covers
from teams.models import Role, User
from teams.selectors import RoleHolders, names_of, role_holders

LENDABLE = (Role.LEAD, Role.DIRECTOR, Role.ADMIN)


def stages_of(request: AccessRequest) -> list[Stage]:
    """Return the stages of the current revision in order, using prefetched rows."""
    rows = [stage for stage in request.stages.all() if stage.revision == request.revision]
    return sorted(rows, key=lambda stage: stage.index)


def decisions_of(request: AccessRequest) -> list[Decision]:
    """Return the decisions that count for the current revision, using prefetched rows."""
    return [decision for decision in request.decisions.all() if decision.revision == request.revision]


def current_stage(request: AccessRequest) -> Stage:
    """Return the stage that must agree next."""
    return stages_of(request)[request.stage_index]


def roles_now(request: AccessRequest, here: policy.Holders) -> tuple[str, ...]:
    """Return the roles that may decide the current stage: its own, and beside it the one it escalated to."""
    return turn_roles(request, current_stage(request).role, here)


def turn_roles(request: AccessRequest, role: str, here: policy.Holders) -> tuple[str, ...]:
    """Return a stage's role and, once the request has waited too long, the one that decides beside it."""
    more = next_role(request, role, here)
    return (role, more) if request.is_escalated and more else (role,)


def next_role(request: AccessRequest, role: str, here: policy.Holders) -> str:
    """Return which role decides beside a stage's own once that has waited too long; empty where none does."""
    later = [stage["role"] for stage in request.policy.stages[1:]]
    return policy.escalated_role(request.policy.escalation_role, role, here, request.askers, later)


def able(request: AccessRequest, holders: RoleHolders) -> dict[int, int | None]:
    """Return who may decide the current stage, out of `holders` and their delegates, and for whom."""
    here, lent = holders.for_project(request.project), lent_of(lent_rows(request))
    return policy.who_decides(roles_now(request, here), here, request.askers, counted(request), lent)


def counted(request: AccessRequest) -> set[int]:
    """Return the ids of those who count in the current revision: who decided, and for whom."""
    made = decisions_of(request)
    return {each.actor_id for each in made} | {each.on_behalf_of_id for each in made if each.on_behalf_of_id}


def deciders(request: AccessRequest, holders: RoleHolders) -> frozenset[int]:
    """Return the ids of the people who may decide the request's current stage."""
    return frozenset(able(request, holders))


def lent_rows(request: AccessRequest) -> list[dict[str, Any]]:
    """Return the live delegations where the request is; those that `loading.listed()` found, or a query."""
    if "lent" in vars(request):
        return request.lent
    team = request.project.team
    return lent_in(team=team.pk, department=team.department_id)


def lent_in(*, team: int | None, department: int | None) -> list[dict[str, Any]]:
    """Return the live delegations of a place: what is in no team or department has those of everything."""
    here = delegation_covers(team=team, department=department)
    rows = live_delegations().filter(here).values("role", "giver_id", "taker_id", name=F("taker__name"))
    return [dict(row) for row in rows]


def live_delegations() -> QuerySet[Delegation]:
    """Return the delegations that count now: live, between active people, the oldest first."""
    live = Delegation.objects.live().filter(giver__is_active=True, taker__is_active=True)
    return live.order_by("pk")


def lent_of(rows: Iterable[Mapping[str, Any]]) -> list[policy.Lent]:
    """Return delegations as they were read, for the arithmetic."""
    return [policy.Lent(role=row["role"], giver=row["giver_id"], taker=row["taker_id"]) for row in rows]


def names_of_deciders(request: AccessRequest, holders: RoleHolders) -> tuple[str, ...]:
    """Return who may decide now by name; a delegate with the person he stands for."""
    return names_of_able(able(request, holders), lent_rows(request), holders)


def names_of_able(
    can: Mapping[int, int | None], lent: Iterable[Mapping[str, Any]], holders: RoleHolders
) -> tuple[str, ...]:
    """Write who may decide, each with the person he decides for, by name."""
    takers = {row["taker_id"]: row["name"] for row in lent}
    names = []
    for person, giver in can.items():
        own = holders.names.get(person) or takers.get(person, "")
        names.append(own if giver is None else f"{takers[person]} (for {holders.names[giver]})")
    return tuple(sorted(names))


def vetoers(request: AccessRequest, holders: RoleHolders) -> frozenset[int]:
    """Return who was told of the request and may deny it, and nothing else, by its policy."""
    if not request.policy.told_may_veto:
        return frozenset()
    here = holders.for_project(request.project)
    return here.get(request.policy.told_role, policy.NOBODY) - request.askers - counted(request)


def may_lend(user: User, here: policy.Holders) -> bool:
    """Whether the person holds a role himself, out of those of a place, that can be lent."""
    return any(user.pk in here.get(role, policy.NOBODY) for role in LENDABLE)


def who_can(request: AccessRequest) -> QuerySet[User]:
    """Return the people who may decide the request now, by name."""
    return User.objects.filter(pk__in=deciders(request, role_holders(request.project)))


def require_may_decide(actor: User, request: AccessRequest, *, denies: bool = False) -> int | None:
    """Refuse an actor who may not decide now; return the id of the person whom he decides for, or None.

    Raises NotEligibleError saying why and who can.
    """
    holders = role_holders(request.project)
    can = able(request, holders)
    if actor.is_active and actor.pk in can:
        return can[actor.pk]
    if denies and actor.is_active and actor.pk in vetoers(request, holders):
        return None
    names = names_of_deciders(request, holders)
    raise NotEligibleError(f"{why_not(actor, request, holders)} Ask {names_of(names)}.", who_can=list(names))


def why_not(actor: User, request: AccessRequest, holders: RoleHolders) -> str:
    """Say in a sentence why the actor may not decide this request now."""
    if actor.pk in request.askers:
        return "This is your own request, and nobody decides their own."
    if actor.pk in counted(request):
        return "You have decided this request once, and nobody counts twice."
    here = holders.for_project(request.project)
    now = roles_now(request, here)
    roles = dict.fromkeys(policy.routed_role(role, here, request.askers) for role in now)
    return f"It needs {' or '.join(role_phrase(role, request) for role in roles)}."


def nobody_decides(whom: str) -> str:
    """Say what it takes to go on where nobody holds the role that a request waits for."""
    return f"It needs {whom}: ask an administrator to name somebody."


def role_phrase(role: str, request: AccessRequest) -> str:
    """Write a role with its place, such as `the lead of Search`."""
    team = request.project.team
    match role:
        case Role.LEAD:
            return f"the lead of {team}"
        case Role.DIRECTOR:
            return f"the director of {team.department}"
        case Role.ADMIN:
            return "an administrator"
        case _:
            return f"somebody in {Role(role).label.lower()}"
