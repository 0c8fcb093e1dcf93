"""The acts on keys, their secrets, grants, API tokens and service accounts."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import keys.services
from core import clock
from keys.models import ApiKey, ApiToken, Grant, PlannedActivity, ServiceAccount
from keys.services import issue_approved_key, issue_key
from tests import factories
from tests.cast import Cast
from tests.walk import WHY, Walk


def own_key(cast: Cast) -> ApiKey:
    return issue_key(actor=cast.ada, project=cast.ranking, name="laptop")


def grant(cast: Cast) -> Grant:
    key = own_key(cast)
    request = factories.AccessRequestFactory.create(requester=cast.ada, project=cast.ranking)
    factories.approve(request, cast.ben, key=key)
    return keys.services.grant(
        actor=cast.ben,
        key=key,
        tier=cast.tier2,
        model_ids=[],
        monthly_cap_usd=Decimal(1),
        days=1,
        source_request=request.public_id,
    )


def grant_for_hours(cast: Cast) -> None:
    factories.new_policy(cast.tier2, [("lead", 1)], break_glass_hours=4, break_glass_cap_usd=Decimal(50))
    key = own_key(cast)
    review = factories.AccessRequestFactory.create(
        requester=cast.ada, project=cast.ranking, kind="break_glass", extends_key=key
    )
    keys.services.grant_for_hours(
        actor=cast.ada,
        key=key,
        tier=cast.tier2,
        model_ids=[],
        monthly_cap_usd=Decimal(50),
        hours=4,
        source_request=review.public_id,
    )


def live_key(cast: Cast) -> ApiKey:
    return keys.services.reveal(actor=cast.ada, key=own_key(cast)).key


def rotated(cast: Cast) -> tuple[ApiKey, str]:
    """Return Ada's key with two secrets, and the older one."""
    first = keys.services.reveal(actor=cast.ada, key=own_key(cast))
    asked = keys.services.rotate(actor=cast.ada, key=first.key)
    return keys.services.reveal(actor=cast.ada, key=asked).key, first.token


def plan(cast: Cast) -> PlannedActivity:
    return keys.services.plan_activity(
        actor=cast.ben,
        key=live_key(cast),
        starts_at=clock.now(),
        ends_at=clock.now() + timedelta(hours=2),
        most_usd_an_hour=Decimal(80),
        reason=WHY,
    )


def own_token(cast: Cast) -> ApiToken:
    return keys.services.make_token(actor=cast.ada, name="pipeline", scopes=["keys:read"])


def leak_key(cast: Cast) -> None:
    secret = keys.services.reveal(actor=cast.ada, key=own_key(cast)).token
    assert keys.services.report_leak(secret=secret, place="a log")


def leak_previous_secret(cast: Cast) -> None:
    _, older = rotated(cast)
    assert keys.services.report_leak(secret=older, place="a log")


def leak_token(cast: Cast) -> None:
    secret = keys.services.reveal_token(actor=cast.ada, token=own_token(cast)).secret
    assert keys.services.report_leak(secret=secret, place="a log")


def leave_with_everything(cast: Cast) -> None:
    factories.approved_grant(own_key(cast))
    own_token(cast)
    keys.services.revoke_keys_of(actor=cast.ann, person=cast.ada, reason=WHY)


def hand_over(cast: Cast) -> ServiceAccount:
    account = keys.services.open_service_account(actor=cast.ann, name="Nightly report", responsible=cast.ada)
    keys.services.make_token(actor=cast.ada, owner=account.user, name="ci", scopes=["keys:read"])
    return keys.services.hand_over_service(actor=cast.ada, account=account, responsible=cast.ben)


