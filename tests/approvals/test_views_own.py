"""The requester's page: where his request stands, its answer, its key, and the way to take it back."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.test import Client

from approvals.models import AccessRequest, RequestStatus, Verdict
from approvals.services import decide
from core.models import AuditEvent
from keys.services import reveal
from tests.approvals.conftest import REASON, Ask
from tests.browsing import Visitor
from tests.cast import Cast
from tests.usage.books import book
from usage.selectors import organisation_today


def path_of(asked: AccessRequest, act: str = "") -> str:
    return f"/approvals/{asked.public_id}/{act}"


def approve(cast: Cast, asked: AccessRequest, comment: str = "") -> AccessRequest:
    return decide(
        actor=cast.ben, request=asked, verdict=Verdict.APPROVE, seen_revision=1, comment=comment
    ).request


def test_requester_reads_who_decides_and_by_when(cast: Cast, asked: AccessRequest) -> None:
    page = Visitor(cast.ada).get(path_of(asked))

    assert "What you asked for" in page.words
    assert REASON in page.words
    assert "Waiting" in page.words
    assert "Can decide: Ben Okafor" in page.words
    assert f"Decide by {asked.decide_by:%-d %B %Y, %H:%M} UTC" in page.words
    assert path_of(asked, "withdraw/") in page.links
    assert 'value="approve"' not in page.response.content.decode()


def test_approved_request_offers_the_secret_once(cast: Cast, asked: AccessRequest) -> None:
    key = approve(cast, asked, "Watch the batches.").key
    ada = Visitor(cast.ada)

    page = ada.get(path_of(asked))

    assert key is not None
    assert "Ben Okafor approved it. Watch the batches." in page.words
    assert "Show the secret once" in page.words
    assert "Who decides" not in page.words
    assert "The lead of Search decides" not in page.words
    assert f'action="/keys/{key.public_id}/reveal/"' in page.response.content.decode()
    assert path_of(asked, "withdraw/") not in page.links

    reveal(actor=cast.ada, key=key)
    book(cast.ranking, cast.large, organisation_today(), "1", key=key, owner=cast.ada)
    after = ada.get(path_of(asked))
    key.refresh_from_db()
    assert "Show the secret once" not in after.words
    assert f"{key.masked} Expires" in after.words
    assert f"Last used {organisation_today():%-d %b %Y}" in after.words


@pytest.mark.parametrize("who", ["ben", "cleo", "fay", "ann"])
def test_nobody_else_is_offered_the_secret(cast: Cast, asked: AccessRequest, who: str) -> None:
    approve(cast, asked)

    page = Visitor(getattr(cast, who)).get(path_of(asked))

    assert page.status == 200
    assert "/reveal/" not in page.response.content.decode()


def test_row_of_an_own_request_opens_the_whole_page(cast: Cast, asked: AccessRequest) -> None:
    page = Visitor(cast.ada).get(path_of(asked), htmx_target="inbox")

    assert page.response["HX-Redirect"] == path_of(asked)


def test_withdrawing_is_asked_first_and_then_done(cast: Cast, asked: AccessRequest) -> None:
    ada = Visitor(cast.ada)

    before = ada.get(path_of(asked, "withdraw/"))
    assert "It waits for Ben Okafor now." in before.words
    assert AccessRequest.objects.get().status == RequestStatus.PENDING

    page = ada.post(path_of(asked, "withdraw/"))
    assert page.response["Location"] == path_of(asked)
    assert AccessRequest.objects.get().status == RequestStatus.WITHDRAWN
    assert "Tier 2 for Ranking is withdrawn." in ada.get(path_of(asked)).words
    assert "Ada Moreno withdrew it. You can ask again." in ada.get(path_of(asked)).words


def test_withdrawing_twice_changes_nothing_more(cast: Cast, asked: AccessRequest) -> None:
    ada = Visitor(cast.ada)

    first, second = (ada.post(path_of(asked, "withdraw/")) for _ in range(2))

    assert first.status == second.status == 302
    assert AuditEvent.objects.filter(action="request.withdrawn").count() == 1


def test_request_that_was_decided_meanwhile_says_by_whom(cast: Cast, asked: AccessRequest) -> None:
    approve(cast, asked)
    ada = Visitor(cast.ada)

    page = ada.post(path_of(asked, "withdraw/"))

    assert page.status == 409
    assert "Ben Okafor approved this request on" in page.words
    assert "Show the secret once" in page.words
    assert ada.get(path_of(asked, "withdraw/")).response["Location"] == path_of(asked)


def test_expired_request_cannot_be_withdrawn(cast: Cast, asked: AccessRequest) -> None:
    with time_machine.travel(asked.decide_by + timedelta(seconds=1)):
        page = Visitor(cast.ada).post(path_of(asked, "withdraw/"))

    assert page.status == 410
    assert "Nobody decided it in time. You can ask again." in page.words


@pytest.mark.parametrize("who", ["ben", "cleo", "fay", "ann"])
def test_only_the_requester_withdraws(cast: Cast, asked: AccessRequest, who: str) -> None:
    visitor = Visitor(getattr(cast, who))

    for page in (visitor.get(path_of(asked, "withdraw/")), visitor.post(path_of(asked, "withdraw/"))):
        assert page.status == 403
        assert "Only Ada Moreno, who made this request, may change or withdraw it." in page.words
    assert AccessRequest.objects.get().status == RequestStatus.PENDING


def test_withdrawing_from_another_site_is_refused(cast: Cast, asked: AccessRequest) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.ada)

    assert client.post(path_of(asked, "withdraw/")).status_code == 403
    assert AccessRequest.objects.get().status == RequestStatus.PENDING


def test_closed_request_says_why(cast: Cast, ask: Ask) -> None:
    asked = ask()
    AccessRequest.objects.filter(pk=asked.pk).update(
        status=RequestStatus.CLOSED, decided_at=asked.created_at, closed_reason="The project was closed."
    )

    assert "It was closed. The project was closed." in Visitor(cast.ada).get(path_of(asked)).words
