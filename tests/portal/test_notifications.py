"""Notifications and deliveries: what people choose, what administrators see, links that decide nothing."""

from __future__ import annotations

import re
from datetime import time
from typing import Any

import pytest
from django.core import mail

from approvals.models import RequestStatus
from core import outbox
from core.errors import AlreadyDoneError
from core.models import AuditEvent, Outbox, Preference
from portal.news import deliveries
from portal.news.senders import SENDERS
from portal.services.deliveries import send_again
from teams.errors import RoleNeededError
from tests.approvals.conftest import ask_for
from tests.browsing import Visitor, writes
from tests.cast import Cast
from tests.core.test_wishes import counts, put

CHOSEN = {
    "waiting": "mail", "requests": "digest", "keys": "mail", "budgets": "off", "digest_time": "07:30",
    "quiet_starts": "22:00", "quiet_ends": "07:00", "time_zone": "Europe/Berlin",
}  # fmt: skip
NOTIFICATIONS, DELIVERIES = "/notifications/", "/deliveries/"


def give_up(message: Outbox) -> Outbox:
    """Let a message fail for good."""

    def refused(sent: Outbox) -> None:
        raise outbox.RefusedError("550 no such mailbox")

    outbox.drain(senders={"mail": refused})
    message.refresh_from_db()
    return message


def test_choice_is_kept_shown_and_recorded(cast: Cast) -> None:
    visitor = Visitor(cast.ada)
    assert visitor.get(NOTIFICATIONS).status == 200

    assert visitor.post(NOTIFICATIONS, **CHOSEN).status == 302

    kept = Preference.objects.get(person=cast.ada)
    assert (kept.time_zone, kept.quiet_starts, kept.digest_time) == ("Europe/Berlin", time(22), time(7, 30))
    put(cast.ada, "request.approved")
    assert counts() == {"held": 1}
    event = AuditEvent.objects.get(action="notifications.chosen")
    assert event.after["requests"] == "digest"
    assert event.before["requests"] == "mail"
    assert "keys" not in event.after
    html = visitor.client.get(NOTIFICATIONS).content.decode()
    assert 'value="Europe/Berlin"' in html
    assert 'value="22:00"' in html


def test_same_choice_again_writes_nothing(cast: Cast) -> None:
    visitor = Visitor(cast.ada)
    visitor.post(NOTIFICATIONS, **CHOSEN)
    visitor.post(NOTIFICATIONS, **CHOSEN)
    assert AuditEvent.objects.filter(action="notifications.chosen").count() == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"time_zone": "Mars/Olympus"}, "There is no such time zone"),
        ({"time_zone": "../../etc/passwd"}, "There is no such time zone"),
        ({"quiet_ends": ""}, "Enter both times, or none"),
        ({"quiet_starts": ""}, "Enter both times, or none"),
        ({"quiet_ends": "22:00"}, "Enter another time than the start"),
        ({"requests": "slack"}, "Select a valid choice"),
        ({"digest_time": "25:00"}, "Enter a valid time"),
    ],
)
def test_what_cannot_be_is_said_and_entries_are_kept(cast: Cast, wrong: dict[str, str], said: str) -> None:
    page = Visitor(cast.ada).post(NOTIFICATIONS, **{**CHOSEN, **wrong})

    assert page.status == 422
    assert said in page.words
    assert not Preference.objects.exists()


def test_mail_link_decides_nothing(cast: Cast) -> None:
    """A mail program, a scanner or a preview opens links by itself."""
    request = ask_for(cast)
    outbox.drain(senders=SENDERS)
    [sent] = [each for each in mail.outbox if each.to == [cast.ben.email]]
    links = re.findall(r"http://[^/\s]+(/\S*)", str(sent.body))
    assert f"/approvals/{request.public_id}/" in links
    visitor = Visitor(cast.ben)

    for link in links:
        assert writes(visitor.queries(link)) == []
        assert visitor.client.head(link).status_code in {200, 302}
        assert visitor.client.options(link).status_code in {200, 405}

    request.refresh_from_db()
    assert request.status == RequestStatus.PENDING
    assert not request.decisions.exists()


def test_administrator_sees_what_was_given_up_why_and_sends_it_again(cast: Cast) -> None:
    message = give_up(put(cast.ada))
    visitor = Visitor(cast.ann)
    [row] = visitor.get(DELIVERIES, state="given_up").rows("deliveries-h")
    assert row[:3] == ["About one Mail, request.approved", "ada@example.com", "Given up 550 no such mailbox"]
    assert "Text of one" not in visitor.get(f"{DELIVERIES}{message.public_id}/").words

    assert visitor.post(f"{DELIVERIES}{message.public_id}/again/").status == 302
    assert counts() == {"sent": 1}

    attempts = visitor.get(f"{DELIVERIES}{message.public_id}/").rows("attempts-h")
    assert [(row[2], row[3]) for row in attempts] == [("Failed", "550 no such mailbox"), ("Delivered", "—")]
    assert AuditEvent.objects.get(action="message.sent_again").actor_id == cast.ann.pk


@pytest.mark.parametrize(
    ("state", "title"),
    [("", "No message here"), ("given_up", "No message was given up"), ("waiting", "No message waits")],
)
def test_empty_list_says_what_is_not_there(cast: Cast, state: str, title: str) -> None:
    assert title in Visitor(cast.ann).get(DELIVERIES, state=state).words


def test_only_administrators_send_again_and_only_what_was_given_up(cast: Cast) -> None:
    message = put(cast.ada)
    with pytest.raises(AlreadyDoneError):
        send_again(actor=cast.ann, message=message)
    give_up(message)
    with pytest.raises(RoleNeededError):
        send_again(actor=cast.fay, message=message)
    assert Visitor(cast.fay).post(f"{DELIVERIES}{message.public_id}/again/").status == 403


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, "Waits"),
        ({"attempts": 2}, "Is tried again"),
        ({"dropped_at": "2026-01-01T00:00Z"}, "Not wanted"),
        ({"digest_at": "2030-01-01T00:00Z"}, "Waits for the daily mail"),
        ({"next_attempt_at": "2100-01-01T00:00Z"}, "Waits for quiet hours to end"),
    ],
)
def test_state_is_said_in_words(cast: Cast, change: dict[str, Any], state: str) -> None:
    message = put(cast.ada)
    Outbox.objects.filter(pk=message.pk).update(**change)
    [row] = Visitor(cast.ann).get(DELIVERIES).rows("deliveries-h")
    assert row[2] == state


def test_list_goes_on_and_asks_as_often_for_fifty_as_for_five(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        put(cast.ada, key=f"{number}")
    few = Visitor(cast.ann).queries(DELIVERIES)
    for number in range(5, 50):
        put(cast.ada, key=f"{number}")
    assert len(Visitor(cast.ann).queries(DELIVERIES)) == len(few) <= 8
    monkeypatch.setattr(deliveries, "PAGE_ROWS", 30)
    first = Visitor(cast.ann).get(DELIVERIES)
    [older] = [link for link in first.links if "before=" in link]
    rest = Visitor(cast.ann).get(older)
    assert [len(page.rows("deliveries-h")) for page in (first, rest)] == [30, 20]
