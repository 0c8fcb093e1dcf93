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
    on_behalf_of: User | None = None,
) -> Grant:
    """Let a key call a tier for `days` from now on, with a cap of US dollars a month; `actor` approved it.

    The cap is set with the right of `on_behalf_of`, for whom the actor decided, or with his own. One that
    supersedes another begins where that ends. No grant outlives its key: it ends with the key when
    that comes first. An empty `model_ids` means every model of the tier. Raises KeyEndedError when the key is
    revoked or expired.
    """
    return _grant(
        actor=actor,
        key=key,
        tier=tier,
        model_ids=model_ids,
        monthly_cap_usd=monthly_cap_usd,
        lasts=timedelta(days=days),
        source_request=source_request,
        cap_by=on_behalf_of or actor,
        supersedes=supersedes,
    )


@transaction.atomic
def grant_for_hours(
    *,
    actor: User,
    key: ApiKey,
    tier: Tier,
    model_ids: Sequence[int],
    monthly_cap_usd: Decimal,
    hours: int,
    source_request: str,
) -> Grant:
    """Let a key call a tier for some hours, because the glass was broken; the policy sets the cap.

    Raises as grant() does.
    """
    return _grant(
        actor=actor,
        key=key,
        tier=tier,
        model_ids=model_ids,
        monthly_cap_usd=monthly_cap_usd,
        lasts=timedelta(hours=hours),
        source_request=source_request,
        cap_by=None,
    )


def _grant(
    *,
    actor: User,
    key: ApiKey,
    tier: Tier,
    model_ids: Sequence[int],
    monthly_cap_usd: Decimal | None,
    lasts: timedelta,
    source_request: str,
    cap_by: User | None,
    supersedes: Grant | None = None,
) -> Grant:
    mine = locked(key)
    require_usable(mine)
    now = clock.now()
    starts_at = supersedes.expires_at if supersedes else now
    given = Grant.objects.create(
        key=mine,
        tier=tier,
        model_ids=sorted(model_ids),
        monthly_cap_usd=monthly_cap_usd,
        starts_at=starts_at,
        expires_at=min(starts_at + lasts, mine.expires_at),
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
    reason = f"Approved request {source_request}"
    if starts_at > now:
        _plan_cap(actor=cap_by, given=given, reason=reason)
    else:
        _apply_cap(actor=cap_by, key=mine, tier=tier, reason=reason)
    return given


@transaction.atomic
def revoke_grant(*, actor: User | None, grant: Grant, reason: str) -> Grant:
    """End a grant now and leave the key and its other grants as they are; those who may revoke the key may.

    `actor` None is Purser itself, as a consequence of what somebody else did.

    Raises RoleNeededError for others, and AlreadyDoneError the second time, saying who did it and when.
    """
    text = clean_reason(reason)
    mine = locked(grant.key)
    if actor is not None:
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
    if actor is None or actor.pk != mine.owner_id:
        _tell_owner(mine, given, str(actor or "Purser"))
    return given


def _plan_cap(*, actor: User | None, given: Grant, reason: str) -> None:
    """Let the key's monthly limit for the tier become the cap of a grant to come when that begins.

    Larger caps of grants that are still active then stay in force.
    """
    active = Grant.objects.filter(
        key=given.key, tier=given.tier, revoked_at__isnull=True, starts_at__lte=given.starts_at
    )
    caps = [cap for (cap,) in active.filter(expires_at__gt=given.starts_at).values_list("monthly_cap_usd")]
    budget = _cap_budget(given.key, given.tier)
    if budget is None:
        return
    amount_usd = None if None in caps else max(cap for cap in caps if cap is not None)
    limits.change_limit(
        actor=actor,
        budget=budget,
        amount_usd=amount_usd,
        reason=reason,
        valid_from=given.starts_at,
        confirm=True,
    )


def _cap_budget(key: ApiKey, tier: Tier) -> Budget | None:
    """Return the open budget that holds the key to its cap a month for a tier."""
    return Budget.objects.filter(
        scope_kind=ScopeKind.KEY,
        scope_id=key.pk,
        window=Window.MONTH,
        mode=Mode.HARD,
        only_tier=tier,
        closed_at__isnull=True,
    ).first()


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
    budget = _cap_budget(key, tier)
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


def _tell_owner(key: ApiKey, given: Grant, actor: str) -> None:
    outbox.put_mail(
        topic="grant.revoked",
        recipient=key.owner.email,
        dedupe_key=f"grant.revoked:{given.public_id}",
        subject=f"Your access to {given.tier} has ended",
        body=f"{actor} ended the {given.tier} access of your key {key.name}: {given.revoked_reason}",
        link=reverse("keys:list"),
    )
