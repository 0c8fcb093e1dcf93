"""Writes usage for tests of what is read: single rows, as the settlement would have left them."""

import hashlib
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from catalog.models import LlmModel
from core import clock
from keys.models import ApiKey
from teams.models import Project, User
from usage.models import BlockedHour, Quarantine, QuarantineReason, UsageDay, UsageEvent


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


def overcharge(project: Project, model: LlmModel) -> UsageEvent:
    """Keep a call of ten tokens, made an hour ago, that was charged a dollar."""
    now = clock.now()
    return UsageEvent.objects.create(
        source="gw", external_id=f"rsv_{model.name}", at=now - timedelta(hours=1), recorded_at=now,
        key_id=1, owner=project.owner, project=project, team=project.team,
        department=project.team.department, model=model, tier=model.tier, cost_usd=1, input_tokens=10,
        finish="stop",
    )  # fmt: skip


def refuse(
    project: Project, at: datetime, code: str, calls: int, *, key: ApiKey | None = None, **cause: Any
) -> BlockedHour:
    """Count refused calls of a project in the hour of a moment; `cause` is what budget or rate refused."""
    return BlockedHour.objects.create(
        hour=at.replace(minute=0, second=0, microsecond=0),
        key_id=key.pk if key else 1,
        project=project,
        team=project.team,
        department=project.team.department,
        code=code,
        calls=calls,
        last_at=at,
        **cause,
    )


def set_aside(
    source: str,
    external_id: str = "call-1",
    reason: QuarantineReason = QuarantineReason.UNKNOWN_KEY,
    **fields: Any,
) -> Quarantine:
    """Keep a row that could not be booked, of a call of 1,000 tokens in and 100 out."""
    row = fields.pop("row", {}) or {
        "external_id": external_id,
        "at": "2026-11-23T12:00:00+00:00",
        "key": "key_nobody",
        "model": "small",
        "input_tokens": 1_000,
        "output_tokens": 100,
    }
    values = {"detail": "No key has this public id.", **fields}
    digest = hashlib.sha256(repr((external_id, row)).encode()).hexdigest()
    return Quarantine.objects.create(
        source=source, external_id=external_id, reason=reason, row=row, row_hash=digest, **values
    )


HOURS = """
    INSERT INTO usage_hour (hour, project_id, team_id, department_id, model_id, tier_id, calls, cost_usd,
      input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens)
    SELECT date_trunc('hour', at, 'UTC'), project_id, team_id, department_id, model_id, tier_id, sum(calls),
      sum(cost_usd), sum(input_tokens), sum(cached_tokens), sum(cache_write_tokens), sum(output_tokens),
      sum(reasoning_tokens)
    FROM usage_event GROUP BY 1, 2, 3, 4, 5, 6
"""


def count_hours() -> None:
    """Sum by the hour what events a test wrote by hand."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM usage_hour")
        cursor.execute(HOURS)
