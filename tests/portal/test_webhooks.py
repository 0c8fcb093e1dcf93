"""Webhooks: what a receiver is told and can verify, how failures end, and who may manage them."""

from __future__ import annotations

import base64
import hmac
import json
import re
import socket
from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from pytest_django.fixtures import Settings

from core import audit, clock, outbox, webhooks
from core.errors import NotFoundError
from core.models import AuditEvent, Outbox, Webhook
from portal.news.senders import SENDERS
from portal.services import webhooks as services
from teams.errors import RoleNeededError
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import WebhookFactory
from tests.fakes.receiver import Call, Receiver, receiver

WEBHOOKS = "/webhooks/"


@pytest.fixture(autouse=True)
def own_network(settings: Settings) -> None:
    """Let webhooks call this machine."""
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]


@pytest.fixture
def told() -> Iterator[Receiver]:
    with receiver() as kept:
        yield kept


def act(cast: Cast, action: str = "team.renamed") -> AuditEvent:
    return audit.record(
        actor=cast.ben, action=action, subject=cast.search, before={"name": "Search"}, after={"name": "Find"},
        reason="Shorter.",
    )  # fmt: skip


def deliver() -> dict[str, int]:
    """Deliver everything, also what would be tried again later."""
    Outbox.objects.filter(delivered_at=None, dead_at=None).update(next_attempt_at=clock.now())
    return {name: number for name, number in outbox.drain(senders=SENDERS).items() if number}


def verified(call: Call, secret: str) -> bool:
    """Verify as a receiver does, by the convention alone."""
    signed = f"{call.headers['webhook-id']}.{call.headers['webhook-timestamp']}.".encode() + call.body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    wanted = "v1," + base64.b64encode(hmac.new(key, signed, "sha256").digest()).decode()
    return wanted in call.headers["webhook-signature"].split(" ")


