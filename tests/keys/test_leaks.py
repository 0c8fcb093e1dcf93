"""A leaked secret ends at once, whoever reports it, and the answer never says whether it was one."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache
from pytest_django import Settings

from core.models import AuditEvent, Outbox
from keys import secrets
from keys.models import ApiKey, ApiToken
from keys.services import issue_key, make_token, report_leak, reveal, reveal_token, revoke, rotate
from tests import factories
from tests.api.world import Answer, Caller
from tests.cast import Cast

LEAKS = "leaks/"
PATTERNS = "/secret-patterns.json"


@pytest.fixture
def leaked(cast: Cast) -> str:
    """The secret of Ada's key."""
    return reveal(actor=cast.ada, key=issue_key(actor=cast.ada, project=cast.ranking, name="laptop")).token


def test_the_key_is_revoked_and_owner_and_lead_are_told(cast: Cast, leaked: str) -> None:
    answer = Caller(None).post(LEAKS, {"secrets": [leaked], "place": "https://example.com/pastebin"})

    assert (answer.status_code, answer.json()) == (202, {"received": 1})
    key = ApiKey.objects.get()
    assert key.revoked_at is not None
    assert key.revoked_reason == "Reported as leaked: https://example.com/pastebin"
    event = AuditEvent.objects.get(action="key.revoked")
    assert (event.actor_label, event.reason) == ("purser", key.revoked_reason)
    mails = Outbox.objects.filter(topic="secret.leaked")
    assert {mail.recipient for mail in mails} == {cast.ada.email, cast.ben.email}


def test_the_answer_is_the_same_whatever_the_secret_is(cast: Cast, leaked: str) -> None:
    live = Caller(None).post(LEAKS, {"secrets": [leaked]})
    for secret in (leaked, secrets.new_token(), "psr_live_typo", "sk-123", ""):
        other = Caller(None).post(LEAKS, {"secrets": [secret]})
        assert (other.status_code, other.content, dict(other.headers).keys()) == (
            live.status_code,
            live.content,
            dict(live.headers).keys(),
        )


def test_a_second_report_changes_and_tells_nothing(cast: Cast, leaked: str) -> None:
    assert report_leak(secret=leaked, place="a log")
    assert not report_leak(secret=leaked, place="a log")
    assert Outbox.objects.filter(topic="secret.leaked").count() == 2
    assert ApiKey.objects.get().revoked_reason == "Reported as leaked: a log"


def test_a_leaked_older_secret_ends_and_its_successor_lives(cast: Cast, leaked: str) -> None:
    key = ApiKey.objects.get()
    rotate(actor=cast.ada, key=key)
    reveal(actor=cast.ada, key=key)

    assert report_leak(secret=leaked, place="a log")

    key.refresh_from_db()
    assert (key.state, key.previous_is_live) == ("live", False)
    assert AuditEvent.objects.get(action="key.previous_secret_ended").reason == "Reported as leaked: a log"
    assert not report_leak(secret=leaked, place="again")


def test_a_leaked_successor_revokes_the_key(cast: Cast, leaked: str) -> None:
    key = ApiKey.objects.get()
    rotate(actor=cast.ada, key=key)
    assert report_leak(secret=reveal(actor=cast.ada, key=key).token, place="a log")
    key.refresh_from_db()
    assert key.state == "revoked"


def test_a_leaked_api_token_ends(cast: Cast) -> None:
    token = make_token(actor=cast.ada, name="report", scopes=["keys:read"])
    secret = reveal_token(actor=cast.ada, token=token).secret
    assert report_leak(secret=secret, place="")
    assert ApiToken.objects.get().revoked_reason == "Reported as leaked: no place was given"
    assert Outbox.objects.get(topic="secret.leaked").recipient == cast.ada.email


def test_what_a_reporter_writes_brings_no_secret_into_the_records(cast: Cast, leaked: str) -> None:
    report_leak(secret=leaked, place=f"found {leaked} in a log")
    assert ApiKey.objects.get().revoked_reason == "Reported as leaked: found psr_… in a log"


def test_an_ended_key_stays_as_it_ended(cast: Cast, leaked: str) -> None:
    revoke(actor=cast.ada, key=ApiKey.objects.get(), reason="Done.")
    assert not report_leak(secret=leaked, place="a log")
    assert ApiKey.objects.get().revoked_reason == "Done."


@pytest.fixture
def two_a_minute(settings: Settings) -> None:
    """Let one address report twice a minute, counted for this test alone."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    settings.LEAK_REPORTS_PER_MINUTE = 2
    cache.clear()


def reported(address: str) -> Answer:
    """Report something, as the client that this address belongs to, or says so."""
    return Caller(None).post(LEAKS, {"secrets": ["x"]}, headers={"X-Forwarded-For": address})


@pytest.mark.usefixtures("two_a_minute")
def test_reports_are_limited_by_the_peers_address(db: None) -> None:
    answers = [reported(f"203.0.113.{number}") for number in range(3)]

    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert int(answers[2]["Retry-After"]) > 0


@pytest.mark.usefixtures("two_a_minute")
def test_behind_a_proxy_each_client_is_counted_alone(db: None, settings: Settings) -> None:
    settings.TRUSTED_PROXY_COUNT = 1

    answers = [reported(f"invented, 203.0.113.{number}") for number in (1, 1, 2, 1)]

    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]


def test_a_report_names_some_secrets_but_not_a_thousand() -> None:
    bodies: list[dict[str, Any]] = [{"secrets": []}, {"secrets": ["x"] * 21}, {}, {"secrets": "x"}]
    for body in bodies:
        assert Caller(None).post(LEAKS, body).status_code == 400


@pytest.mark.django_db
def test_scanners_get_the_patterns_without_signing_in() -> None:
    published = Caller(None).get(PATTERNS).json()
    assert published["report"] == f"{settings.BASE_URL}/api/v1/leaks/"
    regexes = {each["id"]: each["regex"] for each in published["patterns"]}
    for secret, rule in (
        (secrets.new_token(), "purser-key"),
        (secrets.new_token(secrets.API_PREFIX), "purser-api-token"),
    ):
        assert [name for name, regex in regexes.items() if re.search(regex, f"KEY={secret}\n")] == [rule]


def test_the_file_for_gitleaks_has_the_same_patterns() -> None:
    text = (Path(settings.BASE_DIR) / "docs" / "secret-scanning.toml").read_text(encoding="utf-8")
    rules = {rule["id"]: rule["regex"] for rule in tomllib.loads(text)["rules"]}
    assert rules == {"purser-key": secrets.TOKEN_PATTERN, "purser-api-token": secrets.API_TOKEN_PATTERN}


@pytest.mark.django_db
def test_an_unfinished_key_cannot_leak() -> None:
    factories.ApiKeyFactory.create()
    assert not report_leak(secret=secrets.new_token(), place="a log")
