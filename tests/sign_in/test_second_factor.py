"""Lead and above need a second factor; until there is one, nothing else opens."""

from __future__ import annotations

import re
import time
from datetime import timedelta

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import Client
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from approvals.services import end_delegation
from core import clock
from core.errors import NotAllowedError
from core.models import AuditEvent, Outbox
from teams import services
from teams.models import User
from teams.sealing import seal, unseal
from tests.approvals.conftest import lend
from tests.browsing import Page, Visitor
from tests.cast import Cast
from tests.signing import code_for, sign_in

PASSWORD = "a password of the tests, 2026"
SET_UP = "/accounts/2fa/?needed=yes"
FACTOR = "/accounts/2fa/authenticate/"


@pytest.fixture(autouse=True)
def required(settings: Settings) -> None:
    """Switch on what tests and demonstrations have switched off."""
    settings.MFA_REQUIRED = True
    # Attempts are counted for this test alone.
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    cache.clear()


def set_up_app(client: Client) -> str:
    """Scan the code and enter what the app shows; return the secret."""
    page = client.get("/accounts/2fa/totp/activate/").content.decode()
    found = re.search(r'id="authenticator_secret" type="text" value="([A-Z2-7]+)"', page)
    assert found, page
    answer = client.post("/accounts/2fa/totp/activate/", {"code": code_for(found[1])})
    assert answer.status_code == 302, Page(answer).words
    return found[1]


def with_password(user: User) -> User:
    """Give somebody a password."""
    user.set_password(PASSWORD)
    user.save()
    return user


@pytest.mark.parametrize("who", ["ben", "cleo", "fay", "audrey", "ann"])
@pytest.mark.parametrize("path", ["/", "/keys/", "/approvals/", "/search/?q=x"])
def test_who_holds_a_role_is_led_to_set_up_a_second_factor(who: str, path: str, cast: Cast) -> None:
    page = Visitor(getattr(cast, who)).get(path)

    assert (page.status, page.response["Location"]) == (302, SET_UP)


def test_the_page_it_leads_to_says_why(cast: Cast) -> None:
    page = Visitor(cast.ben).get(SET_UP)

    assert page.status == 200
    assert "Set up a second factor first" in page.words
    assert "/accounts/2fa/totp/activate/" in page.links


def test_engineers_need_none(cast: Cast) -> None:
    assert Visitor(cast.ada).get("/keys/").status == 200


def test_the_api_refuses_with_a_problem(cast: Cast) -> None:
    answer = Visitor(cast.ben).client.get("/api/v1/keys/")

    assert answer.status_code == 403
    assert answer.json()["code"] == "second_factor_missing"


def test_a_fragment_is_not_swapped_for_the_page(cast: Cast) -> None:
    page = Visitor(cast.ben).get("/approvals/", htmx_target="inbox")

    assert page.response["HX-Redirect"] == SET_UP


def test_a_role_that_has_ended_asks_for_nothing(cast: Cast) -> None:
    cast.ben.role_assignments.update(valid_until="2026-01-02T00:00:00Z")

    assert Visitor(cast.ben).get("/keys/").status == 200


@pytest.mark.parametrize(("days", "led"), [((-1, 6), True), ((-8, -1), False), ((1, 8), False)])
def test_whom_a_role_is_lent_needs_one_while_it_is(cast: Cast, days: tuple[int, int], led: bool) -> None:
    begins, ends = (clock.now() + timedelta(days=number) for number in days)
    lend(cast, "ben", "dan", valid_from=begins, valid_until=ends)

    page = Visitor(cast.dan).get("/approvals/")

    assert page.response.get("Location") == (SET_UP if led else None)
    assert Visitor(cast.dan).client.get("/api/v1/requests/").status_code == (403 if led else 200)


def test_the_last_factor_stays_while_a_role_is_lent(cast: Cast) -> None:
    lent = lend(cast, "ben", "dan")
    client = Client()
    sign_in(client, cast.dan)
    set_up_app(client)
    assert client.get("/approvals/").status_code == 200

    assert "Whoever decides needs" in Page(client.post("/accounts/2fa/totp/deactivate/")).words
    end_delegation(actor=cast.ben, delegation=lent)
    client.post("/accounts/2fa/totp/deactivate/")

    assert not Authenticator.objects.filter(user=cast.dan).exists()


