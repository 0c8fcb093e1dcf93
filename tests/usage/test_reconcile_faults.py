"""Fault injection: every class is found wherever it was put, and nowhere else; the money closes to nothing.

`make reconcile-faults` runs the large size and prints its table.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest
from django.db import connection

import portal.ledger
from core.models import Outbox
from core.money import ZERO
from tests.cast import Cast
from tests.usage.faults import FAULTS_A_DAY, Key, Planted, plant
from usage.models import Discrepancy, DiscrepancyClass, DiscrepancyState, Level, ReconciliationRun, RunState
from usage.services import correct, explain, reconcile_costs, reconcile_day, reconcile_volumes

WHY = "The other side is right."


def found_so_far() -> set[Key]:
    return {
        (
            one.kind,
            one.run.source if one.run.level == Level.CALLS else f"{one.run.source} {one.run.day}",
            one.external_id,
        )
        for one in Discrepancy.objects.select_related("run")
    }


def reconcile_all(planted: Planted) -> None:
    for day in planted.each_day():
        for source in planted.sources:
            reconcile_day(source=source, day=day)
        for account in planted.accounts:
            reconcile_volumes(account=account, day=day)
            reconcile_costs(account=account, day=day)


def resolve_calls(cast: Cast) -> None:
    """Do what a person does with single calls, so that providers are compared with the truth."""
    for one in Discrepancy.objects.filter(run__level=Level.CALLS, state=DiscrepancyState.OPEN):
        if one.kind in {DiscrepancyClass.ZERO_COST, DiscrepancyClass.DUPLICATE}:
            correct(actor=cast.fay, discrepancy=one, reason=WHY)
        else:
            explain(actor=cast.fay, discrepancy=one, reason="The gateway is wrong.")


def table(planted: Planted, found: set[Key]) -> list[tuple[str, int, int, int]]:
    put, seen = (
        Counter(kind for kind, *_ in planted.faults),
        Counter(kind for kind, *_ in found & planted.faults),
    )
    false = Counter(kind for kind, *_ in found - planted.faults)
    return [(kind.value, put[kind], seen[kind], false[kind]) for kind in DiscrepancyClass]


def prove(cast: Cast, planted: Planted) -> list[tuple[str, int, int, int]]:
    """Run it all twice, the single calls put right in between, and hold it against the truth."""
    for day in planted.each_day():
        for source in planted.sources:
            reconcile_day(source=source, day=day)
    resolve_calls(cast)
    reconcile_all(planted)
    rows = table(planted, found_so_far())
    before = set(Discrepancy.objects.values_list("public_id", "state", "amount_usd"))
    reconcile_all(planted)
    assert set(Discrepancy.objects.values_list("public_id", "state", "amount_usd")) == before, (
        "not idempotent"
    )
    return rows


def closes(planted: Planted) -> Decimal:
    """Return what the parts of the variance leave unexplained, and look at each part by itself."""
    left = ZERO
    for account in planted.accounts:
        runs = ReconciliationRun.objects.filter(source=account.public_id, level=Level.MONEY)
        assert runs.count() == planted.days
        for run in runs:
            parts = run.elsewhere_usd + run.unknown_key_usd + run.volume_usd + run.price_usd + run.other_usd
            left += abs(run.provider_cost_usd - run.portal_cost_usd - parts)
        assert sum(run.unknown_key_usd for run in runs) == planted.unknown_usd[account.public_id]
        assert sum(run.price_usd for run in runs) == planted.price_usd[account.public_id]
        assert sum(run.other_usd for run in runs) == 0
    return left


def exact(rows: list[tuple[str, int, int, int]]) -> bool:
    """Whether recall and precision are 1: all that was put in is found, and nothing else."""
    return all(put == seen > 0 and false == 0 for _, put, seen, false in rows)


def show(rows: list[tuple[str, int, int, int]], left: Decimal, planted: Planted) -> None:
    print(f"\n{planted.calls:,} requests, {planted.days} days")
    print(f"{'class':20} {'injected':>9} {'found':>9} {'false':>9}")
    for kind, put, seen, false in rows:
        print(f"{kind:20} {put:9} {seen:9} {false:9}")
    print(f"variance left unexplained: ${left:f}")


def test_every_class_is_found_and_nothing_else(cast: Cast) -> None:
    planted = plant(cast, days=3, calls_a_day=400, change_on=1)

    rows = prove(cast, planted)
    left = closes(planted)

    show(rows, left, planted)
    assert exact(rows)
    assert left == 0
    assert not portal.ledger.verify().findings


@pytest.mark.full
@pytest.mark.timeout(900)
def test_fourteen_days_of_forty_thousand_requests(cast: Cast) -> None:
    planted = plant(cast, days=14, calls_a_day=3_000, change_on=9)
    assert planted.calls >= 40_000

    rows = prove(cast, planted)
    left = closes(planted)

    show(rows, left, planted)
    assert exact(rows)
    for account in planted.accounts[1:]:
        for run in ReconciliationRun.objects.filter(level=Level.VOLUMES, source=account.public_id):
            kinds = set(run.discrepancies.values_list("kind", flat=True))
            assert kinds >= {"bypass_unknown_key", "bypass_shared_key"}
    changes = Discrepancy.objects.filter(kind=DiscrepancyClass.PRICE_CHANGE)
    assert min(one.run.day for one in changes.select_related("run")) == planted.change_day
    assert left == 0
    assert not portal.ledger.verify().findings


def drift(cast: Cast, calls: int) -> None:
    """One cent in so many calls is found, attributed to its call, and corrected."""
    planted = plant(cast, days=1, calls_a_day=calls, change_on=5)
    with connection.cursor() as cursor:  # back to the truth: both sides alike
        cursor.execute("DELETE FROM usage_gateway_call")
        cursor.execute(
            """INSERT INTO usage_gateway_call (source, external_id, at, pulled_at, model_name, finish,
                 cache_hit, released, input_tokens, cached_tokens, cache_write_tokens, output_tokens,
                 reasoning_tokens, cost_usd, provider_call_id)
               SELECT source, external_id, at, recorded_at, 'x', 'stop', cache_hit, false, input_tokens,
                 cached_tokens, 0, output_tokens, 0, cost_usd, provider_call_id FROM usage_event
               WHERE external_id NOT LIKE '%-again' AND NOT (cost_usd = 0 AND NOT cache_hit)"""
        )
        cursor.execute(
            "DELETE FROM usage_event e WHERE NOT EXISTS (SELECT FROM usage_gateway_call g"
            " WHERE g.source = e.source AND g.external_id = e.external_id AND g.at = e.at)"
        )
        cursor.execute(
            """UPDATE usage_gateway_call SET cost_usd = cost_usd + 0.01 WHERE (source, external_id, at) =
               (SELECT source, external_id, at FROM usage_gateway_call WHERE source = %s AND NOT cache_hit
                  AND cost_usd < 1 ORDER BY at OFFSET 5 LIMIT 1) RETURNING external_id""",
            [planted.sources[0]],
        )
        [(wrong,)] = cursor.fetchall()
    for source in planted.sources:
        reconcile_day(source=source, day=planted.first_day)

    [one] = Discrepancy.objects.all()
    assert (one.kind, one.external_id, one.amount_usd) == ("price_mismatch", wrong, Decimal("0.01"))
    correct(actor=cast.fay, discrepancy=one, reason=WHY)
    run = reconcile_day(source=planted.sources[0], day=planted.first_day)
    assert run.state == RunState.MATCHED
    [correction] = one.corrections.all()
    assert (correction.amount_usd, correction.run, correction.entry.kind) == (
        Decimal("0.01"),
        one.run,
        "correction",
    )


def test_one_cent_is_found_attributed_and_corrected(cast: Cast) -> None:
    drift(cast, 2_000)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_one_cent_in_a_million_rows(cast: Cast) -> None:
    drift(cast, 1_000_000)
    print("\none drift of $0.01 in 1,000,000 rows: found, attributed, corrected")


def test_bypasses_are_told_once(cast: Cast) -> None:
    planted = plant(cast, days=1, calls_a_day=9 * FAULTS_A_DAY * 5, change_on=5)
    reconcile_all(planted)
    told = Outbox.objects.filter(topic="reconciliation.bypass")
    # Two keys nobody knows and one that is shared; administrators and finance are one person each.
    assert sorted(told.values_list("recipient", flat=True)) == [cast.ann.email] * 3 + [cast.fay.email] * 3

    reconcile_all(planted)

    assert told.count() == 6
