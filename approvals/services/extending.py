"""Asks that a grant goes on where it ends. An approved extension leaves no gap: it is decided before."""

from datetime import timedelta
from decimal import Decimal

from django.db import transaction

from approvals.models import AccessRequest, Policy, RequestKind
from approvals.services.asking import MAX_REASON_CHARACTERS, check_ask, keep_policy, policy_for
from approvals.services.auto import approve_by_rule
from approvals.services.submitting import locked_place, open_request, require_no_other, require_worker
from catalog.models import LlmModel
from core import clock
from core.errors import InvalidInputError, NotAllowedError
from keys.models import Grant, GrantState, KeyState
from teams.models import User

LEAST = timedelta(minutes=10)  # what is left of the grant, for somebody to decide in


@transaction.atomic
def extend(
    *,
    actor: User,
    grant: Grant,
    reason: str,
    duration_days: int | None = None,
    expected_monthly_usd: Decimal | None = None,
    ticket: str = "",
) -> AccessRequest:
    """Ask that the actor's own active grant goes on for `duration_days` from its end, with the same models.

    Without a duration for `usual_days()`, without an amount the cap stays. A rule may approve it at once
    where the policy lets it. Raises what submit() raises, and InvalidInputError for a grant that is over or
    that its key does not outlive.
    """
    rows = Grant.objects.select_related("key__project__team__department", "key__owner", "tier")
    given = rows.get(pk=grant.pk)
    if given.key.owner_id != actor.pk:
        raise NotAllowedError(f"Only {given.key.owner}, whose key it is, may ask to extend {given}.")
    place = locked_place(given.key.project)
    require_worker(actor, place)
    _require_extendable(given)
    cap_usd = given.monthly_cap_usd if expected_monthly_usd is None else expected_monthly_usd
    if cap_usd is None:
        raise InvalidInputError(
            "Enter the US dollars that you expect to spend in a month.", field="expected_monthly_usd"
        )
    names = list(LlmModel.objects.filter(pk__in=given.model_ids).values_list("name", flat=True))
    keep_policy(given.tier)
    ask = check_ask(
        tier=given.tier,
        model_names=names,
        reason=reason[: MAX_REASON_CHARACTERS + 1],
        duration_days=usual_days(given, policy_for(given.tier)) if duration_days is None else duration_days,
        expected_monthly_usd=cap_usd,
        ticket=ticket,
    )
    require_no_other(actor, place, given.tier, RequestKind.EXTENSION)
    request = open_request(
        actor, place, ask, kind=RequestKind.EXTENSION, extends_key=given.key, extends_grant=given
    )
    return approve_by_rule(request)


def usual_days(grant: Grant, terms: Policy) -> int:
    """Return for how many days an extension is asked for unless said otherwise: as its policy says.

    Where a rule extends by itself, no more than the access has: more would wait for a human.
    """
    whole_days = (grant.expires_at - grant.starts_at).days
    return min(terms.default_days, whole_days) if terms.auto_extend and whole_days else terms.default_days


def _require_extendable(grant: Grant) -> None:
    """Refuse a grant that has nothing left to go on from. Raises InvalidInputError."""
    if grant.state is not GrantState.ACTIVE or grant.key.state not in (
        KeyState.LIVE,
        KeyState.AWAITING_REVEAL,
    ):
        raise InvalidInputError("This access has ended, or its key has. Ask for access again.", field="grant")
    if grant.expires_at - clock.now() < LEAST:
        raise InvalidInputError(
            "This access ends in a moment, too soon for somebody to decide. Ask for access again.",
            field="grant",
        )
    if grant.key.expires_at <= grant.expires_at:
        raise InvalidInputError(
            f"The key {grant.key.name} itself ends on {grant.key.expires_at:%d %B %Y}."
            " Ask for access with a new key.",
            field="grant",
        )
    if grant.superseded_by.filter(revoked_at__isnull=True).exists():
        raise InvalidInputError("This access was extended already. Extend what follows it.", field="grant")