def test_an_app_opens_the_house_and_signs_in_the_next_time(cast: Cast) -> None:
    ben = with_password(cast.ben)
    with time_machine.travel("2026-11-24T12:00:00Z", tick=False) as clock:
        first = Client()
        sign_in(first, ben)
        secret = set_up_app(first)
        assert first.get("/keys/").status_code == 200

        second = Client()
        answer = second.post("/accounts/login/", {"login": ben.email, "password": PASSWORD})
        assert answer["Location"] == FACTOR
        assert second.get("/keys/").status_code == 302
        assert "is not right" in Page(second.post(FACTOR, {"code": "000000"})).words
        assert second.post(FACTOR, {"code": code_for(secret)}).status_code == 302
        assert second.get("/keys/").status_code == 200

        third = Client()
        third.post("/accounts/login/", {"login": ben.email, "password": PASSWORD})
        seen_over_the_shoulder = code_for(secret)
        assert third.post(FACTOR, {"code": seen_over_the_shoulder}).status_code == 200
        clock.shift(30)
        assert third.post(FACTOR, {"code": seen_over_the_shoulder}).status_code == 200
        assert third.post(FACTOR, {"code": code_for(secret)}).status_code == 302


def test_each_recovery_code_signs_in_once(cast: Cast) -> None:
    ben = with_password(cast.ben)
    owner = Client()
    sign_in(owner, ben)
    set_up_app(owner)
    codes = owner.get("/accounts/2fa/recovery-codes/download/").content.decode().split()
    code = codes[-1]

    answers = []
    for _ in range(2):
        visitor = Client()
        visitor.post("/accounts/login/", {"login": ben.email, "password": PASSWORD})
        answers.append(visitor.post(FACTOR, {"code": code}).status_code)

    assert answers == [302, 200]


def test_the_last_factor_stays_while_the_role_needs_one(cast: Cast) -> None:
    client = Client()
    sign_in(client, cast.ben)
    set_up_app(client)

    page = Page(client.post("/accounts/2fa/totp/deactivate/"))

    assert "Whoever decides needs a second factor" in page.words
    assert Authenticator.objects.filter(user=cast.ben, type=Authenticator.Type.TOTP).exists()


def test_who_holds_no_role_may_remove_it(cast: Cast) -> None:
    client = Client()
    sign_in(client, cast.ada)
    set_up_app(client)

    client.post("/accounts/2fa/totp/deactivate/")

    assert not Authenticator.objects.filter(user=cast.ada).exists()


