"""A form has one effect however often it is sent, and what is entered anew is another act."""

from __future__ import annotations

import re

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory

from core.models import AuditEvent, Webhook
from portal.middleware import _entered
from teams.models import User
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import ApiKeyFactory, WebhookFactory


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
    sent = {"once": name_of_form(ann, page)}
    first, second = (ann.post(f"{page}rotate/", **sent) for _ in range(2))
    assert (first.status, second.status, second.response["Location"]) == (200, 303, page)
    assert "shown this once" in first.words
    assert AuditEvent.objects.filter(action="webhook.secret_rotated").count() == 1
    assert len(Webhook.objects.get().live_versions) == len(webhook.live_versions) + 1


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