WALK: Walk = {
    "keys.issue_key": (own_key, ["key.issued"]),
    "keys.issue_approved_key": (
        lambda cast: issue_approved_key(
            actor=cast.ben, owner=cast.ada, project=cast.ranking, name="Tier 2", days=1
        ),
        ["key.issued"],
    ),
    "keys.reveal": (
        lambda cast: keys.services.reveal(actor=cast.ada, key=own_key(cast)),
        ["key.revealed"],
    ),
    "keys.revoke": (
        lambda cast: keys.services.revoke(actor=cast.ben, key=own_key(cast), reason="Leaked."),
        ["key.revoked"],
    ),
    "keys.grant": (grant, ["grant.given", "budget.opened"]),
    "keys.grant_for_hours": (grant_for_hours, ["grant.given", "budget.opened"]),
    "keys.revoke_grant": (
        lambda cast: keys.services.revoke_grant(
            actor=cast.ben, grant=factories.approved_grant(own_key(cast)), reason="Not used."
        ),
        ["grant.revoked"],
    ),
    "keys.revoke_keys_of": (
        lambda cast: keys.services.revoke_keys_of(actor=cast.ann, person=own_key(cast).owner, reason=WHY),
        ["key.revoked"],
    ),
    "keys.revoke_keys_in_team": (
        lambda cast: keys.services.revoke_keys_in_team(
            actor=cast.ben, person=own_key(cast).owner, team=cast.search, reason=WHY
        ),
        ["key.revoked"],
    ),
    "keys.revoke_keys_of: grant and token": (
        leave_with_everything,
        ["grant.revoked", "key.revoked", "token.revoked"],
    ),
    "keys.shrink_grant": (
        lambda cast: keys.services.shrink_grant(
            actor=cast.ben,
            grant=grant(cast),
            monthly_cap_usd=Decimal("0.5"),
            model_ids=[cast.large.pk],
            reason="Too wide.",
        ),
        ["grant.shrunk", "budget.limit_changed"],
    ),
    "keys.rename_key": (
        lambda cast: keys.services.rename_key(actor=cast.ada, key=own_key(cast), name="desktop"),
        ["key.renamed"],
    ),
    "keys.rotate": (
        lambda cast: keys.services.rotate(actor=cast.ben, key=live_key(cast)),
        ["key.rotation_asked"],
    ),
    "keys.reveal: after a rotation": (rotated, ["key.rotated"]),
    "keys.end_previous_secret": (
        lambda cast: keys.services.end_previous_secret(actor=cast.ada, key=rotated(cast)[0]),
        ["key.previous_secret_ended"],
    ),
    "keys.suspend": (
        lambda cast: keys.services.suspend(actor=cast.ben, key=live_key(cast), reason=WHY),
        ["key.suspended"],
    ),
    "keys.resume": (
        lambda cast: keys.services.resume(
            actor=cast.ben,
            key=keys.services.suspend(actor=cast.ada, key=live_key(cast), reason=WHY).key,
            reason=WHY,
        ),
        ["key.resumed"],
    ),
    "keys.plan_activity": (plan, ["key.activity_planned"]),
    "keys.cancel_activity": (
        lambda cast: keys.services.cancel_activity(
            actor=cast.ben, key=(made := plan(cast)).key, plan_id=made.public_id
        ),
        ["key.activity_cancelled"],
    ),
    "keys.report_leak": (leak_key, ["key.revoked"]),
    "keys.report_leak: the secret before": (leak_previous_secret, ["key.previous_secret_ended"]),
    "keys.report_leak: token": (leak_token, ["token.revoked"]),
    "keys.open_service_account": (
        lambda cast: keys.services.open_service_account(
            actor=cast.ann, name="Nightly report", responsible=cast.ada
        ),
        ["service_account.opened"],
    ),
    "keys.hand_over_service": (hand_over, ["token.revoked", "service_account.handed_over"]),
    "keys.make_token": (own_token, ["token.made"]),
    "keys.reveal_token": (
        lambda cast: keys.services.reveal_token(actor=cast.ada, token=own_token(cast)),
        ["token.revealed"],
    ),
    "keys.revoke_token": (
        lambda cast: keys.services.revoke_token(actor=cast.ada, token=own_token(cast), reason=WHY),
        ["token.revoked"],
    ),
}
