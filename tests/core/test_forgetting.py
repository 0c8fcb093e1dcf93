"""Messages are kept for a while after they ended, and what failed until somebody looked at it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from pytest_django import Settings

from core import clock, outbox
from core.models import DeliveryAttempt, Outbox, OutboxKind
from portal.home.status import _outbox_lines
from portal.services.deliveries import put_aside, send_again
from teams.errors import RoleNeededError
from tests.browsing import Visitor
from tests.cast import Cast

pytestmark = pytest.mark.django_db
LONG_AGO = timedelta(days=91)


def message(*, ago: timedelta = LONG_AGO, **state: Any) -> Outbox:
    """Write a message with one attempt, that long ago."""
    at = clock.now() - ago
    number = Outbox.objects.count()
    row = Outbox.objects.create(
        kind=OutboxKind.MAIL,
        topic="request.approved",
        dedupe_key=f"key {number}",
        recipient="ada@example.com",
        payload={"subject": f"Message {number}"},
        created_at=at,
        next_attempt_at=at,
        **{name: at if value is True else value for name, value in state.items()},
    )
    DeliveryAttempt.objects.create(message=row, at=at, channel=OutboxKind.MAIL, delivered=True)
    return row


def left() -> set[int]:
    return set(Outbox.objects.values_list("pk", flat=True))


def test_what_ended_long_ago_goes_with_its_attempts() -> None:
    message(delivered_at=True)
    message(dropped_at=True)
    message(dead_at=True, put_aside_at=True)
    assert outbox.forget() == 3
    assert (left(), DeliveryAttempt.objects.count()) == (set(), 0)
    assert outbox.forget() == 0


def test_what_is_young_waits_or_failed_stays() -> None:
    kept = {
        message(ago=timedelta(days=89), delivered_at=True).pk,
        message().pk,
        message(dead_at=True).pk,
        message(digest_at=clock.now()).pk,
        message(delivered_at=clock.now()).pk,  # made long ago, sent now
    }
    assert outbox.forget() == 0
    assert left() == kept


def test_daily_mail_goes_after_what_it_held() -> None:
    sent, waiting = message(delivered_at=True), message()
    held = message(digest=sent)
    kept = {waiting.pk, message(digest=waiting).pk}
    assert held.pk not in kept
    assert outbox.forget() == 2
    assert left() == kept


def test_zero_keeps_everything(settings: Settings) -> None:
    settings.OUTBOX_KEEP_DAYS = 0
    message(delivered_at=True)
    assert outbox.forget() == 0


def test_database_keeps_a_month_whatever_the_setting(settings: Settings) -> None:
    settings.OUTBOX_KEEP_DAYS = 1
    young = message(ago=timedelta(days=29), delivered_at=True)
    message(ago=timedelta(days=31), delivered_at=True)
    assert outbox.forget() == 1
    assert left() == {young.pk}


def test_raw_sql_deletes_nothing_that_is_kept() -> None:
    for row in (message(dead_at=True), message(), message(ago=timedelta(days=1), delivered_at=True)):
        for delete in (
            "DELETE FROM core_deliveryattempt WHERE message_id = %s",
            "DELETE FROM core_outbox WHERE id = %s",
        ):
            with pytest.raises(DatabaseError, match="is kept"), transaction.atomic():
                connection.cursor().execute(delete, [row.pk])
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        DeliveryAttempt.objects.update(delivered=False)


def test_administrator_puts_aside_what_was_given_up(cast: Cast) -> None:
    row = message(dead_at=True)
    address = f"/deliveries/{row.public_id}/"
    assert len(_outbox_lines()) == 2
    assert Visitor(cast.fay).post(f"{address}aside/").status == 403
    with pytest.raises(RoleNeededError):
        put_aside(actor=cast.fay, message=row)

    visitor = Visitor(cast.ann)
    assert visitor.post(f"{address}aside/").status == 302
    assert visitor.post(f"{address}aside/").status == 302

    page = visitor.get(address)
    assert "Given up, put aside" in page.words
    assert "Send again" in page.words
    assert visitor.get("/deliveries/", state="given_up").rows("deliveries-h") == []
    assert len(_outbox_lines()) == 1


def test_what_is_sent_again_is_put_aside_no_more(cast: Cast) -> None:
    row = message(dead_at=True, put_aside_at=True)
    assert send_again(actor=cast.ann, message=row).put_aside_at is None
    assert outbox.forget() == 0
