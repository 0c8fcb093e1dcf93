"""An act and its record, a change and its news: committed together or not at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core import mail
from django.db import transaction

from core import audit, clock, outbox
from core.models import AuditEvent, Outbox
from portal.news.senders import SENDERS
from teams.models import Team, User
from tests import factories

pytestmark = pytest.mark.django_db


def put(key: str = "one") -> None:
    outbox.put_mail(
        topic="test", recipient="ada@example.com", dedupe_key=key, subject="Hello", body="Text", link="/keys/"
    )


def test_an_audit_row_says_who_did_what_to_what() -> None:
    ada: User = factories.UserFactory.create(name="Ada")
    team: Team = factories.TeamFactory.create(name="Search")
    with audit.origin(request_id="abc", ip_address="127.0.0.1"):
        audit.record(
            actor=ada,
            action="team.renamed",
            subject=team,
            before={"limit": Decimal("1.50"), "at": clock.now()},
            after={"team": team, "list": [Decimal(1)]},
        )
    event = AuditEvent.objects.get()
    assert (event.actor_id, event.actor_label, event.action) == (
        ada.pk,
        "Ada <ada@example.com>",
        "team.renamed",
    )
    assert (event.object_type, event.object_id, event.object_label) == (
        "teams.team",
        team.public_id,
        "Search",
    )
    assert (event.request_id, event.ip_address) == ("abc", "127.0.0.1")
    assert event.before["limit"] == "1.50"
    assert event.after == {"team": team.public_id, "list": ["1"]}


def test_the_system_acts_under_its_own_name() -> None:
    audit.record(actor=None, action="x", subject=factories.TeamFactory())
    assert AuditEvent.objects.get().actor_label == "purser"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", [lambda: audit.record(actor=None, action="x", subject=None), put])
def test_outside_a_transaction_nothing_is_written(act: Callable[[], object]) -> None:
    with pytest.raises(RuntimeError, match="transaction"):
        act()


@pytest.mark.django_db(transaction=True)
def test_a_change_that_is_rolled_back_leaves_no_news() -> None:
    with pytest.raises(ZeroDivisionError):
        _put_and_fail()
    assert Outbox.objects.count() == 0


def _put_and_fail() -> None:
    with transaction.atomic():
        put()
        raise ZeroDivisionError


def test_the_same_news_is_queued_once() -> None:
    put()
    put()
    assert Outbox.objects.count() == 1


def test_a_mail_goes_out_once_with_its_link() -> None:
    put()
    assert outbox.drain(senders=SENDERS)["sent"] == 1
    assert outbox.drain(senders=SENDERS)["sent"] == 0
    assert mail.outbox[0].to == ["ada@example.com"]
    assert "/keys/\n" in mail.outbox[0].body


def test_a_dead_mail_server_postpones_and_one_bad_message_stops_no_other() -> None:
    put("one")
    put("two")
    calls: list[str] = []

    def broken(message: Outbox) -> None:
        calls.append(message.dedupe_key)
        if message.dedupe_key == "one":
            raise OSError("connection refused")

    counts = outbox.drain(senders={"mail": broken})
    assert (counts["sent"], counts["retried"], counts["dead"]) == (1, 1, 0)
    message = Outbox.objects.get(dedupe_key="one")
    assert (message.attempts, message.delivered_at) == (1, None)
    assert "connection refused" in message.last_error
    assert message.next_attempt_at > clock.now() + timedelta(seconds=20)
    assert calls == ["one", "two"]


def test_a_message_that_never_gets_through_is_dead_and_visible() -> None:
    put()

    def broken(message: Outbox) -> None:
        raise OSError("no")

    for _ in range(outbox.MAX_ATTEMPTS):
        Outbox.objects.update(next_attempt_at=clock.now())
        outbox.drain(senders={"mail": broken})
    message = Outbox.objects.get()
    assert message.dead_at is not None
    assert outbox.due().count() == 0
