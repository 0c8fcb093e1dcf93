"""A form has one effect however often it is sent, and what is entered anew is another act."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory

from core.models import AuditEvent, Webhook
from keys.services import make_token
from portal.middleware import _entered
from teams.models import User
from tests.browsing import Page, Visitor
from tests.cast import Cast
from tests.factories import ApiKeyFactory, WebhookFactory

SHOWN_ONCE: dict[str, Callable[[Cast], tuple[str, dict[str, str], str]]] = {
    "webhook": lambda _: ("/webhooks/", {"url": "https://8.8.8.8/", "description": "Chat"}, "whsec_"),
    "secret": lambda _: (
        f"/webhooks/{WebhookFactory.create().public_id}/rotate/",
        {"newest_version": "1"},
        "whsec_",
    ),
    "key": lambda cast: (
        f"/keys/{ApiKeyFactory.create(owner=cast.ada, project=cast.ranking).public_id}/reveal/",
        {},
        "psr_live_",
    ),
    "token": lambda cast: (
        f"/keys/tokens/{make_token(actor=cast.ada, name='ci', scopes=['keys:read']).public_id}/reveal/",
        {},
        "psr_api_",
    ),
}
ACTIONS = ("webhook.added", "webhook.secret_rotated", "key.revealed", "token.revealed")


def name_of_form(visitor: Visitor, path: str) -> str:
    """Open a page and return the name of its form."""
    found = re.search(r'name="once" value="([^"]+)"', visitor.client.get(path).content.decode())
    assert found
    return found[1]


def test_second_click_on_a_confirmation_leads_where_the_first_one_did(cast: Cast) -> None:
    key = ApiKeyFactory.create(owner=cast.ada, project=cast.ranking)
    ada, path = Visitor(cast.ada), f"/keys/{key.public_id}/revoke/"
    sent = {"reason": "Not used.", "once": name_of_form(ada, path)}
    answers = [ada.post(path, **sent) for _ in range(2)]
    assert [answer.status for answer in answers] == [302, 302]
    assert answers[0].response["Location"] == answers[1].response["Location"]
    assert AuditEvent.objects.filter(action="key.revoked").count() == 1


def test_second_click_makes_no_second_secret_and_shows_none(cast: Cast) -> None:
    webhook = WebhookFactory.create()
    ann, page = Visitor(cast.ann), f"/webhooks/{webhook.public_id}/"
    sent = {"once": name_of_form(ann, page), "newest_version": "1"}
    first, second = (ann.post(f"{page}rotate/", **sent) for _ in range(2))
    assert (first.status, second.status, second.response["Location"]) == (200, 303, page)
    assert "shown this once" in first.words
    assert AuditEvent.objects.filter(action="webhook.secret_rotated").count() == 1
    assert len(Webhook.objects.get().live_versions) == len(webhook.live_versions) + 1


def test_other_copy_of_a_form_makes_no_second_secret_and_shows_none(cast: Cast) -> None:
    """Two tabs were open: the second one shows a secret that is the newest no more."""
    webhook = WebhookFactory.create()
    ann, page = Visitor(cast.ann), f"/webhooks/{webhook.public_id}/"
    copies = [{"once": name_of_form(ann, page), "newest_version": "1"} for _ in range(2)]
    first, second = (ann.post(f"{page}rotate/", **copy) for copy in copies)
    assert copies[0] != copies[1]
    assert "whsec_" in first.words
    assert (second.status, second.response["Location"]) == (302, page)
    assert "whsec_" not in ann.get(page).words
    assert Webhook.objects.get().live_versions == [1, 2]


def test_other_copy_of_a_form_adds_no_second_webhook_and_shows_no_secret(cast: Cast) -> None:
    ann = Visitor(cast.ann)
    entered = {"url": "https://8.8.8.8/", "description": "Chat", "actions": "key."}
    copies = [{**entered, "once": name_of_form(ann, "/webhooks/")} for _ in range(2)]
    first, second = (ann.post("/webhooks/", **copy) for copy in copies)
    assert "whsec_" in first.words
    assert (second.status, second.response["Location"]) == (
        302,
        f"/webhooks/{Webhook.objects.get().public_id}/",
    )
    assert AuditEvent.objects.filter(action="webhook.added").count() == 1


@pytest.mark.parametrize("what", SHOWN_ONCE)
def test_repeated_key_shows_no_second_secret(cast: Cast, what: str) -> None:
    """A program sends the form again with the same Idempotency-Key, as it loaded it again."""
    person = cast.ann if what in {"webhook", "secret"} else cast.ada
    path, entered, kept = SHOWN_ONCE[what](cast)
    visitor, answers = Visitor(person), []
    for name in ("a", "b"):
        sent = {**entered, "once": name}
        answers.append(Page(visitor.client.post(path, sent, headers={"Idempotency-Key": "1"})))
    first, second = answers
    assert first.status == 200
    [secret] = set(re.findall(rf"{kept}[\w+/=]{{20,}}", first.response.content.decode()))
    assert second.status in {303, 409}
    assert secret not in second.response.content.decode()
    assert AuditEvent.objects.filter(action__in=ACTIONS).count() == 1


def test_what_is_entered_anew_is_another_act(cast: Cast) -> None:
    ann, path = Visitor(cast.ann), f"/people/{cast.ada.public_id}/rename/"
    once = name_of_form(ann, path)
    for entered in ("Ada Lovelace", "Ada King", "Ada King"):
        assert ann.post(path, name=entered, reason="Married.", once=once).status == 302
    assert User.objects.get(pk=cast.ada.pk).name == "Ada King"
    assert AuditEvent.objects.filter(action="person.renamed").count() == 2


def test_another_file_is_another_act() -> None:
    asked = [
        _entered(RequestFactory().post("/", {"name": "a", "file": SimpleUploadedFile("bill.csv", content)}))
        for content in (b"1", b"1", b"2")
    ]
    assert asked[0] == asked[1] != asked[2]
