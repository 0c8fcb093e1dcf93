"""Breaks the glass: short, capped access at once, everybody told, and a review that may take it back."""

from collections.abc import Collection

from django.db import transaction

from approvals.models import AccessRequest, RequestKind
from approvals.services.asking import check_ask, check_key, keep_policy, policy_for
from approvals.services.mails import tell_of_broken_glass
from approvals.services.submitting import locked_place, open_request, require_no_other, require_worker
from catalog.models import Tier
from core.errors import InvalidInputError
from keys import services as keys
from keys.models import ApiKey, Grant
from teams.models import Project, User


@transaction.atomic
def break_glass(
    *,
    actor: User,
    project: Project,
    tier: Tier,
    reason: str,
    model_names: Collection[str] = (),
    extends_key: ApiKey | None = None,
    ticket: str = "",
) -> tuple[AccessRequest, Grant]:
    """Give the actor access at once, for the hours and up to the cap of the tier's policy.

    The review that is opened with it is decided like a request and not withdrawn; denied, expired or closed
    it ends the grant. Raises what submit() raises, and InvalidInputError where the policy does not allow it.
    While a review of the same person, project and tier waits, AlreadyAskedError.
    """
    place = locked_place(project)
    require_worker(actor, place)
    keep_policy(tier)
    terms = policy_for(tier)
    if not terms.break_glass_hours or terms.break_glass_cap_usd is None:
        raise InvalidInputError(f"Nobody breaks the glass for {tier}: ask for access.", field="tier")
    ask = check_ask(
        tier=tier,
        model_names=model_names,
        reason=reason,
        duration_days=1,
        expected_monthly_usd=terms.break_glass_cap_usd,
        ticket=ticket,
    )
    check_key(extends_key, owner=actor, project=place)
    require_no_other(actor, place, tier, RequestKind.BREAK_GLASS)
    request = open_request(actor, place, ask, kind=RequestKind.BREAK_GLASS, extends_key=extends_key)
    key = extends_key or keys.issue_approved_key(
        actor=actor, owner=actor, project=place, name=f"Emergency {tier} for {place.code}"[:80], days=1
    )
    grant = keys.grant_for_hours(
        actor=actor,
        key=key,
        tier=tier,
        model_ids=request.model_ids,
        monthly_cap_usd=terms.break_glass_cap_usd,
        hours=terms.break_glass_hours,
        source_request=request.public_id,
    )
    tell_of_broken_glass(request, grant)
    return request, grant
