"""Asks for access: a pending request with its stages pinned, and a mail to everybody who may decide it."""

from collections.abc import Collection
from decimal import Decimal

from django.db import transaction

from approvals.eligibility import who_can
from approvals.errors import AlreadyAskedError
from approvals.models import AccessRequest, RequestKind, RequestStatus
from approvals.services.asking import Ask, check_ask, check_key, keep_policy
from approvals.services.asking import model_names as names_of_models
from approvals.services.common import past_its_time, record
from approvals.services.expiring import write_expiry
from approvals.services.revising import begin, set_clock
from catalog.models import Tier
from core import clock
from core.errors import InvalidInputError
from core.locks import lock_first
from keys.models import ApiKey, Grant
from teams.errors import NotInTeamError
from teams.models import Project, Role, User
from teams.selectors import approvers_for, names_of, works_in
from teams.services.members import locked_person

ASKED = ("model_ids", "reason", "ticket", "duration_days", "expected_monthly_usd", "policy")


@transaction.atomic
def submit(
    *,
    actor: User,
    project: Project,
    tier: Tier,
    reason: str,
    expected_monthly_usd: Decimal,
    model_names: Collection[str] = (),
    duration_days: int | None = None,
    extends_key: ApiKey | None = None,
    ticket: str = "",
) -> AccessRequest:
    """Ask that the actor may call a tier in a project; no names means every model of the tier.

    Without `extends_key` an approval issues a new key. The policy in force is pinned to the request.
    Raises NotInTeamError, InvalidInputError, NobodyCanApproveError, and AlreadyAskedError naming the request
    that waits for the same already.
    """
    place = locked_place(project)
    require_worker(actor, place)
    keep_policy(tier)
    ask = check_ask(
        tier=tier,
        model_names=model_names,
        reason=reason,
        duration_days=duration_days,
        expected_monthly_usd=expected_monthly_usd,
        ticket=ticket,
    )
    check_key(extends_key, owner=actor, project=place)
    require_no_other(actor, place, tier, RequestKind.ACCESS)
    return open_request(actor, place, ask, extends_key=extends_key)


def locked_place(project: Project) -> Project:
    """Return the project with its team, locked: one request of a project is made at a time."""
    return lock_first(Project.objects.select_related("team__department"), project.pk)


def open_request(
    actor: User,
    project: Project,
    ask: Ask,
    *,
    kind: RequestKind = RequestKind.ACCESS,
    extends_key: ApiKey | None = None,
    extends_grant: Grant | None = None,
) -> AccessRequest:
    """Write a pending request for a checked wish with its stages, its audit row and its mails."""
    request = AccessRequest(
        kind=kind,
        requester=actor,
        beneficiary=actor,
        project=project,
        team=project.team,
        tier=ask.policy.tier,
        extends_key=extends_key,
        extends_grant=extends_grant,
        created_at=clock.now(),
        **{name: getattr(ask, name) for name in ASKED},
    )
    set_clock(request)
    request.save()
    begin(request)
    record(actor, "request.submitted", request, after=facts(request), reason=ask.reason)
    return request


def facts(request: AccessRequest) -> dict[str, object]:
    """Return what is asked for, as the audit keeps it and a difference shows it."""
    return {
        "revision": request.revision,
        "project": request.project.code,
        "tier": request.tier_id,
        "models": names_of_models(request.model_ids),
        "duration_days": request.duration_days,
        "expected_monthly_usd": request.expected_monthly_usd,
        "ticket": request.ticket,
        "extends_key": request.extends_key,
        "policy": request.policy,
        "reason": request.reason,
    }


def require_worker(actor: User, project: Project) -> None:
    """Let only who works in the team of an open project ask; he does not leave before the transaction ends.

    Raises InvalidInputError, NotInTeamError.
    """
    if project.archived_at or project.team.archived_at:
        raise InvalidInputError(f"{project} is closed. Choose an open project.", field="project")
    if works_in(locked_person(actor), project.team):
        return
    lead = names_of(approvers_for(Role.LEAD, project))
    raise NotInTeamError(
        f"You do not work in team {project.team}, so you cannot ask for {project}. Ask {lead} to add you."
    )


def require_no_other(actor: User, project: Project, tier: Tier, kind: RequestKind) -> None:
    """Refuse a second pending request of a kind; the project's lock keeps others from making one now.

    Raises AlreadyAskedError naming the request that waits.
    """
    waiting = AccessRequest.objects.filter(
        beneficiary=actor, project=project, tier=tier, kind=kind, status=RequestStatus.PENDING
    )
    same = waiting.select_for_update(no_key=True).order_by("pk").first()
    if same is None:
        return
    if past_its_time(same):
        write_expiry(same)
        return
    raise AlreadyAskedError(
        f"You asked for {tier} in {project} on {same.created_at:%d %B %Y}, and {names_of(who_can(same))} can"
        " decide it. Change that request or withdraw it.",
        request=same.public_id,
        at=same.created_at.isoformat(),
    )
