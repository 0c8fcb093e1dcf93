"""Sign-in at a real OpenID Connect provider: who gets in, and which roles follow the groups."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from allauth.socialaccount.models import SocialAccount
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from core.models import AuditEvent
from portal.settings import _directory_roles
from teams import services
from teams.adapter import groups_of
from teams.models import Role, RoleAssignment, RoleSource, User
from tests.browsing import Page
from tests.cast import Cast
from tests.gateways.servers import Server, free_port
from tests.signing import LONG_AGO, sign_in

ROLES = "Search leads=lead:search; Product heads=director:product; Accountants=finance; Accountants=auditor"


@dataclass
class Provider:
    """The provider's process, and what it tells of people."""

    server: Server

    def tell(self, subject: str, **claims: Any) -> None:
        """Let it tell this of a person from now on."""
        told = httpx.put(f"{self.server.url}/users/{subject}", json=claims, trust_env=False)
        assert told.status_code == 204, told.text

    def agree(self, url: str, subject: str) -> str:
        """Sign in as the person on the provider's page, and return where the browser is sent."""
        answer = httpx.post(url, data={"sub": subject}, trust_env=False)
        assert answer.status_code == 302, answer.text
        return answer.headers["Location"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """When the provider says that it asked the person, and whether that confirms who he is."""

    seconds_ago: int | None
    confirms: bool
    says_when: bool = True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the provider."""
    port = free_port()
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port)]
    log = tmp_path_factory.mktemp("provider") / "provider.log"
    running = Server(command, port=port, health="/.well-known/openid-configuration", environment={}, log=log)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def provider(server: Server, settings: Settings) -> Provider:
    """Tell the portal of the provider."""
    settings.OIDC_ISSUER = server.url
    settings.DIRECTORY_ROLES = _directory_roles(ROLES)
    app = {
        "provider_id": "company",
        "name": "Northwind account",
        "client_id": "purser",
        "secret": "of the tests",
        "settings": {
            "server_url": server.url,
            "scope": ["openid", "profile", "email"],
            "verified_email": False,
        },
    }
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": [app]}}
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    cache.clear()
    return Provider(server)


def come_in(
    provider: Provider, subject: str, client: Client | None = None, **query: str
) -> tuple[Client, Page]:
    """Follow the link of the sign-in page to the provider and back."""
    browser = client or Client()
    away = browser.get(reverse("openid_connect_login", args=["company"]), {"process": "login", **query})
    assert away.status_code == 302
    back = provider.agree(away["Location"], subject)
    return browser, Page(browser.get(back.partition("testserver")[2]))


def roles_of(user: User) -> set[tuple[str, str]]:
    """Return the roles that a person holds now, with their source."""
    return set(RoleAssignment.objects.live().filter(user=user).values_list("role", "source"))


def test_the_sign_in_page_leads_to_the_provider(provider: Provider, db: None) -> None:
    page = Page(Client().get("/accounts/login/"))

    assert "Sign in with Northwind account" in page.words
    assert any(link.startswith("/accounts/oidc/company/login/") for link in page.links)


def test_no_provider_no_button(db: None) -> None:
    assert "Sign in with Northwind" not in Page(Client().get("/accounts/login/")).words


def test_a_person_is_found_by_his_verified_address(provider: Provider, cast: Cast) -> None:
    provider.tell("sub-ada", email="Ada@Example.com", email_verified=True, name="Ada Moreno")

    browser, page = come_in(provider, "sub-ada")

    assert page.status == 302
    assert browser.get("/keys/").context["user"] == cast.ada
    assert SocialAccount.objects.get().user_id == cast.ada.pk


def test_an_address_that_nobody_verified_is_not_let_into_the_account(provider: Provider, cast: Cast) -> None:
    provider.tell("sub-mallory", email="ben@example.com", email_verified=False, name="Mallory")

    browser, page = come_in(provider, "sub-mallory")

    assert "Accounts are made by an administrator" in page.words
    assert browser.get("/keys/").status_code == 302
    assert not SocialAccount.objects.exists()


def test_somebody_new_gets_an_account_that_sees_nothing(provider: Provider, cast: Cast) -> None:
    provider.tell("sub-nia", email="nia@example.com", email_verified=True, name="Nia Obi")

    browser, _ = come_in(provider, "sub-nia")

    nia = User.objects.get(email="nia@example.com")
    assert (nia.name, nia.has_usable_password(), roles_of(nia)) == ("Nia Obi", False, set())
    assert browser.get("/keys/").status_code == 200
    assert browser.get("/budgets/").status_code == 200
    assert AuditEvent.objects.get(action="person.created").actor_label == "purser"


def test_nobody_new_comes_in_where_that_is_switched_off(
    provider: Provider, cast: Cast, settings: Settings
) -> None:
    settings.OIDC_CREATES_PEOPLE = False
    provider.tell("sub-nia", email="nia@example.com", email_verified=True, name="Nia Obi")

    _, page = come_in(provider, "sub-nia")

    assert "Accounts are made by an administrator" in page.words
    assert not User.objects.filter(email="nia@example.com").exists()


def test_who_has_left_stays_out(provider: Provider, cast: Cast) -> None:
    provider.tell("sub-ada", email="ada@example.com", email_verified=True, groups=["Search leads"])
    services.deactivate_person(actor=cast.ann, user=cast.ada, reason="Left in May.", endings=())

    browser, _ = come_in(provider, "sub-ada")

    assert browser.get("/keys/").status_code == 302
    assert roles_of(cast.ada) == set()


def test_roles_come_with_the_groups_and_end_with_them(provider: Provider, cast: Cast) -> None:
    provider.tell(
        "sub-ada",
        email="ada@example.com",
        email_verified=True,
        groups=["Search leads", "Accountants", "All staff"],
    )
    come_in(provider, "sub-ada")
    assert roles_of(cast.ada) == {("lead", "sign_in"), ("finance", "sign_in"), ("auditor", "sign_in")}

    provider.tell("sub-ada", email="ada@example.com", email_verified=True, groups=["Accountants"])
    come_in(provider, "sub-ada")
    assert roles_of(cast.ada) == {("finance", "sign_in"), ("auditor", "sign_in")}

    provider.tell("sub-ada", email="ada@example.com", email_verified=True)
    come_in(provider, "sub-ada")
    assert roles_of(cast.ada) == set()
    ended = AuditEvent.objects.filter(action="role.ended")
    assert ended.count() == 3
    assert {event.reason for event in ended} == {"No longer in its group of the identity provider."}
    assert set(ended.values_list("actor_label", flat=True)) == {"purser"}


def test_what_was_given_here_outlives_the_groups(provider: Provider, cast: Cast) -> None:
    provider.tell("sub-ben", email="ben@example.com", email_verified=True, groups=["Accountants"])
    come_in(provider, "sub-ben")
    provider.tell("sub-ben", email="ben@example.com", email_verified=True, groups=[])

    come_in(provider, "sub-ben")

    assert roles_of(cast.ben) == {("lead", "portal")}


def test_signing_in_again_gives_nothing_twice(provider: Provider, cast: Cast) -> None:
    provider.tell("sub-ada", email="ada@example.com", email_verified=True, groups=["Search leads"])
    come_in(provider, "sub-ada")
    come_in(provider, "sub-ada")

    assert RoleAssignment.objects.filter(user=cast.ada).count() == 1
    assert AuditEvent.objects.filter(action="role.assigned").count() == 1


def test_a_group_for_a_team_that_is_not_there_stands_for_nothing(cast: Cast, settings: Settings) -> None:
    settings.DIRECTORY_ROLES = _directory_roles("Ghosts=lead:no-such-team")

    services.follow_groups(user=cast.ada, source=RoleSource.SIGN_IN, groups=["Ghosts"])

    assert roles_of(cast.ada) == set()


def test_more_groups_than_a_token_holds_change_no_role() -> None:
    assert groups_of({"id_token": {"_claim_names": {"groups": "src1"}}, "userinfo": {}}) is None
    assert groups_of({"id_token": {}, "userinfo": {"groups": ["a", "b"]}}) == ["a", "b"]
    assert groups_of({"id_token": {"groups": "a"}}) == ["a"]
    assert groups_of({}) == []


def test_roles_of_groups_are_read_or_refused() -> None:
    assert _directory_roles(ROLES) == {
        "Search leads": (("lead", "search"),),
        "Product heads": (("director", "product"),),
        "Accountants": (("finance", ""), ("auditor", "")),
    }
    for wrong in ("Search leads", "x=lead", "x=finance:cc", "x=king", "=admin"):
        with pytest.raises(Exception, match="DIRECTORY_ROLES"):
            _directory_roles(wrong)


def test_every_role_can_be_declared() -> None:
    declared = {"lead:x", "director:x", "finance", "auditor", "admin"}
    read = {role for each in declared for ((role, _),) in [_directory_roles(f"g={each}")["g"]]}
    assert read == set(Role.values)


@pytest.mark.parametrize(
    "case",
    [
        Told(seconds_ago=0, confirms=True),
        Told(seconds_ago=600, confirms=False),
        Told(seconds_ago=None, confirms=False),
        Told(seconds_ago=None, says_when=False, confirms=True),
    ],
)
def test_who_has_no_password_confirms_at_the_provider(
    case: Told, provider: Provider, cast: Cast, settings: Settings
) -> None:
    settings.OIDC_SAYS_WHEN = case.says_when
    cast.ben.set_unusable_password()
    cast.ben.save()
    when = {"auth_time": None if case.seconds_ago is None else int(time.time()) - case.seconds_ago}
    provider.tell("sub-ben", email="ben@example.com", email_verified=True, **when)
    browser, _ = come_in(provider, "sub-ben")
    sign_in(browser, cast.ben, ago=LONG_AGO, method="socialaccount")

    asked = browser.get("/budgets/?format=csv")
    assert asked["Location"].startswith("/accounts/confirm/?next=")
    way = browser.get(asked["Location"])["Location"]
    away = browser.get(way)["Location"]
    assert "prompt=login" in away
    assert "max_age=0" in away
    back = browser.get(provider.agree(away, "sub-ben").partition("testserver")[2])

    assert back["Location"] == "/budgets/?format=csv"
    answer = browser.get("/budgets/?format=csv")
    assert answer.headers["Content-Type"].startswith("text/csv") == case.confirms
    assert answer.status_code == (200 if case.confirms else 302)


@pytest.mark.parametrize(("trusted", "status"), [(True, 200), (False, 302)])
def test_the_providers_second_factor_counts_where_it_is_declared(
    trusted: bool, status: int, provider: Provider, cast: Cast, settings: Settings
) -> None:
    settings.MFA_REQUIRED, settings.OIDC_PROVIDES_MFA = True, trusted
    provider.tell("sub-ben", email="ben@example.com", email_verified=True)

    browser, _ = come_in(provider, "sub-ben")

    assert browser.get("/keys/").status_code == status
