"""Closes months of the books: softly for provisional statements, then for good, and opens one again."""

from datetime import date
from typing import Any

import structlog
from django.db import connection, transaction

from core import audit, clock
from core.errors import AlreadyDoneError, InvalidInputError, NotAllowedError
from core.reasons import checked_reason
from teams.models import User
from usage.models import PeriodClose, PeriodState
from usage.selectors.closing import checklist, end_of_month, soft_close_from
from usage.selectors.compared import left_out
from usage.selectors.periods import organisation_today
from usage.services.reconciliation.due import mark_left_out
from usage.services.reconciliation.resolving import require_keeper

log = structlog.get_logger(__name__)

SNAPSHOT_SQL = """
    INSERT INTO usage_period_figure (period_id, closed_at, project_id, team_id, department_id, model_id,
      tier_id, calls, cost_usd, input_tokens, cached_tokens, cache_write_tokens, output_tokens,
      reasoning_tokens)
    SELECT %(period)s, %(at)s, project_id, team_id, department_id, model_id, tier_id, sum(calls),
      sum(cost_usd), sum(input_tokens), sum(cached_tokens), sum(cache_write_tokens), sum(output_tokens),
      sum(reasoning_tokens)
    FROM usage_day WHERE day >= %(first)s AND day < %(end)s
    GROUP BY project_id, team_id, department_id, model_id, tier_id
"""


class SamePersonError(NotAllowedError):
    """Who closed a month asks another person to reopen it."""

    code = "same_person"
    title = "Another person must do this"


@transaction.atomic
def soft_close_period(*, actor: User, month: date) -> PeriodClose:
    """Close a month softly, three days after its end: statements are provisional; figures may still move.

    Days on which a gateway's calls were never compared are marked, so that its list of checks names them.

    Finance and administrators may. Raises RoleNeededError, InvalidInputError for a month that is not over or
    a day that starts none, AlreadyDoneError when it is softly closed or closed.
    """
    require_keeper(actor, "close months")
    if organisation_today() < soft_close_from(month):
        raise InvalidInputError(
            f"{month:%B %Y} can be softly closed from {soft_close_from(month):%-d %B %Y} on."
        )
    period = _locked(month)
    if period.state in {PeriodState.SOFT, PeriodState.CLOSED}:
        raise AlreadyDoneError(f"{period} is {period.get_state_display().lower()} already.")
    mark_left_out(left_out(month, end_of_month(month)))
    before = period.state
    period.state, period.soft_closed_at, period.soft_closed_by = PeriodState.SOFT, clock.now(), actor
    period.save()
    _record(actor, "period.soft_closed", period, before)
    return period


@transaction.atomic
def close_period(*, actor: User, month: date) -> PeriodClose:
    """Close a month for good: what it came to is written down; what comes later is booked in the open one.

    Every check of its list must hold. Finance and administrators may. Raises RoleNeededError,
    AlreadyDoneError when it is closed, InvalidInputError when it was not softly closed or a check fails.
    """
    require_keeper(actor, "close months")
    period = _locked(month)
    if period.state == PeriodState.CLOSED:
        raise AlreadyDoneError(f"{period} is closed already.")
    if period.state != PeriodState.SOFT:
        raise InvalidInputError(f"Close {period} softly first, so that its statements can be looked at.")
    open_checks = [check.detail for check in checklist(month) if not check.holds]
    if open_checks:
        raise InvalidInputError(f"{period} cannot be closed yet. {' '.join(open_checks)}")
    before, at = period.state, clock.now()
    period.state, period.closed_at, period.closed_by = PeriodState.CLOSED, at, actor
    period.save()
    with connection.cursor() as cursor:
        cursor.execute(
            SNAPSHOT_SQL, {"period": period.pk, "at": at, "first": month, "end": end_of_month(month)}
        )
    _record(actor, "period.closed", period, before)
    return period


@transaction.atomic
def reopen_period(*, actor: User, month: date, reason: str) -> PeriodClose:
    """Open a closed month again; another person than the one who closed it, of finance or administrators.

    Raises RoleNeededError, SamePersonError, InvalidInputError without a reason or for a month that is open.
    """
    require_keeper(actor, "reopen months")
    text = checked_reason(reason)
    period = _locked(month)
    if period.state != PeriodState.CLOSED:
        raise InvalidInputError(f"{period} is not closed.")
    if period.closed_by_id == actor.pk:
        raise SamePersonError(f"You closed {period}. Ask another person of finance or an administrator.")
    before = period.state
    period.state, period.reopened_at, period.reopened_by = PeriodState.REOPENED, clock.now(), actor
    period.reason = text
    period.save()
    _record(actor, "period.reopened", period, before, reason=text)
    return period


def _locked(month: date) -> PeriodClose:
    """Return the row of a month, made if it is the first, locked. Raises InvalidInputError for no month."""
    if month.day != 1:
        raise InvalidInputError("A month is named by its first day.", field="month")
    PeriodClose.objects.bulk_create([PeriodClose(month=month)], ignore_conflicts=True)
    return PeriodClose.objects.select_for_update(no_key=True).order_by("pk").get(month=month)


def _record(actor: User, action: str, period: PeriodClose, before: str, **facts: Any) -> None:
    audit.record(
        actor=actor,
        action=action,
        subject=period,
        before={"state": before},
        after={"state": period.state},
        **facts,
    )
    log.info("usage.period", action=action, month=str(period.month))
