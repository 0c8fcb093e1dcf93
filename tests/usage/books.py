"""Writes usage for tests of what is read: roll-up rows alone, as the settlement would have left them."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from catalog.models import LlmModel
from keys.models import ApiKey
from teams.models import Project, User
from usage.models import BlockedHour, UsageDay


def book(
    project: Project,
    model: LlmModel,
    day: date,
    amount: str,
    *,
    owner: User | None = None,
    key: ApiKey | None = None,
    **fields: Any,
) -> UsageDay:
    """Book a day's cost of one project on one model, attributed as the project stands now."""
    person = owner or project.owner
    tokens = {"calls": 1, "input_tokens": 1_000, "output_tokens": 100}
    return UsageDay.objects.create(
        day=day,
        key_id=key.pk if key else 10_000 + project.pk,
        owner=person,
        project=project,
        team=project.team,
        department=project.team.department,
        model=model,
        tier_id=model.tier_id,
        cost_usd=Decimal(amount),
        **{**tokens, **fields},
    )


def refuse(
    project: Project, at: datetime, code: str, calls: int, *, key: ApiKey | None = None
) -> BlockedHour:
    """Count refused calls of a project in the hour of a moment."""
    return BlockedHour.objects.create(
        hour=at.replace(minute=0, second=0, microsecond=0),
        key_id=key.pk if key else 1,
        project=project,
        team=project.team,
        department=project.team.department,
        code=code,
        calls=calls,
        last_at=at,
    )
