"""What `check --deploy` refuses about sign-in, what a client's address is, and how attempts are counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.conf import settings as real_settings
from django.core.cache import caches
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import Client, RequestFactory
from pytest_django import Settings

from core.clients import client_address
from core.models import AuditEvent
from portal.cache import SharedCache
from portal.settings import _hosts
from tests.browsing import Page, Visitor
from tests.cast import Cast

GOOD: dict[str, Any] = {
    "MFA_REQUIRED": True,
    "ALLOWED_HOSTS": ["purser.example.com"],
    "SESSION_COOKIE_SECURE": True,
    "CSRF_COOKIE_SECURE": True,
    "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
    "TRUSTED_PROXY_COUNT": 1,
    "OIDC_ISSUER": "https://login.example.com",
    "OIDC_CLIENT_SECRET": "a secret of the provider",
}
WRONG: list[tuple[str, dict[str, Any]]] = [
    ("purser.E001", {"MFA_REQUIRED": False}),
    ("purser.E002", {"ALLOWED_HOSTS": ["*"]}),
    ("purser.E002", {"ALLOWED_HOSTS": ["purser.example.com", "*"]}),
    ("purser.E002", {"ALLOWED_HOSTS": []}),
    ("purser.E003", {"SESSION_COOKIE_SECURE": False}),
    ("purser.E003", {"CSRF_COOKIE_SECURE": False}),
    ("purser.E003", {"SESSION_COOKIE_HTTPONLY": False}),
    ("purser.E003", {"SESSION_COOKIE_SAMESITE": "None"}),
    ("purser.E004", {"TRUSTED_PROXY_COUNT": 0}),
    ("purser.E004", {"TRUSTED_PROXY_COUNT": -1}),
    ("purser.E004", {"SECURE_PROXY_SSL_HEADER": None}),
    ("purser.E005", {"ACCOUNT_RATE_LIMITS": False}),
    ("purser.E005", {"ACCOUNT_RATE_LIMITS": {"login": "30/m/ip"}}),
    ("purser.E006", {"OIDC_ISSUER": "http://login.example.com"}),
    ("purser.E006", {"OIDC_CLIENT_SECRET": ""}),
]


def found(settings: Settings, **changes: Any) -> list[str]:
    """Return what is found about sign-in with these settings."""
    for name, value in (GOOD | changes).items():
        setattr(settings, name, value)
    return [str(message.id) for message in run_checks(tags=["sign_in"], include_deployment_checks=True)]


def test_a_right_deployment_is_not_blamed(settings: Settings) -> None:
    assert found(settings) == []
    assert found(settings, SECURE_PROXY_SSL_HEADER=None, TRUSTED_PROXY_COUNT=0) == []
    assert found(settings, OIDC_ISSUER="", OIDC_CLIENT_SECRET="") == []


@pytest.mark.parametrize(("code", "changes"), WRONG)
def test_each_wrong_setting_is_refused(code: str, changes: dict[str, Any], settings: Settings) -> None:
    assert found(settings, **changes) == [code]


@pytest.mark.parametrize(
    ("code", "seconds", "of"),
    [
        ("purser.E007", 600, {"/v1/audio/speach": 60}),
        ("purser.E008", 600, {"batch": 0}),
        ("purser.E008", 0, {}),
    ],
)
def test_a_hold_of_nothing_that_there_is_or_of_no_time_is_refused(
    code: str, seconds: int, of: dict[str, int], settings: Settings
) -> None:
    assert run_checks(tags=["gateway"]) == []
    settings.HOLD_SECONDS, settings.HOLD_SECONDS_FOR = seconds, of
    assert [message.id for message in run_checks(tags=["gateway"])] == [code]


def test_with_any_host_the_portal_does_not_start() -> None:
    with pytest.raises(ImproperlyConfigured, match="ALLOWED_HOSTS"):
        _hosts(["purser.example.com", "*"])


def test_the_settings_themselves_limit_attempts() -> None:
    assert real_settings.ACCOUNT_RATE_LIMITS["login_failed"] == "10/m/ip,5/5m/key"
    assert real_settings.SESSION_COOKIE_HTTPONLY
    assert "*" not in real_settings.ALLOWED_HOSTS


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "", "192.0.2.9"),
        (0, "203.0.113.5", "192.0.2.9"),  # nobody is trusted to say so
        (1, "203.0.113.5", "203.0.113.5"),
        (1, "198.51.100.7, 203.0.113.5", "203.0.113.5"),  # the first was made up by the client
        (2, "198.51.100.7, 203.0.113.5, 10.0.0.2", "203.0.113.5"),
        (2, "203.0.113.5", "192.0.2.9"),  # came past one of the proxies
        (1, "not an address", "192.0.2.9"),
        (1, "2001:db8::5", "2001:db8::5"),
    ],
)
def test_the_address_is_the_one_that_the_outermost_trusted_proxy_saw(
    proxies: int, forwarded: str, address: str, settings: Settings
) -> None:
    settings.TRUSTED_PROXY_COUNT = proxies
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    request = RequestFactory().get("/", headers=headers, REMOTE_ADDR="192.0.2.9")

    assert client_address(request) == address


def test_the_audit_names_that_address(cast: Cast, settings: Settings) -> None:
    settings.TRUSTED_PROXY_COUNT = 1
    visitor = Visitor(cast.ann)

    visitor.client.post(
        "/people/add/",
        {"name": "Nia", "email": "nia@example.com"},
        headers={"X-Forwarded-For": "198.51.100.7, 203.0.113.5"},
    )

    assert AuditEvent.objects.get(action="person.created").ip_address == "203.0.113.5"


@pytest.fixture
def shared() -> Iterator[SharedCache]:
    """Return the cache of the portal, with nothing of this test's in it."""
    cache = caches["default"]
    assert isinstance(cache, SharedCache)
    cache.delete("of-a-test")
    yield cache
    cache.delete("of-a-test")


def test_processes_share_what_they_count(shared: SharedCache) -> None:
    shared.set("of-a-test", [1, 2], 60)

    same = real_settings.CACHES["default"]
    other = SharedCache(str(same["LOCATION"]), dict(same))
    assert other.get("of-a-test") == [1, 2]
    assert redis.Redis.from_url(real_settings.REDIS_URL).get("purser-cache:1:of-a-test") == b"[1,2]"
    assert not other.add("of-a-test", [3], 60)
    assert other.touch("of-a-test", 60)
    assert other.delete("of-a-test")
    assert shared.get("of-a-test", "gone") == "gone"


def test_without_valkey_each_process_counts_alone(cast: Cast, settings: Settings) -> None:
    nowhere = {"LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = {"default": {**real_settings.CACHES["default"], **nowhere}}
    cast.ada.set_password("a password of the tests, 2026")
    cast.ada.save()
    client = Client(REMOTE_ADDR="192.0.2.77")

    for _ in range(5):
        client.post("/accounts/login/", {"login": cast.ada.email, "password": "wrong"})
    locked = client.post(
        "/accounts/login/", {"login": cast.ada.email, "password": "a password of the tests, 2026"}
    )

    assert "Too many" in Page(locked).words
    other = Client(REMOTE_ADDR="192.0.2.78")
    cast.ben.set_password("a password of the tests, 2026")
    cast.ben.save()
    signed_in = other.post(
        "/accounts/login/", {"login": cast.ben.email, "password": "a password of the tests, 2026"}
    )
    assert signed_in.status_code == 302
