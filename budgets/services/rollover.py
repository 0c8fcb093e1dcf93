"""Keeps what a window passed on equal to what it came to, when calls settle after its end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.db import connection, transaction
from django.db.models import F, Sum

from budgets.expressions import ClockTimestamp
from budgets.models import Balance, Budget, Entry, EntryKind, RollOver
from budgets.schedules import Schedule, Step
from budgets.windows import window_at
from core.money import ZERO

log = structlog.get_logger(__name__)

# A call that settles later than this after the end of its window is no longer passed on.
LOOK_BACK = timedelta(days=92)
JUST_BEFORE = timedelta(microseconds=1)
REASON = "The window before came to {spent} of {limit} after late settlements."
REASON_SKIPPED = "The last window with calls came to {spent} of {limit}, {windows} windows before this one."


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A carry, the budget and the window that it opened."""

    entry_id: int
    budget_id: int
    window_start: datetime


def true_up_carry(*, since: timedelta = LOOK_BACK) -> int:
    """Correct every carry that no longer equals what its window before came to; return how many there were.

    A correction is an entry of its own that names the carry. The oldest window comes first, because what
    is corrected in one changes what it passes on to the next. May run twice: nothing is corrected twice.
    """
    return sum(_true_up(passed) for passed in _carries(since))


def open_window(budget: Budget) -> None:
    """Make the balance of the window of now by the rule of now, if there is none yet."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT budgets_open_window(%s, clock_timestamp())", [budget.pk])


def carried_usd(rule: RollOver, *, limit_usd: Decimal | None, spent_usd: Decimal) -> Decimal:
    """Return what a window passes on: negative is more to spend in the next one, positive is less.

    `unused` gives no debt, `debt` no credit; without a limit nothing is left and nothing is over.
    """
    if limit_usd is None:
        return ZERO
    match rule:
        case RollOver.UNUSED:
            return min(ZERO, spent_usd - limit_usd)
        case RollOver.DEBT:
            return max(ZERO, spent_usd - limit_usd)
        case _:
            return ZERO


def passed_on_usd(rule: RollOver, limits_usd: Sequence[Decimal | None], *, spent_usd: Decimal) -> Decimal:
    """Return what is passed on by a window that came to `spent_usd` and by windows without calls after it.

    `limits_usd` are the limits at their ends, the oldest first. A window without calls comes to what it was
    passed, so unused money adds up over skipped windows, and each of them pays off a part of a debt.
    """
    for limit_usd in limits_usd:
        spent_usd = carried_usd(rule, limit_usd=limit_usd, spent_usd=spent_usd)
    return spent_usd


def _carries(since: timedelta) -> list[Passed]:
    """Read the carries of the windows that began lately, the oldest window first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, budget_ids[1], window_starts[1] FROM budgets_entry"
            " WHERE kind = 'carry' AND window_starts[1] >= clock_timestamp() - make_interval(secs => %s)"
            " ORDER BY 3, 2",
            [since.total_seconds()],
        )
        return [
            Passed(entry_id=entry, budget_id=budget, window_start=start)
            for entry, budget, start in cursor.fetchall()
        ]


@transaction.atomic
def _true_up(passed: Passed) -> bool:
    """Correct one carry if it has to be, under the locks of both windows' balances."""
    budget = Budget.objects.get(pk=passed.budget_id)
    before = budget.balances.filter(window_start__lt=passed.window_start).order_by("window_start").last()
    starts = {passed.window_start} | ({before.window_start} if before else set())
    # The order of every other locker of balances: by budget, then by window.
    rows = Balance.objects.filter(budget=budget, window_start__in=starts).select_for_update(no_key=True)
    balances = {row.window_start: row for row in rows.order_by("budget_id", "window_start")}
    if passed.window_start not in balances:
        return False  # the books are broken already, which `ledger_verify` says
    spent_usd = balances[before.window_start].spent_usd if before else ZERO
    ends = _ends(budget, before.window_end if before else None, until=passed.window_start)
    limits_usd = [_limit_just_before(budget, end) for end in ends]
    carry = Entry.objects.get(pk=passed.entry_id)
    corrected_usd = carry.corrections.aggregate(usd=Sum("amount_usd"))["usd"] or ZERO
    owed_usd = passed_on_usd(_rule(carry, budget), limits_usd, spent_usd=spent_usd)
    difference_usd = owed_usd - carry.amount_usd - corrected_usd
    if not difference_usd:
        return False
    reason = REASON if len(ends) == 1 else REASON_SKIPPED
    Entry.objects.create(
        kind=EntryKind.CORRECTION,
        amount_usd=difference_usd,
        budget_ids=[budget.pk],
        window_starts=[passed.window_start],
        corrects=carry,
        reason=reason.format(
            spent=f"{spent_usd:f}",
            limit=f"{limits_usd[0]:f}" if limits_usd[0] is not None else "none",
            windows=len(ends),
        ),
        effective_at=passed.window_start,
        recorded_at=ClockTimestamp(),
    )
    Balance.objects.filter(budget=budget, window_start=passed.window_start).update(
        spent_usd=F("spent_usd") + difference_usd
    )
    log.info("budget.carry_corrected", budget=budget.public_id, difference_usd=f"{difference_usd:f}")
    return True


def _ends(budget: Budget, first: datetime | None, *, until: datetime) -> list[datetime]:
    """Return the ends of the windows that pass something on to the one that begins at `until`.

    `first` is the end of the last window with a balance; without one the budget's first window comes first.
    """
    end = first or min(_end_of_window(budget, budget.created_at), until)
    ends = [end]
    while end < until:
        end = _end_of_window(budget, end)
        ends.append(end)
    return ends


def _end_of_window(budget: Budget, moment: datetime) -> datetime:
    return window_at(budget.window, moment, time_zone=budget.time_zone, anchor=budget.window_anchor).ends_at


def _rule(carry: Entry, budget: Budget) -> RollOver:
    """Return the rule by which a carry was made: only one gives a credit, only the other a debt.

    Of a carry of nothing the rule of now is as good as any: it was switched on by then.
    """
    if carry.amount_usd:
        return RollOver.UNUSED if carry.amount_usd < 0 else RollOver.DEBT
    return RollOver(budget.roll_over)


def _limit_just_before(budget: Budget, moment: datetime) -> Decimal | None:
    """Return the limit in force at the very end of the window that ended at `moment`."""
    rows = budget.limits.filter(valid_from__lt=moment).order_by("valid_from", "pk")
    steps = tuple(
        Step(
            amount_usd=row.amount_usd,
            valid_from=row.valid_from,
            valid_until=row.valid_until,
            number=row.pk,
        )
        for row in rows
    )
    return Schedule(steps=steps).limit_at(moment - JUST_BEFORE)
