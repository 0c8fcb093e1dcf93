"""Search finds projects, keys, people and requests, and only within what the person may see."""

from __future__ import annotations

import pytest

from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import AccessRequestFactory, ApiKeyFactory, ProjectFactory, UserFactory, revealed


@pytest.fixture
def world(cast: Cast) -> Cast:
    """Ada has a key and a request; so has dan, of the other team."""
    for person, project in ((cast.ada, cast.ranking), (cast.dan, cast.fraud)):
        key = ApiKeyFactory.create(name=f"nightly {project.code}", owner=person, project=project)
        revealed(key)
        AccessRequestFactory.create(requester=person, project=project, tier=cast.tier2)
    return cast


def found(world: Cast, who: str, query: str) -> str:
    """Return the words of the results."""
    return Visitor(getattr(world, who)).get("/search/", q=query).words.partition("is searched.")[2]


def test_project_is_found_by_name_and_code(world: Cast) -> None:
    for query in ("rankin", "RANKING", world.ranking.public_id):
        page = Visitor(world.ada).get("/search/", q=query)
        assert "Ranking ranking, team Search" in page.words
        assert f"/?scope={world.ranking.public_id}" in page.links


def test_key_is_found_by_name_owner_and_last_characters(world: Cast) -> None:
    key = world.ada.api_keys.get()

    for query in ("nightly", "ada@example", key.last4, key.masked, key.public_id):
        assert f"nightly ranking {key.masked}, Ada Moreno, Ranking, live" in found(world, "ben", query)


def test_person_is_found_by_name_and_address(world: Cast) -> None:
    for query in ("moreno", "ada@"):
        assert "Ada Moreno ada@example.com, team Search" in found(world, "ben", query)


def test_request_is_found_by_its_id_project_and_requester(world: Cast) -> None:
    asked = world.ada.requests.get()

    for query in (asked.public_id, "ranking", "moreno"):
        page = Visitor(world.ben).get("/search/", q=query)
        assert "Tier 2 for Ranking Ada Moreno, waiting" in page.words
        assert f"/approvals/{asked.public_id}/" in page.links


@pytest.mark.parametrize("query", ["ranking", "nightly ranking", "moreno", "ada@example.com"])
def test_other_teams_are_not_found(world: Cast, query: str) -> None:
    for who in ("dan", "eve", "olga"):
        assert found(world, who, query).startswith(f" Nothing found for “{query}”")


def test_who_sees_everything_finds_everything(world: Cast) -> None:
    for who in ("fay", "audrey", "ann"):
        assert "nightly ranking" in found(world, who, "nightly")
        assert "nightly fraud" in found(world, who, "nightly")


def test_member_finds_no_key_and_no_request_of_a_colleague(world: Cast) -> None:
    colleague = UserFactory.create(name="Ivo Kern")
    colleague.memberships.create(team=world.search, valid_from=colleague.date_joined)

    page = Visitor(colleague).get("/search/", q="ada")

    assert "Ada Moreno" in page.words
    assert "nightly" not in page.words
    assert "Tier 2 for Ranking" not in page.words


def test_person_of_two_teams_leads_to_the_one_that_both_know(world: Cast) -> None:
    world.ada.memberships.create(team=world.cards, valid_from=world.ada.date_joined)

    page = Visitor(world.ben).get("/search/", q="moreno")

    assert "Ada Moreno ada@example.com, team Search" in page.words
    assert "Cards" not in page.words


@pytest.mark.parametrize("query", ["", "   ", "\0", "%", "_", "'; --", "x" * 5_000, "🦜"])
def test_odd_input_is_answered(world: Cast, query: str) -> None:
    assert Visitor(world.ada).get("/search/", q=query).status == 200


def test_words_of_the_query_are_shown_as_text(world: Cast) -> None:
    page = Visitor(world.ada).get("/search/", q="<script>alert(1)</script>")

    assert b"<script>alert" not in page.response.content
    assert "Nothing found for" in page.words


def test_search_asks_as_often_for_fifty_hits_as_for_five(world: Cast) -> None:
    def grow(number: int) -> None:
        for _ in range(number):
            project = ProjectFactory.create(team=world.search)
            ApiKeyFactory.create(name="alike", owner=world.ada, project=project)
            AccessRequestFactory.create(requester=world.ada, project=project, tier=world.tier2)

    grow(5)
    few = Visitor(world.ben).queries("/search/", q="a")
    grow(45)
    many = Visitor(world.ben).queries("/search/", q="a")

    assert len(few) == len(many) <= 8
