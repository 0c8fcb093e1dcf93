"""The organisation and the catalogue over the API."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from catalog.models import LlmModel, Unit
from core import clock
from teams.models import Membership
from tests import factories
from tests.api.test_errors import problem
from tests.api.world import Caller
from tests.cast import Cast


def test_model_has_the_prices_in_force_now(ada: Caller, cast: Cast) -> None:
    factories.AliasFactory.create(name="large-latest", model=cast.large)
    model = ada.get(f"models/{cast.large.public_id}/").json()
    assert model["name"] == "large"
    assert model["aliases"] == ["large-latest"]
    assert model["tier"] == 2
    assert model["priced"] is True
    assert model["per_million_tokens"] == {
        "input_usd": "2.500000000000",
        "cached_usd": "2.500000000000",
        "output_usd": "10.000000000000",
    }


def test_model_without_a_price_says_so(ada: Caller, cast: Cast) -> None:
    model = factories.LlmModelFactory.create(tier=cast.tier1)
    shown = ada.get(f"models/{model.public_id}/").json()
    assert shown["priced"] is False
    assert shown["per_million_tokens"]["input_usd"] is None


def test_retired_model_is_gone_and_its_prices_stay(ada: Caller, cast: Cast) -> None:
    LlmModel.objects.filter(pk=cast.small.pk).update(retired_at=clock.now())
    problem(ada.get(f"models/{cast.small.public_id}/"), 404, "not_found")
    assert len(ada.get("prices/", model=cast.small.public_id).json()["results"]) == 2


def test_models_can_be_listed_by_tier(ada: Caller, cast: Cast) -> None:
    names = {model["name"] for model in ada.get("models/", tier=2).json()["results"]}
    assert names == {"large", "larger"}


def test_price_of_a_unit_keeps_its_fifteen_decimals(ada: Caller, cast: Cast) -> None:
    price = factories.PriceFactory.create(
        model=cast.small, unit=Unit.REQUEST, usd_per_unit=Decimal("0.000000000000123")
    )
    assert ada.get(f"prices/{price.public_id}/").json()["usd_per_unit"] == "0.000000000000123"


def test_project_says_who_owns_it_and_what_callers_send(ada: Caller, cast: Cast) -> None:
    project = ada.get(f"projects/{cast.ranking.public_id}/").json()
    assert project["code"] == "ranking"
    assert project["owner"] == {"id": cast.ben.public_id, "name": "Ben Okafor"}
    assert project["team"] == {"id": cast.search.public_id, "name": "Search", "code": "search"}


def test_person_is_known_by_name_and_address_alone(ben: Caller, cast: Cast) -> None:
    assert ben.get(f"people/{cast.ada.public_id}/").json() == {
        "id": cast.ada.public_id,
        "name": "Ada Moreno",
        "email": "ada@example.com",
        "active": True,
    }


def test_people_are_those_of_the_teams_that_one_sees(ada: Caller, ann: Caller, cast: Cast) -> None:
    def names(caller: Caller, **query: str) -> set[str]:
        return {person["name"] for person in caller.get("people/", **query).json()["results"]}

    assert names(ada) == {"Ada Moreno", "Ben Okafor"}
    assert names(ann, team=cast.cards.public_id) == {"Dan Fischer", "Eve Lind"}
    assert names(ada, team=cast.cards.public_id) == set()
    assert "Fay Tanaka" in names(ann)
    Membership.objects.filter(user=cast.ada).update(valid_until=clock.now())
    assert names(Caller(cast.ben)) == {"Ben Okafor"}
    assert names(ada) == {"Ada Moreno"}


def test_teams_and_projects_can_be_narrowed_down(ann: Caller, cast: Cast) -> None:
    teams = ann.get("teams/", department=cast.product.public_id).json()["results"]
    assert [team["name"] for team in teams] == ["Search"]
    projects = ann.get("projects/", team=cast.cards.public_id).json()["results"]
    assert [project["name"] for project in projects] == ["Fraud"]


def test_moments_are_in_utc(ada: Caller, cast: Cast) -> None:
    created = ada.get(f"projects/{cast.ranking.public_id}/").json()["created_at"]
    assert created.endswith("Z")
    assert abs(clock.now() - cast.ranking.created_at) < timedelta(hours=1)
