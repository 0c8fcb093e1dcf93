"""Whoever has a copy of the database signs in nowhere with it."""

from __future__ import annotations

import re

import pytest
from allauth.mfa.totp.internal.auth import SECRET_SESSION_KEY
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core import mail
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from pytest_django import Settings

from keys.services.tokens import make_token, reveal_token
from portal.sessions import SessionName, SessionStore
from tests.cast import Cast
from tests.portal.test_canary import dump
from tests.sign_in.test_sessions import FIREFOX, PASSWORD, signed_in
from tests.signing import session_of, sign_in

COOKIE = settings.SESSION_COOKIE_NAME


def words_of_a_copy() -> set[str]:
    """Return all words of the database that are long enough for a secret."""
    return {word for row in dump() for word in re.findall(r"[!-~]{20,}", row)}


def not_in_a_copy(secret: str, *, control: str) -> bool:
    """Whether the database does not say this, but does say that."""
    copy = "\n".join(dump())
    return control in copy and secret not in copy


def opens(token: str) -> bool:
    """Whether a browser with this cookie is somebody."""
    client = Client()
    client.cookies[COOKIE] = token
    return client.get("/sessions/").status_code == 200


def test_no_word_of_a_copy_is_the_cookie_of_anybody(cast: Cast) -> None:
    ada = signed_in(cast.ada, FIREFOX)
    token = ada.cookies[COOKIE].value
    words = words_of_a_copy()

    assert opens(token)
    assert UserSession.objects.get(user=cast.ada).session_key in words
    assert token not in words
    assert [word for word in words if opens(word)] == []


def test_no_word_of_a_copy_is_a_token_of_the_api(cast: Cast) -> None:
    token = make_token(actor=cast.ada, name="ci", scopes=["keys:read"])
    secret = reveal_token(actor=cast.ada, token=token).secret

    def status(bearer: str) -> int:
        return Client(headers={"Authorization": f"Bearer {bearer}"}).get("/api/v1/keys/").status_code

    assert status(secret) == 200
    assert {status(word) for word in words_of_a_copy()} == {401}


def test_way_to_a_new_password_is_sealed_while_it_is_gone(cast: Cast) -> None:
    cast.ada.set_password(PASSWORD)
    cast.ada.save()
    client = Client()
    client.post("/accounts/password/reset/", {"email": cast.ada.email})
    (path,) = re.findall(r"/accounts/password/reset/key/\S+", str(mail.outbox[-1].body))
    assert client.get(path).status_code == 302
    key = session_of(client)["_password_reset_key"]

    assert key in path
    assert not_in_a_copy(key, control=Session.objects.get().session_key)


def test_secret_of_a_new_authenticator_app_is_sealed_before_its_first_code(cast: Cast) -> None:
    client = Client()
    sign_in(client, cast.ada)
    assert client.get("/accounts/2fa/totp/activate/").status_code == 200
    secret = session_of(client)[SECRET_SESSION_KEY]

    assert not_in_a_copy(secret, control=str(session_of(client).session_key))


def test_token_that_was_put_into_a_browser_is_not_the_one_that_signs_in(cast: Cast) -> None:
    planted = "x" * 32
    cast.ada.set_password(PASSWORD)
    cast.ada.save()
    client = Client()
    client.cookies[COOKIE] = planted
    client.post("/accounts/login/", {"login": cast.ada.email, "password": PASSWORD})
    token = client.cookies[COOKIE].value

    assert opens(token)
    assert not opens(planted)
    client.post("/accounts/logout/")
    assert not opens(token)


def test_session_sealed_with_a_pepper_that_is_gone_is_empty(cast: Cast, settings: Settings) -> None:
    ada = signed_in(cast.ada, FIREFOX)
    settings.KEY_PEPPERS = {2: b"2" * 32}

    assert ada.get("/sessions/").status_code == 302


@pytest.mark.parametrize("token", ["", "short", "x" * 5_000, "ä" * 40])
def test_cookie_that_nobody_gave_is_no_session(cast: Cast, token: str) -> None:
    assert not opens(token)
    assert dict(SessionStore(SessionName(token)).items()) == {}


def test_sessions_of_before_end_with_the_migration(cast: Cast) -> None:
    """Their keys lay in the database as browsers held them."""
    (newest,) = (name for app, name in MigrationExecutor(connection).loader.graph.leaf_nodes("teams"))
    MigrationExecutor(connection).migrate([("teams", "0004_people_and_directory")])
    signed_in(cast.ada, FIREFOX)
    assert Session.objects.count() == UserSession.objects.count() == 1

    MigrationExecutor(connection).migrate([("teams", newest)])

    assert Session.objects.count() == UserSession.objects.count() == 0