def test_a_factor_that_came_is_recorded_and_told(
    cast: Cast, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    client = Client()
    sign_in(client, cast.ada)
    with django_capture_on_commit_callbacks(execute=True):
        set_up_app(client)

    event = AuditEvent.objects.get(action="person.second_factor_added")
    assert (event.actor_id, event.object_id) == (cast.ada.pk, cast.ada.public_id)
    mail = Outbox.objects.get(topic="person.sign_in_changed", payload__subject__startswith="An authenticator")
    assert mail.recipient == cast.ada.email


def test_the_database_holds_no_secret_of_an_app_nor_of_recovery_codes(cast: Cast) -> None:
    client = Client()
    sign_in(client, cast.ada)
    secret = set_up_app(client)
    code = client.get("/accounts/2fa/recovery-codes/download/").content.decode().split()[-1]

    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(data::text, ' ') FROM mfa_authenticator")
        stored = cursor.fetchone()[0]

    assert secret not in stored
    assert code not in stored


def test_sealed_text_is_opened_by_an_older_pepper(settings: Settings) -> None:
    settings.KEY_PEPPERS = {1: b"1" * 32}
    old = seal("secret")
    settings.KEY_PEPPERS = {1: b"1" * 32, 2: b"2" * 32}
    assert unseal(old) == "secret"
    assert seal("secret").startswith("2:")
    settings.KEY_PEPPERS = {2: b"2" * 32}
    with pytest.raises(ValueError, match="no longer names"):
        unseal(old)


def test_an_old_sign_in_confirms_before_it_changes_a_factor(cast: Cast) -> None:
    with_password(cast.ada)
    client = Client()
    sign_in(client, cast.ada)
    session = client.session
    session["account_authentication_methods"] = [{"method": "password", "at": time.time() - 400}]
    session.save()

    assert client.get("/accounts/2fa/totp/activate/")["Location"].startswith("/accounts/reauthenticate/")


def test_five_wrong_passwords_lock_the_address_and_a_right_one_does_not_help(cast: Cast) -> None:
    ada = with_password(cast.ada)
    client = Client()
    for _ in range(5):
        client.post("/accounts/login/", {"login": ada.email, "password": "wrong"})

    answer = client.post("/accounts/login/", {"login": ada.email, "password": PASSWORD})

    assert answer.status_code == 200
    assert "Too many" in Page(answer).words
    assert client.get("/keys/").status_code == 302


def test_one_address_may_not_try_many_accounts(cast: Cast) -> None:
    client = Client()
    answers = [
        client.post("/accounts/login/", {"login": f"person{number}@example.com", "password": "wrong"})
        for number in range(12)
    ]

    assert "Too many" in Page(answers[-1]).words


def test_an_administrator_resets_what_somebody_lost(cast: Cast, settings: Settings) -> None:
    ben = with_password(cast.ben)
    browser = Client()
    sign_in(browser, ben)
    set_up_app(browser)
    ann = Client()
    sign_in(ann, cast.ann, method="mfa")
    path = f"/people/{ben.public_id}/factors/"
    assert path in Page(ann.get(f"/people/{ben.public_id}/")).links

    assert ann.post(path, {"reason": "His phone is in the lake."}).status_code == 302

    assert not Authenticator.objects.filter(user=ben).exists()
    again = Client()
    assert again.post("/accounts/login/", {"login": ben.email, "password": PASSWORD}).status_code == 302
    assert again.get("/keys/")["Location"] == SET_UP
    assert AuditEvent.objects.get(action="person.factors_reset").reason == "His phone is in the lake."
    assert Outbox.objects.filter(payload__subject__startswith="Your second factor was reset").exists()
    assert ann.post(path, {"reason": "Again."}).status_code == 422


def test_nobody_but_an_administrator_resets_and_nobody_his_own(cast: Cast) -> None:
    for actor, user in ((cast.cleo, cast.ben), (cast.ann, cast.ann)):
        with pytest.raises(NotAllowedError):
            services.reset_factors(actor=actor, user=user, reason="His phone is in the lake.")


def test_a_factor_whose_end_cannot_be_recorded_stays(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Visitor(cast.ada).client
    set_up_app(client)

    def gone(**values: object) -> None:
        raise OperationalError("the audit is away")

    monkeypatch.setattr(services, "record_sign_in_change", gone)
    answer = client.post("/accounts/2fa/totp/deactivate/")

    assert answer.status_code >= 500
    assert Authenticator.objects.filter(user=cast.ada, type=Authenticator.Type.TOTP).exists()


def test_a_new_app_that_cannot_be_recorded_was_never_set_up(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Visitor(cast.ada).client

    def gone(**values: object) -> None:
        raise OperationalError("the audit is away")

    monkeypatch.setattr(services, "record_sign_in_change", gone)
    page = client.get("/accounts/2fa/totp/activate/").content.decode()
    found = re.search(r'id="authenticator_secret" type="text" value="([A-Z2-7]+)"', page)
    assert found
    answer = client.post("/accounts/2fa/totp/activate/", {"code": code_for(found[1])})

    assert answer.status_code >= 500
    assert not Authenticator.objects.filter(user=cast.ada).exists()


def test_new_recovery_codes_that_cannot_be_recorded_leave_the_old_ones(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Visitor(cast.ada).client
    set_up_app(client)
    before = list(Authenticator.objects.filter(user=cast.ada).values())

    def gone(**values: object) -> None:
        raise OperationalError("the audit is away")

    monkeypatch.setattr(services, "record_sign_in_change", gone)
    answer = client.post("/accounts/2fa/recovery-codes/generate/")

    assert answer.status_code >= 500
    assert list(Authenticator.objects.filter(user=cast.ada).values()) == before


def test_new_app_and_codes_are_recorded_in_their_own_transaction(cast: Cast) -> None:
    """Nothing is left for after the commit, which a test never reaches."""
    client = Visitor(cast.ada).client
    set_up_app(client)
    assert client.post("/accounts/2fa/recovery-codes/generate/").status_code == 302
    events = AuditEvent.objects.filter(actor_id=cast.ada.pk, action__startswith="person.").order_by("pk")
    assert [event.after["change"] for event in events] == ["totp_activated", "recovery_codes_generated"]
