"""A session that was opened with the password alone, of somebody who has a second factor since."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client
from pytest_django import Settings

from tests.browsing import Page
from tests.cast import Cast
from tests.sign_in.test_second_factor import FACTOR, PASSWORD, required, set_up_app, with_password
from tests.signing import code_for, sign_in

__all__ = ["required"]


@pytest.fixture
def left_open(cast: Cast) -> Client:
    """Return a browser in which Ben signed in a moment before he had a factor, which ended all it knew of."""
    client = Client()
    sign_in(client, with_password(cast.ben))
    Authenticator.objects.create(user=cast.ben, type=Authenticator.Type.TOTP, data={})
    return client


@pytest.mark.parametrize("path", ["/keys/", "/approvals/", "/accounts/2fa/", "/accounts/2fa/webauthn/add/"])
def test_it_is_over_at_the_next_request(left_open: Client, path: str) -> None:
    answer = left_open.get(path)

    assert (answer.status_code, answer["Location"]) == (302, f"/accounts/login/?next={path}")
    assert left_open.get("/keys/")["Location"].startswith("/accounts/login/")
    again = Page(left_open.get("/accounts/login/"))
    assert again.status == 200
    assert "this sign-in was without it. Sign in again, with your second factor." in again.words


def test_a_form_is_not_sent_and_a_fragment_not_swapped(left_open: Client) -> None:
    answer = left_open.post("/keys/new/", {"name": "laptop"}, headers={"HX-Request": "true"})
    assert answer["HX-Redirect"] == "/accounts/login/"
    assert "What you sent was not done." in Page(left_open.get("/accounts/login/")).words


def test_the_api_says_what_to_do(left_open: Client) -> None:
    answer = left_open.get("/api/v1/keys/")
    assert (answer.status_code, answer.json()["code"]) == (403, "second_factor_missing")
    assert answer.json()["next_url"] == "/accounts/login/"
    assert left_open.get("/api/v1/keys/").status_code == 401
    assert "second factor" not in Page(left_open.get("/accounts/login/")).words


def test_whoever_needs_none_goes_on(cast: Cast, settings: Settings) -> None:
    client = Client()
    sign_in(client, cast.ada)
    Authenticator.objects.create(user=cast.ada, type=Authenticator.Type.TOTP, data={})
    assert client.get("/keys/").status_code == 200


def test_the_sign_in_in_which_the_factor_was_added_goes_on(cast: Cast) -> None:
    client = Client()
    sign_in(client, with_password(cast.ben))
    secret = set_up_app(client)
    assert client.get("/keys/").status_code == 200
    assert client.get("/accounts/2fa/").status_code == 200

    other = Client()
    other.post("/accounts/login/", {"login": cast.ben.email, "password": PASSWORD})
    assert other.post(FACTOR, {"code": code_for(secret)}).status_code == 302
    assert other.get("/keys/").status_code == 200
