"""Webhooks, deliveries and one's own notifications over the API."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import time
from typing import Any

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from core import clock, outbox, webhooks
from core.models import AuditEvent, Channel, NewsChoice, NewsKind, Outbox, Preference, SlackLink, Webhook
from portal.news.senders import SENDERS
from tests.api.test_errors import problem
from tests.api.world import Caller, World
from tests.cast import Cast
from tests.fakes.receiver import Receiver, receiver

HOOKS, DELIVERIES, NOTIFICATIONS = "webhooks/", "deliveries/", "me/notifications/"
KEY = {"Idempotency-Key": "a-7c1"}


@pytest.fixture(autouse=True)
def own_network(settings: Settings) -> None:
    """Let webhooks call this machine."""
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]


@pytest.fixture
def told() -> Iterator[Receiver]:
    with receiver() as kept:
        yield kept


def add(ann: Caller, url: str, headers: Any = None, **fields: Any) -> Any:
    return ann.post(HOOKS, {"url": url, "description": "Chat", **fields}, headers=headers)


def deliver() -> dict[str, int]:
    Outbox.objects.filter(delivered_at=None, dead_at=None).update(next_attempt_at=clock.now())
    return {name: number for name, number in outbox.drain(senders=SENDERS).items() if number}


def test_secret_is_in_the_answer_that_made_it_and_in_no_other(ann: Caller, told: Receiver) -> None:
    answer = add(ann, told.url, actions=["key.", "key.", "request.approved"])
    made = answer.json()
    webhook = Webhook.objects.get()
    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    assert made["secret"] == webhooks.secret_of(webhook, 1)
    assert made["actions"] == ["key.", "request.approved"]
    assert ann.get(answer["Location"]).json() == {name: made[name] for name in made if name != "secret"}
    event = AuditEvent.objects.get(action="webhook.added")
    assert event.after == {"url": told.url, "description": "Chat", "actions": made["actions"]}


def test_a_repeated_call_adds_one_webhook_and_shows_no_secret(ann: Caller, told: Receiver) -> None:
    first, again = (add(ann, told.url, headers=KEY) for _ in range(2))
    assert again.status_code == 201
    assert again.json() == {**first.json(), "secret": None}
    assert again["Location"] == first["Location"]
    path = f"{HOOKS}{first.json()['id']}/rotate/"
    rotated, repeated = (ann.post(path, {}, headers={"Idempotency-Key": "b"}).json() for _ in range(2))
    assert repeated == {**rotated, "secret": None}
    assert Webhook.objects.get().live_versions == [1, 2]
    with connection.cursor() as cursor:
        cursor.execute("SELECT c::text FROM core_idempotentcall c")
        kept = str(cursor.fetchall())
    assert first.json()["id"] in kept
    assert "whsec_" not in kept


def test_what_is_there_is_not_added_again_and_an_old_secret_not_replaced_again(
    ann: Caller, told: Receiver
) -> None:
    made = add(ann, told.url).json()
    assert problem(add(ann, told.url), 409, "already_added")["webhook"] == made["id"]
    path, seen = f"{HOOKS}{made['id']}/rotate/", {"newest_secret": made["newest_secret"]}
    assert ann.post(path, seen).json()["newest_secret"] == 2
    assert problem(ann.post(path, seen), 409, "secret_replaced")["newest_secret"] == 2
    assert Webhook.objects.get().live_versions == [1, 2]


@pytest.mark.parametrize(
    ("fields", "status", "name"),
    [
        ({"url": "https://10.0.0.1/"}, 422, "url"),
        ({"url": "https://[64:ff9b::a00:1]/"}, 422, "url"),
        ({"url": "http://["}, 422, "url"),
        ({"url": "ftp://8.8.8.8/"}, 422, "url"),
        ({"url": "https://me:pw@8.8.8.8/"}, 422, "url"),
        ({"url": "https://8.8.8.8/" + "x" * 500}, 400, "url"),
        ({"description": " "}, 422, "description"),
        ({"actions": ["Key revoked"]}, 422, "actions"),
        ({"actions": ["x" * 65]}, 400, "actions.0"),
        ({"actions": ["key."] * 51}, 400, "actions"),
        ({"secret": "whsec_mine"}, 400, "secret"),
    ],
)
def test_webhook_that_cannot_be_is_refused_by_the_field(
    ann: Caller, world: World, fields: dict[str, Any], status: int, name: str
) -> None:
    body = {"url": "https://8.8.8.8/", "description": "Chat", **fields}
    for path in (HOOKS, f"{HOOKS}{world.webhook.public_id}/change/"):
        answer = ann.post(path, body)
        assert answer.status_code == status, path
        assert list(answer.json()["errors"]) == [name]
    assert list(Webhook.objects.values_list("url", flat=True)) == [world.webhook.url]


def test_change_keeps_what_is_left_out_and_records_what_changed(ann: Caller, told: Receiver) -> None:
    path = f"{HOOKS}{add(ann, told.url).json()['id']}/change/"
    Webhook.objects.update(failures=3)
    changed = ann.post(path, {"description": "Chat", "actions": ["key."]}).json()
    assert (changed["url"], changed["actions"], changed["failures"]) == (told.url, ["key."], 3)
    assert ann.post(path, {"url": f"{told.url}other"}).json()["failures"] == 0
    ann.post(path, {"actions": ["key."]})
    newest, older = AuditEvent.objects.filter(action="webhook.changed")
    assert (older.before, older.after) == ({"actions": []}, {"actions": ["key."]})
    assert (newest.before, newest.after) == ({"url": told.url}, {"url": f"{told.url}other"})


def test_pause_test_and_end_of_a_secret(ann: Caller, told: Receiver) -> None:
    path = f"{HOOKS}{add(ann, told.url, actions=['nothing.']).json()['id']}/"
    queued = ann.post(f"{path}test/", {})
    assert (queued.status_code, queued.json()["state"]) == (202, "waiting")
    assert deliver() == {"sent": 1}
    assert ann.get(f"{DELIVERIES}{queued.json()['id']}/").json()["state"] == "delivered"
    assert ann.post(f"{path}disable/", {"reason": "It moved."}).json()["disabled_reason"] == "It moved."
    problem(ann.post(f"{path}disable/", {"reason": "Again."}), 409, "already_done")
    problem(ann.post(f"{path}test/", {}), 422, "invalid_input")
    assert ann.post(f"{path}enable/", {}).json()["disabled_at"] is None
    problem(ann.post(f"{path}end_previous/", {}), 409, "already_done")
    assert ann.post(f"{path}rotate/", {}).json()["live_secrets"] == 2
    assert ann.post(f"{path}end_previous/", {}).json()["live_secrets"] == 1
    assert Webhook.objects.get().live_versions == [2]


def test_removed_webhook_is_gone_and_told_nothing(ann: Caller, told: Receiver) -> None:
    made = add(ann, told.url).json()
    path = f"{HOOKS}{made['id']}/"
    deliver()
    removed = ann.post(f"{path}remove/", {"reason": "Nobody listens."}).json()
    assert removed["removed_at"] == removed["disabled_at"]
    problem(ann.get(path), 404, "not_found")
    problem(ann.post(f"{path}enable/", {}), 404, "not_found")
    assert ann.get(HOOKS).json()["results"] == []
    before = len(told.calls)
    deliver()
    assert len(told.calls) == before
    assert len(ann.get(DELIVERIES, webhook=made["id"]).json()["results"]) == 1
    assert AuditEvent.objects.get(action="webhook.removed").reason == "Nobody listens."


def test_delivery_says_what_became_of_it_without_its_text(ann: Caller, told: Receiver) -> None:
    made = add(ann, told.url, actions=["webhook.tested"]).json()
    told.status = 500
    ann.post(f"{HOOKS}{made['id']}/test/", {})
    deliver()
    row = ann.get(DELIVERIES, webhook=made["id"], state="waiting").json()["results"][0]
    assert (row["channel"], row["topic"], row["recipient"]) == ("webhook", "webhook.test", made["id"])
    assert (row["state"], row["attempts"], row["last_error"]) == ("retried", 1, "OSError: status 500")
    assert [(each["delivered"], each["detail"]) for each in row["log"]] == [(False, "OSError: status 500")]
    assert "payload" not in row


def test_what_was_given_up_is_sent_again_once(ann: Caller, world: World) -> None:
    [row] = ann.get(DELIVERIES, state="given_up").json()["results"]
    assert (row["id"], row["state"]) == (world.message.public_id, "given_up")
    path = f"{DELIVERIES}{row['id']}/again/"
    assert ann.post(path, {}, headers=KEY).json()["state"] == "waiting"
    assert ann.post(path, {}, headers=KEY).json()["state"] == "waiting"
    problem(ann.post(path, {}), 409, "already_done")
    assert AuditEvent.objects.filter(action="message.sent_again").count() == 1


def test_others_are_told_whom_to_ask(ben: Caller, world: World) -> None:
    assert "Ask Ann Keller" in problem(ben.get(HOOKS), 403, "role_needed")["detail"]
    assert "Ask Ann Keller" in problem(ben.get(DELIVERIES), 403, "role_needed")["detail"]


def test_own_notifications_are_read_and_changed_in_part(ada: Caller, cast: Cast) -> None:
    shown = ada.get(NOTIFICATIONS).json()
    assert shown == {
        "waiting": "mail", "requests": "mail", "keys": "mail", "budgets": "mail", "digest_time": "08:00",
        "quiet_starts": None, "quiet_ends": None, "time_zone": "", "slack_decides": False,
        "slack_linked": False,
    }  # fmt: skip
    wanted = {
        "requests": "digest", "quiet_starts": "22:00", "quiet_ends": "07:00", "time_zone": "Asia/Kolkata"
    }  # fmt: skip
    assert ada.post(NOTIFICATIONS, wanted).json() == {**shown, **wanted}
    assert ada.post(NOTIFICATIONS, {"budgets": "off"}).json() == {**shown, **wanted, "budgets": "off"}
    kept = Preference.objects.get(person=cast.ada)
    assert (kept.quiet_starts, kept.quiet_ends) == (time(22), time(7))
    assert Caller(cast.ben).get(NOTIFICATIONS).json() == shown
    none = ada.post(NOTIFICATIONS, {"quiet_starts": None, "quiet_ends": None}).json()
    assert (none["quiet_starts"], none["quiet_ends"]) == (None, None)


@pytest.mark.parametrize(
    ("body", "status", "name"),
    [
        ({"time_zone": "Mars/Olympus"}, 422, "time_zone"),
        ({"quiet_starts": "22:00"}, 422, "quiet_ends"),
        ({"quiet_ends": "22:00"}, 422, "quiet_starts"),
        ({"quiet_starts": "22:00", "quiet_ends": "22:00"}, 422, "quiet_ends"),
        ({"requests": "slack"}, 422, "requests"),
        ({"slack_decides": True}, 422, "slack_decides"),
        ({"requests": "pigeon"}, 400, "requests"),
        ({"digest_time": "24:00"}, 400, "digest_time"),
        ({"digest_time": " 08:00"}, 400, "digest_time"),
        ({"digest_time": 800}, 400, "digest_time"),
        ({"slack_linked": True}, 400, "slack_linked"),
        ({}, 400, "body"),
        (None, 400, "body"),
    ],
)
def test_choice_that_cannot_be_is_refused_by_the_field(
    ada: Caller, body: dict[str, Any] | None, status: int, name: str
) -> None:
    answer = ada.post(NOTIFICATIONS, body)
    assert answer.status_code == status
    assert list(answer.json()["errors"]) == [name]
    assert not Preference.objects.exists()


def test_slack_is_chosen_by_who_linked_an_account(ada: Caller, cast: Cast, settings: Settings) -> None:
    settings.SLACK_BOT_TOKEN = "xoxb-of-a-test"
    SlackLink.objects.create(person=cast.ada, slack_user="U1", confirmed_at=clock.now())
    chosen = ada.post(NOTIFICATIONS, {"requests": "slack", "slack_decides": True}).json()
    assert (chosen["requests"], chosen["slack_decides"], chosen["slack_linked"]) == ("slack", True, True)
    assert NewsChoice.objects.get(kind=NewsKind.REQUESTS).channel == Channel.SLACK
    SlackLink.objects.all().delete()
    assert ada.post(NOTIFICATIONS, {"budgets": "off"}).json()["requests"] == "slack"
