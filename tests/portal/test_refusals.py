"""What a person reads when no page answers: said plainly, without the frame for who is not signed in."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import OperationalError
from django.test import Client

from portal.refusals import TOO_MANY_RETRY_AFTER_SECONDS
from tests.browsing import Page, Visitor
from tests.cast import Cast

NAVIGATION = "Models and tiers"


def test_address_that_is_not_there(cast: Cast) -> None:
    for who in (cast.ada, None):
        page = Visitor(who).get("/nowhere/")
        assert page.status == 404
        assert "Page not found" in page.words
        assert NAVIGATION not in page.words


def test_refusal_of_the_domain_keeps_the_frame_for_who_is_signed_in(cast: Cast) -> None:
    page = Visitor(cast.ada).get("/budgets/bdg_unknown/")

    assert page.status == 404
    assert "There is no such budget, or it is not one of yours or of your teams." in page.words
    assert "Code not_found, status 404." in page.words
    assert NAVIGATION in page.words


def test_refusal_of_the_domain_shows_no_frame_to_who_is_not_signed_in(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.errors import GoneError  # noqa: PLC0415
    from portal import health  # noqa: PLC0415

    def gone() -> list[health.Check]:
        raise GoneError("This has ended. Ask an administrator.")

    monkeypatch.setattr(health, "checks", gone)

    page = Visitor(None).get("/readyz")

    assert page.status == 410
    assert "This has ended. Ask an administrator." in page.words
    assert NAVIGATION not in page.words


def test_wrong_method_says_that_nothing_changed_and_keeps_allow(cast: Cast) -> None:
    page = Visitor(cast.ada).get("/theme/")

    assert page.status == 405
    assert page.response["Allow"] == "POST"
    assert page.response["Cache-Control"] == "no-store"
    assert "Nothing was changed." in page.words


def test_wrong_method_of_a_program_gets_no_page(cast: Cast) -> None:
    response = Visitor(cast.ada).client.put("/api/v1/tiers/", {}, content_type="application/json")

    assert response.status_code == 405
    assert response["Content-Type"] == "application/problem+json"


def test_form_without_its_token_is_refused(cast: Cast) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.ada)

    page = Page(client.post("/theme/", {"theme": "dark"}))

    assert page.status == 403
    assert "the form was open for too long" in page.words
    assert "theme" not in page.response.cookies


def test_too_many_sign_ins_are_slowed_down(cast: Cast, settings: object) -> None:
    settings.ACCOUNT_RATE_LIMITS = {"login": "1/m/ip"}  # type: ignore[attr-defined]
    cache.clear()
    visitor = Visitor(None)
    entered = {"login": "ada@example.com", "password": "wrong"}

    pages = [visitor.post("/accounts/login/", **entered) for _ in range(2)]
    cache.clear()

    assert [page.status for page in pages] == [200, 429]
    assert "Wait 5 minutes, then try again." in pages[1].words
    assert pages[1].response["Retry-After"] == "300"


def test_who_was_slowed_down_waits_as_long_as_the_longest_limit_lasts() -> None:
    units = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
    lasts = [
        int(time[:-1] or 1) * units[time[-1]]
        for rates in settings.ACCOUNT_RATE_LIMITS.values()
        for _, time, _ in (rate.split("/") for rate in rates.split(","))
    ]

    assert max(lasts) == TOO_MANY_RETRY_AFTER_SECONDS


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (OperationalError("the connection is lost"), 503, "Purser is not available right now"),
        (ZeroDivisionError("a bug"), 500, "Something went wrong here"),
    ],
)
def test_failure_is_said_without_its_details(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, words: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("portal.home.overview.scopes.choose", fail)
    visitor = Visitor(cast.ada)
    visitor.client.cookies["theme"] = "dark"

    page = visitor.get("/")

    assert page.status == status
    assert words in page.words
    assert str(error) not in page.words
    assert page.response["Cache-Control"] == "no-store"
    assert page.response.get("Retry-After") == ("10" if status == 503 else None)
    assert b'data-theme="dark"' in page.response.content
    assert (page.response["X-Request-Id"] in page.words) == (status == 500)
    assert "Nothing that was saved before is lost" in page.words


def test_lost_database_is_a_503_before_anybody_is_known(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = Visitor(cast.ada)

    def fail(*_: object, **__: object) -> None:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr("django.contrib.sessions.backends.db.SessionStore.load", fail)

    assert visitor.get("/").status == 503
