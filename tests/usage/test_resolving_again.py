"""What was said about a difference holds for the amount about which it was said."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db.models import F

from core.models import AuditEvent, Outbox
from tests.cast import Cast
from tests.usage.faults import FAULTS_A_DAY, Planted, plant
from usage.models import Discrepancy, DiscrepancyState, GatewayCall, ProviderUsage
from usage.selectors.closing import checklist
from usage.services import accept, explain, reconcile_day, reconcile_volumes

WHY = "It is a dollar of tests."


@pytest.fixture
def planted(cast: Cast) -> Planted:
    return plant(cast, days=1, calls_a_day=9 * FAULTS_A_DAY * 5, change_on=5)


def mails() -> int:
    return Outbox.objects.filter(topic="reconciliation.bypass").count()


@pytest.mark.parametrize("close", [accept, explain])
def test_a_bypass_that_grows_after_it_was_closed_is_open_and_told_again(
    cast: Cast, planted: Planted, close: object
) -> None:
    account, day = planted.accounts[0], planted.first_day
    run = reconcile_volumes(account=account, day=day)
    one = run.discrepancies.filter(kind="bypass_unknown_key").order_by("pk")[0]
    (accept if close is accept else explain)(actor=cast.fay, discrepancy=one, reason=WHY)
    before, was_usd, state = mails(), one.amount_usd, Discrepancy.objects.get(pk=one.pk).state
    run = reconcile_volumes(account=account, day=day)
    assert (run.discrepancies.get(pk=one.pk).state, mails()) == (state, before)
    drift_usd = run.drift_usd

    told = ProviderUsage.objects.filter(account=account, day=day, upstream_key=one.detail["key"])
    told.update(requests=F("requests") * 5_000, input_tokens=1_000_000_000)
    for _ in range(2):
        run = reconcile_volumes(account=account, day=day)

    one.refresh_from_db()
    assert (one.state, one.closed_by, one.amount_usd > was_usd) == (DiscrepancyState.OPEN, None, True)
    assert run.drift_usd == drift_usd + one.amount_usd
    assert mails() == before + 2  # an administrator and finance, once
    assert "open again" in Outbox.objects.filter(topic="reconciliation.bypass").latest("pk").payload["body"]
    event = AuditEvent.objects.get(action="discrepancy.reopened")
    assert (event.object_id, event.before["state"]) == (one.public_id, state)
    checks = {check.title: check.holds for check in checklist(day.replace(day=1))}
    assert not checks["Nothing large is open"]


def test_a_call_that_grows_is_open_again_and_one_that_hardly_moves_or_shrinks_is_not(
    cast: Cast, planted: Planted
) -> None:
    source, day = planted.sources[0], planted.first_day
    run = reconcile_day(source=source, day=day)
    one = run.discrepancies.filter(kind="price_mismatch", amount_usd__gt=0)[0]
    accept(actor=cast.fay, discrepancy=one, reason=WHY)
    call = GatewayCall.objects.filter(source=source, external_id=one.external_id)
    cost_usd = call.get().cost_usd or Decimal(0)

    for more, state in (("0.000001", "accepted"), ("-0.00002", "accepted"), ("1", "open")):
        call.update(cost_usd=cost_usd + Decimal(more))
        reconcile_day(source=source, day=day)
        one.refresh_from_db()
        assert one.state == state, more
