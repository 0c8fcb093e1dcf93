"""The secret is in exactly one answer, and nowhere else."""

from __future__ import annotations

import io
import json
import logging
import re
from datetime import timedelta

import pytest
import time_machine
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection

from core import clock
from core.models import AuditEvent, Outbox
from keys import secrets
from keys.models import ApiKey
from keys.secrets import TOKEN_PATTERN
from keys.services import issue_key, reveal, revoke
from tests import factories
from tests.browsing import Page, Visitor
from tests.cast import Cast


@pytest.fixture
def waiting(cast: Cast) -> ApiKey:
    """Ada's key, awaiting its reveal."""
    return issue_key(actor=cast.ada, project=cast.ranking, name="nightly")


def reveal_path(key: ApiKey) -> str:
    return f"/keys/{key.public_id}/reveal/"


def tokens_in(page: Page) -> list[str]:
    return re.findall(TOKEN_PATTERN, page.response.content.decode())


def test_page_before_asks_and_shows_nothing(cast: Cast, waiting: ApiKey) -> None:
    page = Visitor(cast.ada).get(reveal_path(waiting))

    assert "Show the secret once" in page.words
    assert tokens_in(page) == []
    assert ApiKey.objects.get().revealed_at is None


def test_owner_gets_a_secret_that_works_with_a_snippet_to_paste(cast: Cast, waiting: ApiKey) -> None:
    page = Visitor(cast.ada).post(reveal_path(waiting))

    [token] = tokens_in(page)
    assert secrets.is_wellformed(token)
    assert ApiKey.objects.get(secret_hmac__in=secrets.digests(token)) == waiting
    assert f'base_url="{settings.GATEWAY_PUBLIC_URL}/v1"' in page.words
    assert 'model="small"' in page.words
    assert "every model of Tier 1" in page.words
    assert "PURSER_KEY" in page.words, "the snippet reads the secret from the environment"


def test_snippet_names_the_best_model_that_was_granted(cast: Cast, waiting: ApiKey) -> None:
    ends = clock.now() + timedelta(days=30)
    factories.approved_grant(waiting, model_ids=[cast.large.pk], expires_at=ends)

    page = Visitor(cast.ada).post(reveal_path(waiting))

    assert 'model="large"' in page.words
    assert f"every model of Tier 1; large until {ends:%-d %B %Y}" in page.words


def test_answer_with_the_secret_is_kept_nowhere(cast: Cast, waiting: ApiKey) -> None:
    page = Visitor(cast.ada).post(reveal_path(waiting))

    assert "no-store" in page.response["Cache-Control"]
    assert not page.response.has_header("Location")
    assert not page.response.has_header("ETag")
    html = page.response.content.decode()
    assert 'hx-history="false"' in html
    assert '"historyCacheSize":0' in html
    assert html.count(tokens_in(page)[0]) == 1


def test_secret_is_in_exactly_one_answer(
    cast: Cast, waiting: ApiKey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    visitor = Visitor(cast.ada)
    [token] = tokens_in(visitor.post(reveal_path(waiting)))

    later = [visitor.post(reveal_path(waiting)), visitor.get(reveal_path(waiting)), visitor.get("/keys/")]
    later += [visitor.get(f"/keys/{waiting.public_id}/revoke/"), visitor.get("/"), visitor.get("/approvals/")]
    later += [Visitor(cast.ben).get("/keys/", tab="team")]
    random_part = token[len(secrets.PREFIX) + 4 : -4]
    assert not any(random_part in page.response.content.decode() for page in later)
    assert not any(random_part in str(page.response.headers) for page in later)
    assert random_part not in caplog.text
    assert random_part not in str([session.get_decoded() for session in Session.objects.all()])
    assert random_part not in str([*AuditEvent.objects.values(), *Outbox.objects.values()])


@pytest.mark.parametrize("table", ["keys_apikey", "core_auditevent", "django_session"])
def test_dump_of_a_table_holds_no_secret(cast: Cast, waiting: ApiKey, table: str) -> None:
    [token] = tokens_in(Visitor(cast.ada).post(reveal_path(waiting)))

    dump = io.StringIO()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT row_to_json(t)::text FROM {table} t")  # noqa: S608  the names stand above
        dump.writelines(row for (row,) in cursor.fetchall())
    text = dump.getvalue()
    assert text
    assert token[len(secrets.PREFIX) + 4 : -4] not in text
    assert token.encode().hex() not in text
    assert json.dumps(token) not in text


def test_second_reveal_is_a_409_with_when_and_what_is_known(cast: Cast, waiting: ApiKey) -> None:
    visitor = Visitor(cast.ada)
    [token] = tokens_in(visitor.post(reveal_path(waiting)))

    page = visitor.post(reveal_path(waiting))

    waiting.refresh_from_db()
    assert page.status == 409
    assert f"on {waiting.revealed_at:%-d %B %Y, %H:%M} UTC" in page.words
    assert f"{token[:13]}…{token[-4:]}" in page.words
    assert tokens_in(page) == []
    assert f"/keys/{waiting.public_id}/revoke/" in page.links
    assert AuditEvent.objects.filter(action="key.revealed").count() == 1


@pytest.mark.parametrize("who", ["ben", "cleo", "fay", "audrey", "ann"])
def test_nobody_but_the_owner_reveals(cast: Cast, waiting: ApiKey, who: str) -> None:
    visitor = Visitor(getattr(cast, who))

    for page in (visitor.post(reveal_path(waiting)), visitor.get(reveal_path(waiting))):
        assert page.status == 403
        assert "Only Ada Moreno, who owns this key, may reveal it" in page.words
    assert ApiKey.objects.get().revealed_at is None


@pytest.mark.parametrize("who", ["dan", "eve", "olga"])
def test_key_of_another_team_does_not_exist(cast: Cast, waiting: ApiKey, who: str) -> None:
    visitor = Visitor(getattr(cast, who))

    for act in ("reveal", "revoke"):
        path = f"/keys/{waiting.public_id}/{act}/"
        for page in (visitor.get(path), visitor.post(path, reason="Mine now.")):
            assert page.status == 404
            assert "Ada" not in page.words
    key = ApiKey.objects.get()
    assert (key.revealed_at, key.revoked_at) == (None, None)


def test_ended_key_is_not_revealed(cast: Cast, waiting: ApiKey) -> None:
    revoke(actor=cast.ada, key=waiting, reason="Not needed.")
    visitor = Visitor(cast.ada)

    page = visitor.post(reveal_path(waiting))

    assert page.status == 410
    assert "was revoked on" in page.words
    assert "its secret was never made" in visitor.get(reveal_path(waiting)).words


def test_expired_key_is_not_revealed(cast: Cast, waiting: ApiKey) -> None:
    with time_machine.travel(waiting.expires_at + timedelta(seconds=1)):
        assert Visitor(cast.ada).post(reveal_path(waiting)).status == 410
    assert ApiKey.objects.get().revealed_at is None


def test_detail_costs_at_most_ten_queries(cast: Cast, waiting: ApiKey) -> None:
    reveal(actor=cast.ada, key=waiting)
    for act in ("reveal", "revoke"):
        assert len(Visitor(cast.ada).queries(f"/keys/{waiting.public_id}/{act}/")) <= 10
