"""The acts on differences and on the months of the books."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from core import clock
from core.clock import now
from tests import factories
from tests.cast import Cast
from tests.walk import WHY, Walk
from usage.models import Discrepancy, PeriodClose, PeriodState, ReconciliationRun, RunState, UsageEvent
from usage.services import (
    accept,
    assign,
    close_period,
    confirm_price,
    correct,
    explain,
    reopen_period,
    soft_close_period,
)


def long_past() -> date:
    """Return the first day of a month that is over, and whose money is final."""
    return (clock.now().date().replace(day=1) - timedelta(days=40)).replace(day=1)


def differing(cast: Cast, **fields: Any) -> Discrepancy:
    """Write a call of yesterday that was charged half of what it cost, with its entry."""
    at = datetime.combine(clock.now().date() - timedelta(days=1), datetime.min.time(), tzinfo=UTC)
    key = factories.ApiKeyFactory.create(project=cast.ranking, owner=cast.ada)
    whose = {"key_id": key.pk, "project": cast.ranking, "team": cast.search, "department": cast.product}
    whose["model"] = cast.large
    UsageEvent.objects.create(
        source="gw_walk", external_id="rsv_walk", at=at, recorded_at=at, owner=cast.ada, tier=cast.tier2,
        cost_usd=Decimal("0.5"), finish="stop", **whose,
    )  # fmt: skip
    factories.settled_entry(at=at, amount_usd=Decimal("0.5"), **whose)
    run = ReconciliationRun.objects.create(
        day=at.date(), source="gw_walk", state=RunState.DIFFERENT, first_run_at=now(), last_run_at=now()
    )
    values = {"kind": "price_mismatch", "external_id": "rsv_walk", "at": at, "amount_usd": Decimal("0.5")}
    sides = {"portal": {"input": 0, "cost_usd": "0.5"}, "gateway": {"input": 0, "cost_usd": "1"}}
    return Discrepancy.objects.create(run=run, detail=sides, opened_at=now(), **{**values, **fields})


def softly(cast: Cast) -> PeriodClose:
    return soft_close_period(actor=cast.fay, month=long_past())


def closed(cast: Cast) -> PeriodClose:
    PeriodClose.objects.create(month=long_past(), state=PeriodState.SOFT)
    return close_period(actor=cast.fay, month=long_past())


def reopened(cast: Cast) -> PeriodClose:
    PeriodClose.objects.create(
        month=long_past(), state=PeriodState.CLOSED, closed_at=now(), closed_by=cast.ann
    )
    return reopen_period(actor=cast.fay, month=long_past(), reason=WHY)


WALK: Walk = {
    "usage.assign": (
        lambda cast: assign(actor=cast.fay, discrepancy=differing(cast), owner=cast.ann),
        ["discrepancy.assigned"],
    ),
    "usage.explain": (
        lambda cast: explain(actor=cast.fay, discrepancy=differing(cast), reason=WHY),
        ["discrepancy.explained"],
    ),
    "usage.accept": (
        lambda cast: accept(actor=cast.fay, discrepancy=differing(cast), reason=WHY),
        ["discrepancy.accepted"],
    ),
    "usage.correct": (
        lambda cast: correct(actor=cast.fay, discrepancy=differing(cast), reason=WHY),
        ["discrepancy.corrected"],
    ),
    "usage.confirm_price": (
        lambda cast: confirm_price(
            actor=cast.ann,
            discrepancy=differing(cast, kind="price_change", proposal={"prices": {}, "from": "2026-11-01"}),
            reason=WHY,
        ),
        ["discrepancy.price_confirmed"],
    ),
    "usage.soft_close_period": (softly, ["period.soft_closed"]),
    "usage.close_period": (closed, ["period.closed"]),
    "usage.reopen_period": (reopened, ["period.reopened"]),
}
