"""Prices from the list: dated, never edited, nothing large without a person's word."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models import F

from catalog import importer, selectors, services
from catalog.importer import Published, Slot
from catalog.models import Alias, LlmModel, Price, PriceProposal, ProposalState
from catalog.pricing import STANDARD, rates
from catalog.services import PublishedPrices, importing
from core.models import AuditEvent
from teams.models import Role, User
from tests.factories import RoleAssignmentFactory

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
NOW = datetime.now(UTC)
INPUT = Slot(unit="input", context=STANDARD, tier_start=0)
OUTPUT = Slot(unit="output", context=STANDARD, tier_start=0)
Timeline = Sequence[tuple[datetime, str | None]]


def listed(*timeline: tuple[datetime, str]) -> PublishedPrices:
    """Make a price list with one model, `tested`, whose input has these prices from these moments on."""
    ends: list[datetime | None] = [start for start, _ in timeline[1:]] + [None] * bool(timeline)
    rows = [
        Published(slot=INPUT, usd_per_unit=Decimal(usd), valid_from=start, valid_until=end)
        for (start, usd), end in zip(timeline, ends, strict=True)
    ]
    rows += [Published(slot=OUTPUT, usd_per_unit=Decimal(1), valid_from=importer.SINCE, valid_until=None)]
    return lambda _provider, name: rows if name == "tested" and timeline else []


def administrator() -> User:
    """Return somebody who may approve."""
    person: User = RoleAssignmentFactory.create(role=Role.ADMIN).user
    return person


@pytest.fixture
def load() -> Callable[..., services.ImportReport]:
    """Import a made-up list of one model."""
    offered = [
        importer.Listing(
            name="tested", provider="openai", mode="chat", tier=1, context_window_tokens=10_000,
            max_output_tokens=1_000, aliases=("tested-latest",),
        )
    ]  # fmt: skip

    def run(published: PublishedPrices, *, approved: bool = False, **options: bool) -> services.ImportReport:
        report = services.import_prices(actor=None, offered=offered, published=published, **options)
        if approved:
            assert report.waiting is not None
            services.approve_prices(actor=administrator(), proposal=report.waiting)
        return report

    return run


def input_usd_at(at: datetime) -> Decimal:
    """Return what an input token of `tested` costs at a moment."""
    model = LlmModel.objects.get(name="tested")
    return rates(selectors.price_rows([model.pk])[model.pk], at=at).input_usd


def test_the_installed_list_gives_26_priced_models_in_three_tiers() -> None:
    report = services.import_prices(actor=None)

    assert LlmModel.objects.count() == len(report.added_models) == 26
    assert {model.tier_id for model in LlmModel.objects.all()} == {1, 2, 3}
    assert report.unpriced == ()
    assert Alias.objects.get(name="gpt-4o-2024-11-20").model.name == "gpt-4o"
    assert AuditEvent.objects.filter(action="model.added").count() == 26


def test_importing_twice_changes_nothing() -> None:
    services.import_prices(actor=None)
    before = list(Price.objects.order_by("pk").values())
    events = AuditEvent.objects.count()

    again = services.import_prices(actor=None)

    assert (again.changes, again.added_models) == ((), ())
    assert list(Price.objects.order_by("pk").values()) == before
    assert AuditEvent.objects.count() == events


def test_known_prices_steps_classes_and_future_changes_are_kept() -> None:
    services.import_prices(actor=None)
    rows = {model.name: selectors.price_rows([model.pk])[model.pk] for model in LlmModel.objects.all()}
    day = datetime(2026, 11, 23, tzinfo=UTC)

    sol = rows["gpt-6.1-sol"]
    assert rates(sol, at=day).input_usd == Decimal("0.000002")
    assert rates(sol, at=day, input_tokens=272_000).input_usd == Decimal("0.000002")
    assert rates(sol, at=day, input_tokens=272_001).input_usd == Decimal("0.000004")
    assert rates(sol, at=day, context="priority").output_usd == Decimal("0.00002")
    assert rates(sol, at=day, context="batch").cached_usd == Decimal("0.00000005")
    argon = rows["gemini-4-argon"]
    assert rates(argon, at=day).output_usd == Decimal("0.00001")
    assert rates(argon, at=datetime(2026, 12, 1, tzinfo=UTC)).output_usd == Decimal("0.00002")


def test_a_small_change_ends_the_old_price_and_starts_another(load: Callable[..., object]) -> None:
    load(listed((importer.SINCE, "1.00")))
    old = Price.objects.get(unit="input")

    load(listed((importer.SINCE, "1.10")))

    old.refresh_from_db()
    new = Price.objects.exclude(pk=old.pk).get(unit="input")
    assert (old.usd_per_unit, new.usd_per_unit) == (Decimal("1.00"), Decimal("1.10"))
    assert old.valid_until == new.valid_from
    assert new.valid_until is None
    assert abs(new.valid_from - datetime.now(UTC)) < timedelta(minutes=1)
    event = AuditEvent.objects.filter(action="prices.imported").latest("id")
    assert event.before["standard input from 0"] == "1.000000000000000"
    assert event.after["standard input from 0"] == "1.10"


def test_a_move_above_twenty_percent_needs_a_persons_word(load: Callable[..., object]) -> None:
    load(listed((importer.SINCE, "1.00")))

    load(listed((importer.SINCE, "1.21")))
    assert Price.objects.filter(unit="input").count() == 1

    load(listed((importer.SINCE, "1.21")), approved=True)
    assert input_usd_at(datetime.now(UTC)) == Decimal("1.21")
    assert input_usd_at(NOW - DAY) == 1


def test_a_planned_doubling_needs_a_persons_word_when_it_appears(load: Callable[..., object]) -> None:
    load(listed((importer.SINCE, "1.00")))
    doubling = listed((importer.SINCE, "1.00"), (NOW + 30 * DAY, "2.00"))

    load(doubling)
    assert input_usd_at(NOW + 31 * DAY) == 1
    load(doubling, approved=True)

    assert input_usd_at(NOW + 29 * DAY) == 1
    assert input_usd_at(NOW + 31 * DAY) == 2
    planned = selectors.planned_changes(at=NOW)
    assert [(change.model, change.unit, change.after_usd) for change in planned] == [
        ("tested", "input", Decimal(2_000_000))
    ]


def test_a_planned_change_that_is_called_off_never_comes_into_force(load: Callable[..., object]) -> None:
    load(listed((importer.SINCE, "1.00"), (NOW + 30 * DAY, "2.00"), (NOW + 60 * DAY, "3.00")))

    load(listed((importer.SINCE, "1.00")), approved=True)

    assert input_usd_at(NOW + 31 * DAY) == input_usd_at(NOW + 61 * DAY) == 1
    assert Price.objects.filter(unit="input", valid_until=F("valid_from")).count() == 2
    assert selectors.planned_changes(at=NOW) == []


def test_a_change_now_keeps_what_is_planned(load: Callable[..., object]) -> None:
    load(listed((importer.SINCE, "1.00"), (NOW + 30 * DAY, "1.10")))

    load(listed((importer.SINCE, "1.05"), (NOW + 30 * DAY, "1.10")))

    assert input_usd_at(NOW - DAY) == 1
    assert input_usd_at(datetime.now(UTC)) == Decimal("1.05")
    assert input_usd_at(NOW + 31 * DAY) == Decimal("1.10")


def test_a_model_that_the_list_drops_is_unpriced_only_when_accepted(
    load: Callable[..., services.ImportReport],
) -> None:
    load(listed((importer.SINCE, "1.00")))

    load(listed())
    assert selectors.unpriced_models() == []

    load(listed(), approved=True)
    assert [model.name for model in selectors.unpriced_models()] == ["tested"]


def test_a_model_without_a_price_is_reported_and_may_get_one_later(
    load: Callable[..., services.ImportReport],
) -> None:
    assert load(listed()).unpriced == ("tested",)

    assert load(listed((importer.SINCE, "1.00"))).unpriced == ()


def test_a_dry_run_writes_nothing(load: Callable[..., services.ImportReport]) -> None:
    report = load(listed((importer.SINCE, "1.00")), dry_run=True)

    assert report.added_models == ("tested",)
    assert not LlmModel.objects.exists()
    assert not Price.objects.exists()
    assert not AuditEvent.objects.exists()


def test_a_model_keeps_the_tier_that_somebody_gave_it(load: Callable[..., object]) -> None:
    load(listed((importer.SINCE, "1.00")))
    LlmModel.objects.update(tier=3)

    load(listed((importer.SINCE, "1.00")))

    assert LlmModel.objects.get().tier_id == 3


def test_the_command_prints_the_difference_and_says_where_it_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call_command("import_prices", stdout=StringIO())
    before = Price.objects.count()
    original = importer.published_prices

    def dearer(provider: str, name: str) -> list[Published]:
        return [replace(row, usd_per_unit=row.usd_per_unit * 2) for row in original(provider, name)]

    monkeypatch.setattr(importing, "published_prices", dearer)
    output = StringIO()
    call_command("import_prices", stdout=output)

    assert "gpt-4o: standard input: $2.5 -> $5 per 1M" in output.getvalue()
    assert "(+100%) !" in output.getvalue()
    waiting = PriceProposal.objects.get(state=ProposalState.WAITING)
    assert f"/prices/proposals/{waiting.public_id}/" in output.getvalue()
    assert Price.objects.count() == before


def test_raw_sql_cannot_edit_delete_or_reprice_the_past(load: Callable[..., object]) -> None:
    load(listed((importer.SINCE, "1.00")))
    price = Price.objects.filter(unit="input")

    for change in ({"usd_per_unit": 2}, {"valid_from": NOW}, {"valid_until": NOW - DAY}):
        with pytest.raises(DatabaseError, match="never edited"), transaction.atomic():
            price.update(**change)
    with pytest.raises(DatabaseError, match="never edited"), transaction.atomic():
        price.delete()
    row = price.get()
    with pytest.raises(IntegrityError, match="price_ranges_do_not_overlap"), transaction.atomic():
        Price.objects.create(
            model=row.model,
            unit="input",
            usd_per_unit=3,
            valid_from=NOW,
            source=row.source,
            source_version="x",
        )


def test_an_end_may_come_nearer_but_not_be_taken_back(load: Callable[..., object]) -> None:
    load(listed((importer.SINCE, "1.00")))
    price = Price.objects.filter(unit="input")

    price.update(valid_until=NOW + 9 * DAY)
    price.update(valid_until=NOW + 3 * DAY)

    for later in (NOW + 4 * DAY, None):
        with pytest.raises(DatabaseError, match="never edited"), transaction.atomic():
            price.update(valid_until=later)
