"""Models that nobody priced: the list, the price by hand, the declaration that one is free."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal

import pytest

from catalog import services
from catalog.errors import AlreadyPricedError
from catalog.models import LlmModel, Mode, Price, PriceSource, Unit
from catalog.selectors import unpriced_models
from catalog.units import ENOUGH, OFFERED
from core import clock
from core.errors import InvalidInputError
from core.models import AuditEvent
from teams.errors import RoleNeededError
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import LlmModelFactory, PriceFactory, UnpricedCallFactory

LIST = "/models/unpriced/"
REASON = "The price list of November."


@pytest.fixture
def mystery(cast: Cast) -> LlmModel:
    """Add a chat model of Tier 2 that nobody priced; it was asked for 40 times."""
    model = LlmModelFactory.create(name="mystery", tier=cast.tier2)
    UnpricedCallFactory.create(model=model, calls=40)
    return model


def address(model: LlmModel, act: str) -> str:
    return f"{LIST}{model.public_id}/{act}/"


def enter(cast: Cast, model: LlmModel, prices: Mapping[Unit, str], reason: str = REASON) -> list[Price]:
    amounts = {unit: Decimal(usd) for unit, usd in prices.items()}
    return services.enter_prices(actor=cast.ann, model=model, usd_per_unit=amounts, reason=reason)


def listed(cast: Cast) -> list[str]:
    """Return the names on the list, in its order."""
    return [row[0].split()[0] for row in Visitor(cast.ann).get(LIST).rows("unpriced-h")]


def test_most_wanted_stands_first_and_what_was_never_called_too(cast: Cast, mystery: LlmModel) -> None:
    LlmModelFactory.create(name="never-called", tier=cast.tier1)
    UnpricedCallFactory.create(model=LlmModelFactory.create(name="wanted", tier=cast.tier3), calls=1_041)
    LlmModelFactory.create(name="gone", tier=cast.tier1, retired_at=clock.now())
    LlmModelFactory.create(name="in-house", tier=cast.tier1, declared_free=True)

    rows = Visitor(cast.ann).get(LIST).rows("unpriced-h")

    assert [(row[0].split()[0], row[1], row[2]) for row in rows] == [
        ("wanted", "Tier 3", "1,041"),
        ("mystery", "Tier 2", "40"),
        ("never-called", "Tier 1", "0"),
    ]
    assert rows[2][3:5] == ["never", "never"]


def test_price_that_starts_later_does_not_finish_the_item(cast: Cast, mystery: LlmModel) -> None:
    for unit in (Unit.INPUT, Unit.OUTPUT):
        PriceFactory.create(model=mystery, unit=unit, valid_from=clock.now() + timedelta(days=1))
    assert listed(cast) == ["mystery"]


def test_price_from_anywhere_finishes_the_item_and_its_end_opens_it_again(
    cast: Cast, mystery: LlmModel
) -> None:
    prices = [
        PriceFactory.create(model=mystery, unit=unit, source=PriceSource.GENAI_PRICES)
        for unit in (Unit.INPUT, Unit.OUTPUT)
    ]
    assert listed(cast) == []
    Price.objects.filter(pk=prices[0].pk).update(valid_until=clock.now() + timedelta(hours=1))
    assert unpriced_models(at=clock.now() + timedelta(hours=2)) == [mystery]


def test_admin_enters_a_price_by_the_million_tokens(cast: Cast, mystery: LlmModel) -> None:
    visitor = Visitor(cast.ann)

    answer = visitor.post(address(mystery, "price"), input="2.50", output="10", reason=REASON)

    assert (answer.status, answer.response["Location"]) == (302, LIST)
    assert listed(cast) == []
    assert "mystery OpenAI $2.50 $2.50 $10.00" in Visitor(cast.ada).get("/models/").words
    prices = Price.objects.filter(model=mystery).order_by("unit")
    assert [(row.unit, row.usd_per_unit) for row in prices] == [
        ("input", Decimal("0.0000025")),
        ("output", Decimal("0.00001")),
    ]
    assert {(row.source, row.source_version) for row in prices} == {("manual", cast.ann.public_id)}


def test_who_priced_it_and_why_stands_in_the_audit(cast: Cast, mystery: LlmModel) -> None:
    enter(cast, mystery, {Unit.INPUT: "0.000001", Unit.OUTPUT: "0.000002"})

    event = AuditEvent.objects.get(action="prices.entered")

    assert (event.actor_id, event.object_id, event.reason) == (cast.ann.pk, mystery.public_id, REASON)
    assert event.after == {"input": "0.000001", "output": "0.000002"}


@pytest.mark.parametrize("mode", Mode)
def test_each_set_of_units_that_is_enough_prices_its_mode(cast: Cast, mode: Mode) -> None:
    output = 1_000 if mode is Mode.CHAT else None
    for number, units in enumerate(ENOUGH[mode]):
        model = LlmModelFactory.create(name=f"m{number}", mode=mode, max_output_tokens=output)
        enter(cast, model, dict.fromkeys(units, "0.006"))
        assert model not in unpriced_models()
        assert units <= set(OFFERED[mode])


def test_transcription_is_priced_by_the_second(cast: Cast) -> None:
    model = LlmModelFactory.create(
        name="whisper", mode=Mode.TRANSCRIPTION, max_output_tokens=None, tier=cast.tier1
    )
    visitor = Visitor(cast.ann)
    assert "US dollars for 1 second of audio" in visitor.get(address(model, "price")).words

    answer = visitor.post(address(model, "price"), second="0.0001", reason=REASON)

    assert answer.status == 302
    assert Price.objects.get(model=model).usd_per_unit == Decimal("0.0001")
    assert "$0.0001 a second of audio" in Visitor(cast.ada).get("/models/").words


@pytest.mark.parametrize(
    ("entered", "field", "says"),
    [
        ({"input": "1"}, "output", "Enter the price by output token"),
        ({"output": "1"}, "input", "Enter the price by input token"),
        ({}, "input", "Enter the price by input token"),
        ({"input": "0", "output": "0"}, "input", "Declare it free instead"),
        ({"input": "20,000,000,000", "output": "1"}, "input", "from 0 to $10,000"),
        ({"input": "0.0000000001", "output": "1"}, "input", "fifteen decimals"),
        ({"input": "cheap", "output": "1"}, "input", "is not an amount"),
    ],
)
def test_price_that_prices_nothing_is_refused_beside_its_field(
    cast: Cast, mystery: LlmModel, entered: dict[str, str], field: str, says: str
) -> None:
    page = Visitor(cast.ann).post(address(mystery, "price"), **entered, reason=REASON)

    assert page.status == 422
    assert says in page.words
    assert f"#id_{field}" in page.links
    assert not Price.objects.filter(model=mystery).exists()
    assert not AuditEvent.objects.filter(action="prices.entered").exists()


def test_price_and_freedom_need_a_reason(cast: Cast, mystery: LlmModel) -> None:
    visitor = Visitor(cast.ann)
    for act, entered in (("price", {"input": "1", "output": "2"}), ("free", {})):
        page = visitor.post(address(mystery, act), **entered, reason=" ")
        assert (page.status, page.words.count("There is a problem")) == (422, 1)
    with pytest.raises(InvalidInputError):
        services.declare_free(actor=cast.ann, model=mystery, reason=" ")
    assert listed(cast) == ["mystery"]


def test_unit_of_another_mode_is_refused(cast: Cast, mystery: LlmModel) -> None:
    with pytest.raises(InvalidInputError, match="no price by second of audio"):
        enter(cast, mystery, {Unit.INPUT: "1", Unit.OUTPUT: "1", Unit.SECOND: "1"})


def test_admin_declares_a_model_free(cast: Cast, mystery: LlmModel) -> None:
    visitor = Visitor(cast.ann)
    assert "also when the budget is gone" in visitor.get(address(mystery, "free")).words

    answer = visitor.post(address(mystery, "free"), reason="It runs on our own machines.")

    assert answer.response["Location"] == LIST
    mystery.refresh_from_db()
    assert mystery.declared_free
    assert listed(cast) == []
    event = AuditEvent.objects.get(action="model.declared_free")
    assert (event.before, event.after) == ({"declared_free": False}, {"declared_free": True})
    assert event.reason == "It runs on our own machines."


@pytest.mark.parametrize("first", ["price", "free"])
@pytest.mark.parametrize("second", ["price", "free"])
def test_second_admin_learns_that_somebody_was_first(
    cast: Cast, mystery: LlmModel, first: str, second: str
) -> None:
    visitor = Visitor(cast.ann)
    sent = {"input": "1", "output": "2", "reason": REASON}
    assert visitor.post(address(mystery, first), **sent).status == 302
    before = Price.objects.count()

    page = visitor.post(address(mystery, second), **sent)

    assert page.status == 409
    assert "Nothing needs to be done." in page.words
    assert Price.objects.count() == before


def test_half_a_price_of_before_ends_when_the_whole_is_entered(cast: Cast, mystery: LlmModel) -> None:
    half = PriceFactory.create(model=mystery, unit=Unit.INPUT, usd_per_unit=Decimal(1))
    planned = PriceFactory.create(
        model=mystery, unit=Unit.OUTPUT, valid_from=clock.now() + timedelta(days=9), usd_per_unit=Decimal(9)
    )

    made = {row.unit: row for row in enter(cast, mystery, {Unit.INPUT: "2", Unit.OUTPUT: "3"})}

    half.refresh_from_db()
    assert half.valid_until == made[Unit.INPUT].valid_from
    assert made[Unit.OUTPUT].valid_until == planned.valid_from
    assert AuditEvent.objects.get(action="prices.entered").before == {"input": "1.000000000000000"}


def test_retired_model_is_not_priced_any_more(cast: Cast, mystery: LlmModel) -> None:
    LlmModel.objects.filter(pk=mystery.pk).update(retired_at=clock.now())

    assert Visitor(cast.ann).get(address(mystery, "price")).status == 404
    with pytest.raises(AlreadyPricedError, match="retired"):
        enter(cast, mystery, {Unit.INPUT: "1", Unit.OUTPUT: "1"})


@pytest.mark.parametrize("who", ["ada", "ben", "cleo", "dan", "fay", "audrey"])
def test_nobody_but_an_admin_prices_models(cast: Cast, mystery: LlmModel, who: str) -> None:
    person = getattr(cast, who)
    visitor = Visitor(person)

    for path in (LIST, address(mystery, "price"), address(mystery, "free")):
        page = visitor.get(path)
        assert page.status == 403
        assert "Ask Ann Keller." in page.words
    assert visitor.post(address(mystery, "price"), input="1", output="1", reason=REASON).status == 403
    assert "Enter prices" not in visitor.get("/models/").words
    with pytest.raises(RoleNeededError):
        services.enter_prices(
            actor=person, model=mystery, usd_per_unit={Unit.INPUT: Decimal(1)}, reason=REASON
        )
    with pytest.raises(RoleNeededError):
        services.declare_free(actor=person, model=mystery, reason=REASON)


def test_admin_reads_on_the_models_page_how_many_wait(cast: Cast, mystery: LlmModel) -> None:
    page = Visitor(cast.ann).get("/models/")

    assert "1 model has no price in force, and every call of it is refused." in page.words
    assert LIST in page.links
    enter(cast, mystery, {Unit.INPUT: "1", Unit.OUTPUT: "1"})
    assert LIST not in Visitor(cast.ann).get("/models/").links


def test_list_asks_the_same_at_5_models_and_at_50(cast: Cast) -> None:
    asked = []
    for number in (5, 45):
        for _ in range(number):
            UnpricedCallFactory.create()
        asked.append(len(Visitor(cast.ann).queries(LIST)))
    assert asked[0] == asked[1] <= 8
