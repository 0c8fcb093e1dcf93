"""Owners are told that a key ends, 14, 3 and 1 days before, once each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
import time_machine

from core import clock
from core.models import Outbox
from keys.models import ApiKey
from keys.services import issue_key, reveal, revoke
from keys.services.noticing import tell_of_expiring_grants, tell_of_expiring_keys
from tests import factories
from tests.cast import Cast

DAY = timedelta(days=1)


@pytest.fixture
def key(cast: Cast) -> Iterator[ApiKey]:
    """Ada's key, which ends in 30 days."""
    with time_machine.travel(clock.now(), tick=False):
        made = issue_key(
            actor=cast.ada, project=cast.ranking, name="nightly", expires_at=clock.now() + 30 * DAY
        )
        yield reveal(actor=cast.ada, key=made).key


def told(key: ApiKey, *, before: timedelta) -> list[str]:
    """Let the job run so long before the end, and return the subjects of all mails so far."""
    with time_machine.travel(key.expires_at - before, tick=False):
        tell_of_expiring_keys()
    mails = Outbox.objects.filter(topic="key.expires").order_by("pk")
    return [mail.payload["subject"] for mail in mails]


def test_three_notices_come_once_each(key: ApiKey) -> None:
    subject = "Your key nightly expires in {}"
    assert told(key, before=14 * DAY + timedelta(minutes=1)) == []
    for _ in range(2):
        assert told(key, before=14 * DAY) == [subject.format("14 days")]
    told(key, before=5 * DAY)
    told(key, before=3 * DAY)
    told(key, before=2 * DAY)
    for _ in range(2):
        assert told(key, before=DAY) == [subject.format(text) for text in ("14 days", "3 days", "1 day")]
    assert len(told(key, before=-DAY)) == 3


def test_a_job_that_was_dead_sends_the_nearest_notice_alone(cast: Cast, key: ApiKey) -> None:
    assert told(key, before=timedelta(hours=20)) == ["Your key nightly expires in 1 day"]
    mail = Outbox.objects.get()
    assert (mail.recipient, mail.payload["link"]) == (cast.ada.email, f"/keys/{key.public_id}/")


def test_a_revoked_key_is_not_told_of(cast: Cast, key: ApiKey) -> None:
    revoke(actor=cast.ada, key=key, reason="Done.")
    assert told(key, before=DAY) == []


def test_a_key_made_for_ten_days_gets_no_notice_of_fourteen(cast: Cast, key: ApiKey) -> None:
    short = issue_key(actor=cast.ada, project=cast.ranking, name="short", expires_at=clock.now() + 10 * DAY)
    reveal(actor=cast.ada, key=short)
    assert told(short, before=9 * DAY) == []
    assert told(short, before=3 * DAY) == ["Your key short expires in 3 days"]


def told_of_grants(*, at: datetime) -> list[str]:
    with time_machine.travel(at, tick=False):
        tell_of_expiring_grants()
    return [mail.payload["subject"] for mail in Outbox.objects.filter(topic="grant.expires").order_by("pk")]


def test_what_a_key_was_granted_is_told_of_like_the_key(cast: Cast) -> None:
    key = factories.ApiKeyFactory.create(name="nightly", project=cast.ranking, owner=cast.ada)
    ends = factories.approved_grant(key, granted_by=cast.ben).expires_at
    subject = "Tier 2 for nightly ends in {}"
    assert told_of_grants(at=ends - 15 * DAY) == []
    for _ in range(2):
        assert told_of_grants(at=ends - 13 * DAY) == [subject.format("14 days")]
    assert told_of_grants(at=ends - DAY) == [subject.format(text) for text in ("14 days", "1 day")]
    assert len(told_of_grants(at=ends + DAY)) == 2


def test_a_grant_that_ends_with_its_key_is_not_told_of_twice(cast: Cast) -> None:
    key = factories.ApiKeyFactory.create(name="nightly", project=cast.ranking, owner=cast.ada)
    grant = factories.approved_grant(key, granted_by=cast.ben)
    ApiKey.objects.filter(pk=key.pk).update(expires_at=grant.expires_at)
    assert told_of_grants(at=grant.expires_at - DAY) == []