def test_signature_is_that_of_the_convention() -> None:
    """The example of its reference library: id, timestamp, body and what comes out."""
    signed = webhooks.signature(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_receiver_is_told_of_an_act_and_can_verify_it(cast: Cast, told: Receiver) -> None:
    webhook = WebhookFactory.create(url=told.url)
    event = act(cast)

    assert deliver() == {"sent": 1}

    [call] = told.calls
    assert verified(call, webhooks.secret_of(webhook, 1))
    assert call.headers["webhook-id"] == Outbox.objects.get().public_id
    assert abs(int(call.headers["webhook-timestamp"]) - clock.now().timestamp()) < 60
    said = json.loads(call.body)
    assert said["type"] == "team.renamed"
    assert said["data"]["id"] == event.public_id
    assert (said["data"]["before"], said["data"]["after"]) == ({"name": "Search"}, {"name": "Find"})


def test_act_that_is_rolled_back_is_told_to_nobody(cast: Cast, told: Receiver) -> None:
    WebhookFactory.create(url=told.url)
    with transaction.atomic():
        act(cast)
        transaction.set_rollback(True)
    assert deliver() == {}


@pytest.mark.parametrize(
    ("actions", "heard"),
    [([], 2), (["team."], 1), (["team.renamed", "team."], 1), (["key.revoked"], 1), (["other."], 0)],
)
def test_webhook_hears_what_it_chose(cast: Cast, told: Receiver, actions: list[str], heard: int) -> None:
    WebhookFactory.create(url=told.url, actions=actions)
    act(cast)
    act(cast, "key.revoked")
    deliver()
    assert len(told.calls) == heard


def test_both_secrets_sign_while_one_is_replaced(cast: Cast, told: Receiver) -> None:
    webhook = WebhookFactory.create(url=told.url)
    old = webhooks.secret_of(webhook, 1)
    services.rotate_webhook_secret(actor=cast.ann, webhook=webhook)
    deliver()
    assert verified(told.calls[-1], old)
    assert verified(told.calls[-1], webhooks.secret_of(webhook, 2))
    services.rotate_webhook_secret(actor=cast.ann, webhook=webhook)
    deliver()
    assert not verified(told.calls[-1], old)
    assert verified(told.calls[-1], webhooks.secret_of(webhook, 3))


def test_failure_is_tried_again_under_the_same_id(cast: Cast, told: Receiver) -> None:
    WebhookFactory.create(url=told.url)
    told.status = 500
    act(cast)
    assert deliver() == {"retried": 1}
    told.status = 200
    assert deliver() == {"sent": 1}
    assert len({call.headers["webhook-id"] for call in told.calls}) == 1
    assert Webhook.objects.get().failures == 0


def test_repeated_failure_switches_it_off_and_tells_administrators(
    cast: Cast, told: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "DISABLE_AFTER", 3)
    webhook = WebhookFactory.create(url=told.url, actions=["team."])
    told.status = 503
    act(cast)
    for _ in range(2):
        assert deliver() == {"retried": 1}
    assert deliver() == {"retried": 1, "sent": 1}  # the mail that tells of it
    webhook.refresh_from_db()
    assert webhook.disabled_reason == "3 failures in a row, the last: status 503"
    assert AuditEvent.objects.get(action="webhook.disabled").actor_label == "purser"
    [mail] = Outbox.objects.filter(topic="webhook.disabled")
    assert mail.recipient == cast.ann.email

    assert deliver() == {"dead": 1}
    act(cast)
    assert deliver() == {}
    assert len(told.calls) == 3


def test_receiver_that_is_gone_is_left_alone_at_once(cast: Cast, told: Receiver) -> None:
    WebhookFactory.create(url=told.url, actions=["team."])
    told.status = 410
    act(cast)
    assert deliver()["dead"] == 1
    assert Webhook.objects.get().disabled_at is not None


def test_name_that_became_private_is_not_called(cast: Cast, told: Receiver, settings: Settings) -> None:
    WebhookFactory.create(url=told.url)
    act(cast)
    settings.WEBHOOK_ALLOWED_NETWORKS = []
    assert deliver() == {"dead": 1}
    assert told.calls == []


def test_name_server_that_is_down_loses_no_event(
    cast: Cast, told: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    WebhookFactory.create(url=told.url, actions=["team."])
    act(cast)
    with monkeypatch.context() as network:
        network.setattr(socket, "getaddrinfo", nobody)
        assert deliver() == {"retried": 1}
    assert deliver() == {"sent": 1}


def test_administrator_adds_tests_and_switches_off_on_pages(cast: Cast, told: Receiver) -> None:
    visitor = Visitor(cast.ann)
    added = visitor.post(WEBHOOKS, url=told.url, description="Chat", actions="team. key.revoked")
    webhook = Webhook.objects.get()
    path = f"{WEBHOOKS}{webhook.public_id}/"
    assert added.response["Cache-Control"] == "no-store"
    [secret] = re.findall(r"whsec_[\w+/=]+", added.words)
    assert secret == webhooks.secret_of(webhook, 1)
    assert "whsec_" not in visitor.get(path).words
    assert webhook.actions == ["team.", "key.revoked"]

    assert visitor.post(f"{path}test/").status == 302
    deliver()
    assert verified(told.calls[0], secret)
    assert json.loads(told.calls[0].body)["type"] == "webhook.test"
    assert visitor.get(path).rows("sent-h")[0][:2] == ["webhook.test", "Delivered"]

    assert visitor.post(f"{path}rotate/").status == 422
    rotated = visitor.post(f"{path}rotate/", newest_version="1")
    assert webhooks.secret_of(webhook, 2) in rotated.words
    assert visitor.post(f"{path}disable/", reason="").status == 422
    assert visitor.post(f"{path}disable/", reason="Moved.").status == 302
    assert "Moved." in visitor.get(path).words
    assert visitor.post(f"{path}disable/", reason="Again.").status == 422
    assert visitor.post(f"{path}test/").status == 422
    assert visitor.post(f"{path}enable/").status == 302
    assert "On" in visitor.get(WEBHOOKS).rows("webhooks-h")[0][2]


def test_administrator_changes_ends_a_secret_and_removes_on_pages(cast: Cast, told: Receiver) -> None:
    webhook = WebhookFactory.create(url=told.url, actions=["key."], live_versions=[1, 2])
    visitor, path = Visitor(cast.ann), f"{WEBHOOKS}{webhook.public_id}/"
    html = visitor.client.get(f"{path}change/").content.decode()
    assert f'value="{told.url}"' in html
    entered = {"url": told.url, "description": "Chat", "actions": "key. team."}
    assert visitor.post(f"{path}change/", **entered).status == 302
    assert "key., team." in visitor.get(path).words
    refused = visitor.post(f"{path}change/", **{**entered, "url": "https://10.0.0.1/"})
    assert (refused.status, "is not on the public internet" in refused.words) == (422, True)

    assert "End the older secret" in visitor.get(path).words
    assert visitor.post(f"{path}end-previous/").status == 302
    assert "End the older secret" not in visitor.get(path).words

    assert visitor.post(f"{path}remove/", reason="").status == 422
    assert visitor.post(f"{path}remove/", reason="Nobody listens.").response["Location"] == WEBHOOKS
    assert visitor.get(path).status == 404
    assert "Nobody is told yet" in visitor.get(WEBHOOKS).words


def test_removed_webhook_takes_no_act(cast: Cast) -> None:
    webhook = services.remove_webhook(actor=cast.ann, webhook=WebhookFactory.create(), reason="Done.")
    with pytest.raises(NotFoundError):
        services.enable_webhook(actor=cast.ann, webhook=webhook)
    with pytest.raises(NotFoundError):
        services.remove_webhook(actor=cast.ann, webhook=webhook, reason="Again.")


@pytest.mark.parametrize("url", ["https://10.0.0.1/", "https://[64:ff9b::a00:1]/", "ftp://x", "no address"])
def test_unsafe_address_is_refused_with_a_word(cast: Cast, url: str) -> None:
    page = Visitor(cast.ann).post(WEBHOOKS, url=url, description="Inside", actions="")
    assert page.status == 422
    assert "There is a problem" in page.words
    assert not Webhook.objects.exists()


@pytest.mark.parametrize("who", ["ada", "ben", "cleo", "fay", "audrey"])
def test_only_administrators_manage_webhooks(cast: Cast, who: str) -> None:
    webhook = WebhookFactory.create()
    visitor = Visitor(getattr(cast, who))
    for act_name in ("rotate", "test", "enable", "disable", "change", "end-previous", "remove"):
        assert visitor.post(f"{WEBHOOKS}{webhook.public_id}/{act_name}/", reason="No.").status == 403
    with pytest.raises(RoleNeededError):
        services.rotate_webhook_secret(actor=getattr(cast, who), webhook=webhook)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ("live_versions = '{}'", "webhook_has_one_or_two_live_secrets"),
        ("live_versions = '{1,2,3}'", "webhook_has_one_or_two_live_secrets"),
        ("disabled_at = now()", "webhook_is_disabled_with_a_reason"),
        ("disabled_reason = 'x'", "webhook_is_disabled_with_a_reason"),
        ("removed_at = now()", "webhook_is_off_once_it_is_removed"),
    ],
)
def test_webhook_that_cannot_be_is_refused(db: None, change: str, rule: str) -> None:
    WebhookFactory.create()
    with pytest.raises(IntegrityError, match=rule), transaction.atomic():
        connection.cursor().execute(f"UPDATE core_webhook SET {change}")  # noqa: S608


def test_no_secret_is_in_the_database(cast: Cast, told: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    webhook = services.add_webhook(actor=cast.ann, url=told.url, description="Chat", actions=[])
    deliver()
    call_command("dumpdata", "core")
    dumped = capsys.readouterr().out
    assert webhook.public_id in dumped
    assert webhooks.secret_of(webhook, 1).removeprefix("whsec_") not in dumped
