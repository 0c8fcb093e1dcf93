"""What administrators do about prices over the API: the list, what nobody priced, and pricing again."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from budgets.models import Entry
from catalog import importer
from catalog.models import LlmModel, Price, PriceProposal, ProposalState
from core import clock
from core.models import AuditEvent
from tests import factories
from tests.api.acts import WHY, proposed_repricing, unpriced, wrong_days
from tests.api.test_errors import problem
from tests.api.world import Caller, World
from tests.catalog.test_import_prices import listed
from tests.catalog.test_price_review import OFFERED
from usage.models import Repricing
from usage.selectors.periods import organisation_today

LIST, UNPRICED, REPRICINGS = "price-list/", "unpriced-models/", "repricings/"


@pytest.fixture
def dearer(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Install a list with `tested`, which is new, and `mystery` at twice its price."""
    costs = {"tested": "1.10", "mystery": "5.00"}

    def published(provider: str, name: str) -> list[importer.Published]:
        usd = costs.get(name)
        return list(listed((importer.SINCE, usd))(provider, "tested")) if usd else []

    monkeypatch.setattr("catalog.services.importing.listings", lambda: OFFERED)
    monkeypatch.setattr("catalog.services.importing.published_prices", published)
    model = factories.LlmModelFactory.create(name="mystery", provider_model="mystery")
    factories.PriceFactory.create(model=model, source="genai-prices", usd_per_unit=Decimal("0.0000025"))


@pytest.mark.usefixtures("dearer")
def test_the_list_says_before_what_it_would_do_and_writes_nothing(ann: Caller) -> None:
    before = Price.objects.count()

    shown = ann.get(LIST).json()

    assert shown["added_models"] == ["tested"]
    assert {move["model"] for move in shown["at_once"]} == {"tested"}
    assert {move["model"] for move in shown["to_approve"]} == {"mystery"}
    assert shown["proposal"] is None
    assert Price.objects.count() == before
    assert not PriceProposal.objects.exists()
    assert not LlmModel.objects.filter(name="tested").exists()


@pytest.mark.usefixtures("dearer")
def test_the_list_is_followed_and_what_moves_far_waits_for_somebody_else(ann: Caller) -> None:
    done = ann.post(LIST).json()

    assert Price.objects.filter(model__name="tested").exists()
    waiting = PriceProposal.objects.get(state=ProposalState.WAITING)
    assert done["proposal"]["id"] == waiting.public_id
    assert done["proposal"]["needs_second"] is True
    assert done["proposal"]["moves"] == done["to_approve"]
    problem(ann.post(f"price-proposals/{waiting.public_id}/approve/"), 403, "not_allowed")
    again = ann.post(LIST).json()
    assert again["at_once"] == []
    assert again["proposal"]["id"] == waiting.public_id


def test_only_administrators_are_told_what_the_list_would_do(ada: Caller, ann: Caller) -> None:
    assert "administrator" in problem(ada.get(LIST), 403, "role_needed")["detail"]
    problem(ann.post(LIST, {"accept": True}), 400, "invalid_request")


def test_what_nobody_priced_is_listed_with_the_calls_refused(ann: Caller, world: World) -> None:
    model = unpriced(world)
    factories.UnpricedCallFactory.create(model=model, calls=40)
    never = factories.LlmModelFactory.create(name="never-called", tier=world.cast.tier1)

    first, second = ann.get(UNPRICED).json()["results"]

    assert (first["id"], first["refused_calls"], first["last_refused_at"]) == (never.public_id, 0, None)
    assert (second["name"], second["refused_calls"], second["tier"]) == ("mystery", 40, 2)
    assert second["first_refused_at"].endswith("Z")


def test_a_price_is_in_force_at_once_and_takes_the_model_off_the_list(ann: Caller, world: World) -> None:
    path = f"models/{unpriced(world).public_id}/prices/"

    shown = ann.post(path, {"input": "0.000001", "output": "0.000002", "reason": WHY}).json()

    assert shown["priced"] is True
    assert shown["per_million_tokens"]["input_usd"] == "1.000000000000"
    assert ann.get(UNPRICED).json()["results"] == []
    assert AuditEvent.objects.get(action="prices.entered").reason == WHY
    problem(ann.post(path, {"input": "0.000001", "reason": WHY}), 409, "already_priced")


@pytest.mark.parametrize(
    ("prices", "field"),
    [
        ({"input": "0.000001"}, "output"),
        ({"input": "0.000001", "output": "0.000002", "second": "1"}, "second"),
        ({"input": "10001", "output": "1"}, "input"),
        ({"input": "0", "output": "0"}, "input"),
    ],
)
def test_a_price_that_cannot_be_names_its_unit(
    ann: Caller, world: World, prices: dict[str, str], field: str
) -> None:
    path = f"models/{unpriced(world).public_id}/prices/"
    assert list(problem(ann.post(path, {**prices, "reason": WHY}), 422, "invalid_input")["errors"]) == [field]
    assert not Price.objects.filter(model=unpriced(world)).exists()


