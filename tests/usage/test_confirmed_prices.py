"""A price that a provider was found to charge takes the place of the former one from its day on."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from catalog.models import LlmModel, Price, PriceProposal, PriceSource, ProposalState
from catalog.pricing import price_of
from catalog.selectors import price_rows
from catalog.services import approve_prices
from core import clock
from tests.cast import Cast
from tests.usage.test_repricing import administrator
from usage.models import Discrepancy, Level, ReconciliationRun
from usage.services import confirm_price

WHY = "The provider's cost report says so."
CONTRACT = PriceSource.CONTRACT


def day(back: int) -> date:
    return clock.now().date() - timedelta(days=back)


def start(back: int) -> datetime:
    return datetime.combine(day(back), datetime.min.time(), tzinfo=UTC)


def changed(cast: Cast, back: int, usd: str) -> Discrepancy:
    """Return a difference that proposes a price of an input token of the large model since a day."""
    now, prices = clock.now(), {"input": {"before": "0", "after": usd}}
    run, _ = ReconciliationRun.objects.get_or_create(
        day=day(back), source="pac_x", level=Level.MONEY, defaults={"first_run_at": now, "last_run_at": now}
    )
    return Discrepancy.objects.create(
        run=run, kind="price_change", external_id=usd, model_name=cast.large.name, opened_at=now,
        amount_usd=1, proposal={"prices": prices, "from": day(back).isoformat()},
    )  # fmt: skip


def confirmed(cast: Cast, back: int, usd: str) -> None:
    confirm_price(actor=cast.ann, discrepancy=changed(cast, back, usd), reason=WHY)


def charged(model: LlmModel, back: int) -> str | None:
    usd = price_of(
        price_rows([model.pk])[model.pk], unit="input", context="standard", tier_start=0, at=start(back)
    )
    return None if usd is None else f"{usd.normalize():f}"


def contracts(model: LlmModel) -> list[tuple[datetime, datetime | None]]:
    rows = Price.objects.filter(model=model, source=CONTRACT, unit="input").order_by("pk")
    return list(rows.values_list("valid_from", "valid_until"))


def test_a_second_change_of_a_unit_supersedes_the_first(cast: Cast) -> None:
    confirmed(cast, 9, "0.0000026")
    confirmed(cast, 3, "0.0000027")

    assert [charged(cast.large, back) for back in (10, 9, 4, 3, 0)] == [
        "0.0000025", "0.0000026", "0.0000026", "0.0000027", "0.0000027",
    ]  # fmt: skip
    assert contracts(cast.large) == [(start(9), start(3)), (start(3), None)]


def test_a_contract_of_before_ends_where_the_confirmed_price_begins(cast: Cast) -> None:
    usd = Decimal("0.0000024")
    Price.objects.create(
        model=cast.large, unit="input", usd_per_unit=usd, valid_from=start(40), source=CONTRACT
    )

    confirmed(cast, 2, "0.0000025")

    assert [charged(cast.large, back) for back in (40, 3, 2)] == ["0.0000024", "0.0000024", "0.0000025"]


def test_days_may_be_confirmed_in_any_order_and_again(cast: Cast) -> None:
    confirmed(cast, 3, "0.0000027")
    confirmed(cast, 9, "0.0000026")
    confirmed(cast, 3, "0.0000028")

    assert [charged(cast.large, back) for back in (9, 4, 3)] == ["0.0000026", "0.0000026", "0.0000028"]
    assert contracts(cast.large) == [(start(3), start(3)), (start(9), start(3)), (start(3), None)]


def test_a_large_move_supersedes_when_somebody_else_agrees(cast: Cast) -> None:
    confirmed(cast, 9, "0.0000026")
    confirmed(cast, 3, "0.000009")
    assert charged(cast.large, 3) == "0.0000026"

    approve_prices(
        actor=administrator("Second"), proposal=PriceProposal.objects.get(state=ProposalState.WAITING)
    )

    assert [charged(cast.large, back) for back in (4, 3)] == ["0.0000026", "0.000009"]


@pytest.mark.parametrize("back", [4, 2])
def test_raw_sql_ends_a_price_in_the_past_only_where_its_successor_begins(cast: Cast, back: int) -> None:
    confirmed(cast, 9, "0.0000026")
    row = Price.objects.filter(model=cast.large, source=CONTRACT)
    former = row.get()
    with pytest.raises(IntegrityError, match="price_ranges_do_not_overlap"), transaction.atomic():
        row.create(model=cast.large, unit="input", usd_per_unit=1, valid_from=start(3), source=CONTRACT)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS price_ranges_do_not_overlap DEFERRED")
    row.create(model=cast.large, unit="input", usd_per_unit=1, valid_from=start(3), source=CONTRACT)
    with pytest.raises(DatabaseError, match="never edited"), transaction.atomic():
        row.filter(pk=former.pk).update(valid_until=start(back))
    row.filter(pk=former.pk).update(valid_until=start(3))
