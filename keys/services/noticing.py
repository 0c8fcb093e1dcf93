"""Tells owners that a key or what it was granted is about to end, 14, 3 and 1 days before, once each."""

from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef
from django.urls import reverse

from core import clock, outbox
from core.words import counted
from keys.models import ApiKey, Grant

NOTICE_DAYS = (1, 3, 14)


@transaction.atomic
def tell_of_expiring_keys() -> int:
    """Queue the mails that are due and return how many keys end within 14 days.

    A key is told of by the nearest notice alone, so a job that was dead for days sends one mail, not two; one
    that never was to live longer than a notice's days gets none of it.
    """
    now = clock.now()
    soon = ApiKey.objects.filter(
        revoked_at__isnull=True,
        revealed_at__isnull=False,
        owner__is_active=True,
        project__archived_at__isnull=True,
        expires_at__gt=now,
        expires_at__lte=now + timedelta(days=max(NOTICE_DAYS)),
    )
    keys = soon.select_related("owner", "project").order_by("pk")
    for key in keys:
        days = next(days for days in NOTICE_DAYS if key.expires_at <= now + timedelta(days=days))
        if key.expires_at - key.created_at > timedelta(days=days):
            _tell(key, days)
    return len(keys)


@transaction.atomic
def tell_of_expiring_grants() -> int:
    """Queue the mails that are due and return how many grants end within 14 days, told like keys.

    Left out are those that go on in another grant, and those that end with their key, which is told of.
    """
    now = clock.now()
    soon = Grant.objects.filter(
        revoked_at__isnull=True,
        starts_at__lte=now,
        expires_at__gt=now,
        expires_at__lte=now + timedelta(days=max(NOTICE_DAYS)),
        key__expires_at__gt=F("expires_at"),
        key__revoked_at__isnull=True,
        key__owner__is_active=True,
        key__project__archived_at__isnull=True,
    ).exclude(Exists(Grant.objects.filter(supersedes=OuterRef("pk"), revoked_at__isnull=True)))
    grants = soon.select_related("tier", "key__owner", "key__project").order_by("pk")
    for grant in grants:
        days = next(days for days in NOTICE_DAYS if grant.expires_at <= now + timedelta(days=days))
        if grant.expires_at - grant.starts_at > timedelta(days=days):
            _tell_of_grant(grant, days)
    return len(grants)


def _tell_of_grant(grant: Grant, days: int) -> None:
    outbox.put_mail(
        topic="grant.expires",
        recipient=grant.key.owner.email,
        dedupe_key=f"grant.expires:{grant.public_id}:{days}",
        subject=f"{grant.tier} for {grant.key.name} ends in {counted(days, 'day')}",
        body=f"What your key {grant.key.name} of project {grant.key.project} may call in {grant.tier} ends on"
        f" {grant.expires_at:%-d %B %Y at %H:%M} UTC. The key stays, with Tier 1. Ask for more time before,"
        " and it goes on without a gap.",
        link=reverse("approvals:extend", args=[grant.public_id]),
    )


def _tell(key: ApiKey, days: int) -> None:
    outbox.put_mail(
        topic="key.expires",
        recipient=key.owner.email,
        dedupe_key=f"key.expires:{key.public_id}:{days}",
        subject=f"Your key {key.name} expires in {counted(days, 'day')}",
        body=f"Your key {key.name} ({key.masked}) of project {key.project} ends on"
        f" {key.expires_at:%-d %B %Y at %H:%M} UTC, with everything that was granted to it. Make or ask for"
        " another key before, and put it where this one is used.",
        link=reverse("keys:detail", args=[key.public_id]),
    )
