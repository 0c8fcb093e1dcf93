"""The acts on rows that could not be booked."""

from __future__ import annotations

from typing import Any

from core import clock
from tests.cast import Cast
from tests.factories import ApiKeyFactory, GatewayFactory
from tests.usage.books import set_aside
from tests.walk import WHY, Walk
from usage.models import Quarantine
from usage.services.quarantine import AssignedCall, assign_quarantined, dismiss_quarantined


def row(_cast: Cast) -> Quarantine:
    return set_aside(GatewayFactory.create(name="log").public_id)


def assigned(cast: Cast) -> Any:
    call = AssignedCall(
        external_id="call-1",
        at=clock.now(),
        key=ApiKeyFactory.create(project=cast.ranking, owner=cast.ada).public_id,
        model="small",
        tokens={
            "input_tokens": 1_000,
            "cached_tokens": 0,
            "cache_write_tokens": 0,
            "output_tokens": 100,
            "reasoning_tokens": 0,
        },
        finish="stop",
    )
    return assign_quarantined(actor=cast.ann, entry=row(cast), call=call, reason=WHY)


WALK: Walk = {
    "usage.assign_quarantined": (assigned, ["quarantine.booked"]),
    "usage.dismiss_quarantined": (
        lambda cast: dismiss_quarantined(actor=cast.ann, entry=row(cast), reason=WHY),
        ["quarantine.dismissed"],
    ),
}
