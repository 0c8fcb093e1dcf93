"""Raises what a key may call for a time, and takes it back. A trigger asks for the approved request."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from django.db import transaction
from django.urls import reverse

from budgets.models import Budget, Mode, ScopeKind, Window
from budgets.services import limits
from catalog.models import Tier
from core import clock, outbox
from core.errors import AlreadyDoneError
from keys.models import ApiKey, Grant
from keys.services.common import clean_reason, locked, record, require_authority, require_usable
from teams.models import User


@transaction.atomic
def grant(
    *,
    actor: User,
    key: ApiKey,
    tier: Tier,
    model_ids: Sequence[int],
    monthly_cap_usd: Decimal | None,
    days: int,
    source_request: str,
    supersedes: Grant | None = None,
) -> Grant:
    """Let a key call a tier for `days` from now on, with a cap of US dollars a month; `actor` approved it.

    No grant outlives its key: it ends with the key when that comes first. An empty `model_ids` means every
    model of the tier. Raises KeyEndedError when the key is revoked or expired.
    """
    mine = locked(key)
    require_usable(mine)
    now = clock.now()
    given = Grant.objects.create(
        key=mine,
        tier=tier,
        model_ids=sorted(model_ids),
        monthly_cap_usd=monthly_cap_usd,
        starts_at=now,
        expires_at=min(now + timedelta(days=days), mine.expires_at),
        source_request=source_request,
        granted_by=actor,
        supersedes=supersedes,
        created_at=now,
    )
    after = {
        "key": mine,
        "tier": tier.number,
        "model_ids": given.model_ids,
        "monthly_cap_usd": monthly_cap_usd,
        "expires_at": given.expires_at,
        "source_request": source_request,
    }
    record(actor, "grant.given", given, mine, after=after)
    _apply_cap(actor=actor, key=mine, tier=tier, reason=f"Approved request {source_request}")
    return given


@transaction.atomic
def revoke_grant(*, actor: User, grant: Grant, reason: str) -> Grant:
    """End a grant now and leave the key and its other grants as they are; those who may revoke the key may.

    Raises RoleNeededError for others, and AlreadyDoneError the second time, saying who did it and when.
    """
    text = clean_reason(reason)
    mine = locked(grant.key)
    require_authority(actor, mine)
    grants = Grant.objects.select_related("tier", "revoked_by").select_for_update(no_key=True, of=("self",))
    given = grants.order_by("pk").get(pk=grant.pk)
    if given.revoked_at:
        raise AlreadyDoneError(
            f"{given.revoked_by or 'Purser'} ended {given} on {given.revoked_at:%d %B %Y at %H:%M} UTC:"
            f" {given.revoked_reason}",
            by=str(given.revoked_by or "Purser"),
            at=given.revoked_at.isoformat(),
            what="revoked",
        )
    before = {"state": given.state}
    given.revoked_at, given.revoked_by, given.revoked_reason = clock.now(), actor, text
    given.save(update_fields=["revoked_at", "revoked_by", "revoked_reason"])
    record(actor, "grant.revoked", given, mine, before=before, after={"state": given.state}, reason=text)
    # A consequence, not a wish of the actor: an owner may give up access without the right to set limits.
    _apply_cap(actor=None, key=mine, tier=given.tier, reason=f"Ended grant {given.public_id}")
    if actor.pk != mine.owner_id:
        _tell_owner(mine, given, actor)
    return given


def _apply_cap(*, actor: User | None, key: ApiKey, tier: Tier, reason: str) -> None:
    """Set the key's monthly limit for the tier to the largest cap of its active grants; access is their OR.

    With no active grant left the limit stays: the key may not call the tier at all.
    """
    now = clock.now()
    active = Grant.objects.filter(
        key=key, tier=tier, revoked_at__isnull=True, starts_at__lte=now, expires_at__gt=now
    )
    caps = [cap for (cap,) in active.values_list("monthly_cap_usd")]
    if not caps:
        return
    amount_usd = None if None in caps else max(cap for cap in caps if cap is not None)
    budget = Budget.objects.filter(
        scope_kind=ScopeKind.KEY,
        scope_id=key.pk,
        window=Window.MONTH,
        mode=Mode.HARD,
        only_tier=tier,
        closed_at__isnull=True,
    ).first()
    if budget is not None:
        limits.change_limit(actor=actor, budget=budget, amount_usd=amount_usd, reason=reason, confirm=True)
    elif amount_usd is not None:
        limits.open_budget(
            actor=actor,
            scope_kind=ScopeKind.KEY,
            scope_id=key.pk,
            department=key.project.team.department,
            window=Window.MONTH,
            mode=Mode.HARD,
            amount_usd=amount_usd,
            reason=reason,
            only_tier=tier,
        )


def _tell_owner(key: ApiKey, given: Grant, actor: User) -> None:
    outbox.put_mail(
        topic="grant.revoked",
        recipient=key.owner.email,
        dedupe_key=f"grant.revoked:{given.public_id}",
        subject=f"Your access to {given.tier} has ended",
        body=f"{actor} ended the {given.tier} access of your key {key.name}: {given.revoked_reason}",
        link=reverse("keys:list"),
    )
