"""Figures of a part of a day are no day: a provider that was not read to its end is red."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import Manager

from tests.cast import Cast
from tests.usage.faults import Planted, plant
from usage.models import ImportCursor, ProviderCost, ProviderUsage, RunState, SourceKind
from usage.services import reconcile_costs, reconcile_volumes

CASES = [
    (ProviderUsage.objects, SourceKind.USAGE, SourceKind.COST, reconcile_volumes),
    (ProviderCost.objects, SourceKind.COST, SourceKind.USAGE, reconcile_costs),
]


@pytest.fixture
def planted(cast: Cast) -> Planted:
    return plant(cast, days=1, calls_a_day=300, change_on=5)


@pytest.mark.parametrize(("figures", "kind", "other", "compare"), CASES)
def test_a_day_that_was_read_until_noon_is_red_until_it_is_read_to_its_end_or_final(
    planted: Planted, figures: Manager[ProviderUsage], kind: SourceKind, other: SourceKind, compare: object
) -> None:
    account, day = planted.accounts[0], planted.first_day
    noon = datetime.combine(day, datetime.min.time(), tzinfo=UTC) + timedelta(hours=12)
    figures.filter(day=day).update(final=False, data_refreshed_at=noon)
    cursor = ImportCursor.objects.create(
        source=f"{account.public_id}:{kind}", kind=kind, last_success_at=noon
    )
    ImportCursor.objects.create(source=f"{account.public_id}:{other}", kind=other, last_success_at=noon)
    compared = reconcile_volumes if compare is reconcile_volumes else reconcile_costs

    run = compared(account=account, day=day)
    assert (run.state, run.notice) == (
        RunState.UNREADABLE,
        f"The provider was last read at {day} 12:00 UTC.",
    )

    ImportCursor.objects.filter(pk=cursor.pk).update(last_success_at=noon + timedelta(hours=12))
    assert compared(account=account, day=day).state == RunState.DIFFERENT
    ImportCursor.objects.filter(pk=cursor.pk).update(last_success_at=noon)
    figures.filter(day=day).update(final=True)
    assert compared(account=account, day=day).state == RunState.DIFFERENT