def test_a_model_is_declared_free_with_a_reason(ann: Caller, world: World) -> None:
    path = f"models/{unpriced(world).public_id}/declare-free/"

    problem(ann.post(path, {"reason": " "}), 422, "invalid_input")
    shown = ann.post(path, {"reason": "It runs in our own house."}).json()

    assert (shown["free"], shown["priced"]) == (True, False)
    assert ann.get(UNPRICED).json()["results"] == []
    problem(ann.post(path, {"reason": WHY}), 409, "already_priced")


def test_a_repricing_shows_its_figures_and_waits_for_somebody_else(ann: Caller, world: World) -> None:
    made = ann.post(REPRICINGS, wrong_days(world))

    shown = made.json()
    assert made["Location"].endswith(f"/api/v1/repricings/{shown['id']}/")
    assert (shown["state"], shown["calls"], shown["old_usd"]) == ("waiting", 1, "1.000000000000")
    assert shown["teams"] == [
        {
            "team": "Search",
            "calls": 1,
            "old_usd": "1.000000000000",
            "new_usd": "0.000025000000",
            "difference_usd": "-0.999975000000",
        }
    ]
    assert shown["difference_usd"] == "-0.999975000000"
    assert not Entry.objects.exists()
    problem(ann.post(f"{REPRICINGS}{shown['id']}/approve/"), 403, "not_allowed")
    problem(ann.post(REPRICINGS, wrong_days_again(world)), 409, "already_done")


def wrong_days_again(world: World) -> dict[str, str]:
    today = organisation_today().isoformat()
    return {"model": world.cast.large.public_id, "first_day": today, "last_day": "9999-12-31", "reason": WHY}


def test_an_approved_repricing_says_how_far_it_is(ann: Caller, world: World) -> None:
    waits = proposed_repricing(world)

    approved = ann.post(f"{REPRICINGS}{waits.public_id}/approve/").json()

    assert (approved["state"], approved["decided_by"]["name"]) == ("running", "Ann Keller")
    assert (approved["booked_calls"], approved["done_at"]) == (0, None)
    problem(ann.post(f"{REPRICINGS}{waits.public_id}/reject/", {"reason": WHY}), 409, "already_done")


def test_what_changed_since_is_not_approved(ann: Caller, world: World) -> None:
    waits = proposed_repricing(world)
    Repricing.objects.filter(pk=waits.pk).update(proposed_at=clock.now() - timedelta(hours=2))

    problem(ann.post(f"{REPRICINGS}{waits.public_id}/approve/"), 412, "changed_since_read")

    rejected = ann.post(f"{REPRICINGS}{waits.public_id}/reject/", {"reason": "Prices changed."}).json()
    assert (rejected["state"], rejected["answer"]) == ("rejected", "Prices changed.")


def test_repricings_are_narrowed_down_to_a_state_and_a_model(ann: Caller, world: World) -> None:
    waits = proposed_repricing(world)
    for query, found in (
        ({"state": "waiting"}, [waits.public_id]),
        ({"state": "done"}, []),
        ({"model": world.cast.larger.public_id}, [waits.public_id]),
        ({"model": world.cast.large.public_id}, []),
    ):
        assert [row["id"] for row in ann.get(REPRICINGS, **query).json()["results"]] == found


@pytest.mark.parametrize(
    ("first_day", "last_day", "field"),
    [
        ("9999-12-31", "9999-12-31", "first_day"),
        ("0001-01-01", "9999-12-31", "last_day"),
        ("2026-01-01", "2025-12-31", "first_day"),
    ],
)
def test_days_that_cannot_be_are_refused(
    ann: Caller, world: World, first_day: str, last_day: str, field: str
) -> None:
    body = {**wrong_days(world), "first_day": first_day, "last_day": last_day}
    assert list(problem(ann.post(REPRICINGS, body), 422, "invalid_input")["errors"]) == [field]
    assert not Repricing.objects.exists()


def test_prices_are_worth_what_they_say(ann: Caller, world: World) -> None:
    """Hold one price by its million on the page against one by its unit here."""
    ann.post(
        f"models/{unpriced(world).public_id}/prices/",
        {"input": "0.000000000000001", "output": "0.000002", "reason": WHY},
    )
    price = Price.objects.get(model=unpriced(world), unit="input")
    assert price.usd_per_unit == Decimal("1e-15")
