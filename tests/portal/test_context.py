"""The frame around every page: navigation by role, what waits, and headers that keep pages private."""

from __future__ import annotations

import pytest

from core import clock
from teams.models import User
from tests.browsing import Visitor, writes
from tests.cast import Cast
from tests.factories import AccessRequestFactory, DelegationFactory, policy_of

EVERYBODYS = ["/", "/models/", "/budgets/", "/blocked/", "/status/", "/search/"]
FOR_THE_BOOKS = ["/reconciliation/"]


@pytest.mark.parametrize(
    ("who", "sees"),
    [
        ("ada", False),
        ("ben", False),
        ("cleo", False),
        ("dan", False),
        ("fay", True),
        ("audrey", True),
        ("ann", True),
    ],
)
def test_navigation_offers_what_the_person_may_open(cast: Cast, who: str, sees: bool) -> None:
    visitor = Visitor(getattr(cast, who))

    links = visitor.get("/status/").links

    assert ("/reconciliation/" in links) == sees
    assert visitor.get("/reconciliation/").status == (200 if sees else 403)
    assert {"/", "/models/", "/approvals/", "/keys/", "/budgets/", "/blocked/", "/status/"} <= set(links)


def test_navigation_shows_an_engineer_no_business_of_others(cast: Cast) -> None:
    of_others = [
        *(
            "/teams/",
            "/people/",
            "/approvals/policies/",
            "/deliveries/",
            "/gateways/",
            "/webhooks/",
            "/reconciliation/",
        )
    ]

    def offered(person: User) -> list[str]:
        links = Visitor(person).get("/status/").links
        return [path for path in of_others if path in links]

    assert offered(cast.ada) == []
    assert offered(cast.ben) == ["/teams/", "/people/"]
    assert offered(cast.ann) == of_others
    assert "/audit/" in Visitor(cast.ada).get("/status/").links  # her own acts, in the menu of her account


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/", "Overview"),
        ("/models/", "Models and tiers"),
        ("/blocked/", "Blocked calls"),
        ("/status/", "Status"),
    ],
)
def test_navigation_marks_where_the_person_is(cast: Cast, path: str, label: str) -> None:
    html = Visitor(cast.ben).get(path).response.content.decode()

    [marked] = [part for part in html.split("<a ") if 'aria-current="page"' in part]
    assert label in marked


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/approvals/policies/", "Policies"),
        ("/approvals/policies/{}/edit/", "Policies"),
        ("/approvals/policies/{}/retire/", "Policies"),
        ("/approvals/break-glass/", "Ask for access"),
        ("/approvals/delegations/", "Approvals"),
        ("/providers/", "Sources"),
    ],
)
def test_page_within_another_section_marks_that_one(cast: Cast, path: str, label: str) -> None:
    rules = policy_of(cast.tier2).public_id

    html = Visitor(cast.ann).get(path.format(rules)).response.content.decode()

    [marked] = [part for part in html.split("<a ") if 'aria-current="page"' in part]
    assert label in marked


def test_badge_counts_what_the_person_may_decide(cast: Cast) -> None:
    AccessRequestFactory.create(requester=cast.ada, project=cast.ranking, tier=cast.tier2)
    AccessRequestFactory.create(requester=cast.ben, project=cast.ranking, tier=cast.tier2)

    waiting = {
        who: "1 waiting for you" in Visitor(getattr(cast, who)).get("/budgets/").words
        for who in ("ada", "ben", "cleo", "dan", "fay")
    }

    assert waiting == {"ada": False, "ben": True, "cleo": True, "dan": False, "fay": False}


@pytest.mark.parametrize("path", ["/budgets/", "/status/", "/"])
def test_badge_counts_what_a_delegate_without_a_role_may_decide(cast: Cast, path: str) -> None:
    AccessRequestFactory.create(requester=cast.ada, project=cast.ranking, tier=cast.tier2)
    lent = DelegationFactory.create(giver=cast.ben, taker=cast.dan, role="lead", team=cast.search)

    assert "1 waiting for you" in Visitor(cast.dan).get(path).words
    lent.valid_until = clock.now()
    lent.save()
    assert "1 waiting for you" not in Visitor(cast.dan).get(path).words


def test_whom_nothing_can_wait_for_costs_no_query_about_requests(cast: Cast) -> None:
    lent = DelegationFactory.create(giver=cast.ben, taker=cast.dan, role="lead", team=cast.search)
    of_a_delegate = Visitor(cast.dan).queries("/budgets/")
    lent.valid_until = clock.now()
    lent.save()

    of_nobody = Visitor(cast.dan).queries("/budgets/")

    asked = [[sql for sql in each if "approvals_" in sql] for each in (of_a_delegate, of_nobody)]
    assert len(of_a_delegate) - len(of_nobody) == 2
    assert len(asked[1]) == 1
    assert "UNION" in asked[1][0]  # with the roles, which every page reads


@pytest.mark.parametrize("path", [*EVERYBODYS, *FOR_THE_BOOKS])
def test_pages_are_kept_out_of_caches_and_run_no_foreign_code(cast: Cast, path: str) -> None:
    response = Visitor(cast.fay).get(path).response

    policy = response["Content-Security-Policy"]
    assert response["Cache-Control"] == "no-store"
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-" not in policy


@pytest.mark.parametrize("path", [*EVERYBODYS, *FOR_THE_BOOKS])
def test_who_is_not_signed_in_signs_in_first(cast: Cast, path: str) -> None:
    response = Visitor(None).get(path).response

    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/login/?next=")


@pytest.mark.parametrize("path", [*EVERYBODYS, *FOR_THE_BOOKS])
def test_reading_changes_nothing(cast: Cast, path: str) -> None:
    statements = Visitor(cast.fay).queries(path)

    assert writes(statements) == []


@pytest.mark.parametrize("path", [*EVERYBODYS, *FOR_THE_BOOKS])
def test_pages_that_only_show_take_no_form(cast: Cast, path: str) -> None:
    page = Visitor(cast.fay).post(path)

    assert page.status == 405
    assert page.response["Allow"] == "GET, HEAD"
    assert "Go back and use the button on the page." in page.words


def test_theme_comes_from_the_cookie(cast: Cast) -> None:
    visitor = Visitor(cast.ada)
    visitor.client.cookies["theme"] = "dark"
    assert b'data-theme="dark"' in visitor.get("/").response.content
    visitor.client.cookies["theme"] = '"><script>'
    assert b"data-theme=" not in visitor.get("/").response.content.split(b"<body>")[0]


def test_days_are_named_by_the_organisations_zone(cast: Cast, settings: object) -> None:
    settings.TIME_ZONE = "Europe/Berlin"  # type: ignore[attr-defined]

    page = Visitor(cast.ada).get("/budgets/")

    assert "Days are those of Europe/Berlin, times are UTC." in page.words
