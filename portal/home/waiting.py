"""A request as a line of a list."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.urls import reverse

from approvals.models import AccessRequest
from core import clock
from core.shapes import Tone

SOON = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRow:
    """A request that waits for a decision; amounts are US dollars a month."""

    url: str
    title: str
    requester: str
    expected_usd: Decimal
    asked_at: datetime
    due: Tone


def waiting_row(request: AccessRequest) -> WaitingRow:
    """Return a pending request as the Overview lists it."""
    return WaitingRow(
        url=reverse("approvals:detail", args=[request.public_id]),
        title=str(request),
        requester=str(request.requester),
        expected_usd=request.expected_monthly_usd,
        asked_at=request.created_at,
        due=_due(request.decide_by - clock.now()),
    )


def _due(left: timedelta) -> Tone:
    if left < SOON:
        return Tone(tone="warn", text=f"Due in {max(left // timedelta(hours=1), 0)} hours")
    return Tone(tone="", text=f"Due in {left.days} days")
