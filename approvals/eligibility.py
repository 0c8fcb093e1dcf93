"""Who may decide a request at this moment. Terms are pinned; people are looked up when it matters.

The page, the mail and the services all ask here, so what is offered is what is allowed.
"""

from django.db.models import QuerySet

from approvals import policy
from approvals.errors import NotEligibleError
from approvals.models import AccessRequest, Decision, Stage
from teams.models import Role, User
from teams.selectors import RoleHolders, names_of, role_holders


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


def deciders(request: AccessRequest, holders: RoleHolders) -> frozenset[int]:
    """Return the ids of the people who may decide the request's current stage, out of `holders`."""
    counted = {decision.actor_id for decision in decisions_of(request)}
    counted |= {decision.on_behalf_of_id for decision in decisions_of(request) if decision.on_behalf_of_id}
    return policy.may_decide(
        current_stage(request).role, holders.for_project(request.project), request.askers, counted
    )


def who_can(request: AccessRequest) -> QuerySet[User]:
    """Return the people who may decide the request now, by name."""
    return User.objects.filter(pk__in=deciders(request, role_holders(request.project)))


def require_may_decide(actor: User, request: AccessRequest) -> None:
    """Refuse an actor who may not decide now. Raises NotEligibleError saying why and who can."""
    holders = role_holders(request.project)
    if actor.is_active and actor.pk in deciders(request, holders):
        return
    can = list(who_can(request))
    raise NotEligibleError(
        f"{why_not(actor, request, holders)} Ask {names_of(can)}.", who_can=[str(person) for person in can]
    )


def why_not(actor: User, request: AccessRequest, holders: RoleHolders) -> str:
    """Say in a sentence why the actor may not decide this request now."""
    if actor.pk in request.askers:
        return "This is your own request, and nobody decides his own."
    if any(actor.pk in (decision.actor_id, decision.on_behalf_of_id) for decision in decisions_of(request)):
        return "You have decided this request once, and nobody counts twice."
    role = policy.routed_role(
        current_stage(request).role, holders.for_project(request.project), request.askers
    )
    return f"It needs {role_phrase(role, request)}."


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
