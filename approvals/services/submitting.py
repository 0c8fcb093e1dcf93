"""Asks for access: a pending request with its stages pinned, and a mail to everybody who may decide it."""

from collections.abc import Collection
from decimal import Decimal

from django.db import transaction

from approvals import policy
from approvals.eligibility import who_can
from approvals.errors import AlreadyAskedError
from approvals.models import AccessRequest, RequestKind, RequestStatus
from approvals.services.asking import Ask, check_ask, check_key, pin_stages
from approvals.services.asking import model_names as names_of_models
from approvals.services.common import past_its_time, record
from approvals.services.expiring import write_expiry
from approvals.services.mails import tell_approvers
from catalog.models import Tier
from core import clock
from core.errors import InvalidInputError
from keys.models import ApiKey
from teams.errors import NotInTeamError
from teams.models import Project, Role, User
from teams.selectors import approvers_for, names_of, works_in


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
) -> AccessRequest:
    """Ask that the actor may call a tier in a project; no names means every model of the tier.

    Without `extends_key` an approval issues a new key. The policy in force is pinned to the request.
    Raises NotInTeamError, InvalidInputError, NobodyCanApproveError, and AlreadyAskedError naming the request
    that waits for the same already.
    """
    home = Project.objects.select_related("team__department").select_for_update(no_key=True, of=("self",))
    place = home.order_by("pk").get(pk=project.pk)
    _require_worker(actor, place)
    ask = check_ask(
        tier=tier,
        model_names=model_names,
        reason=reason,
        duration_days=duration_days,
        expected_monthly_usd=expected_monthly_usd,
    )
    check_key(extends_key, owner=actor, project=place)
    _require_no_other(actor, place, tier)
    request = _create(actor, place, ask, extends_key)
    pin_stages(request, ask.policy)
    record(actor, "request.submitted", request, after=facts(request), reason=ask.reason)
    tell_approvers(request, who_can(request))
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
        "extends_key": request.extends_key,
        "policy": request.policy,
        "reason": request.reason,
    }


def _require_worker(actor: User, project: Project) -> None:
    if project.archived_at or project.team.archived_at:
        raise InvalidInputError(f"{project} is closed. Choose an open project.", field="project")
    if works_in(actor, project.team):
        return
    lead = names_of(approvers_for(Role.LEAD, project))
    raise NotInTeamError(
        f"You do not work in team {project.team}, so you cannot ask for {project}. Ask {lead} to add you."
    )


def _require_no_other(actor: User, project: Project, tier: Tier) -> None:
    """Refuse a second pending request. The project's lock lets one request of it be made at a time."""
    waiting = AccessRequest.objects.filter(
        beneficiary=actor, project=project, tier=tier, kind=RequestKind.ACCESS, status=RequestStatus.PENDING
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


def _create(actor: User, project: Project, ask: Ask, extends_key: ApiKey | None) -> AccessRequest:
    now = clock.now()
    return AccessRequest.objects.create(
        requester=actor,
        beneficiary=actor,
        project=project,
        tier=ask.policy.tier,
        model_ids=ask.model_ids,
        reason=ask.reason,
        duration_days=ask.duration_days,
        expected_monthly_usd=ask.expected_monthly_usd,
        extends_key=extends_key,
        policy=ask.policy,
        created_at=now,
        decide_by=policy.deadline(now, ask.policy.decide_within_hours),
    )
