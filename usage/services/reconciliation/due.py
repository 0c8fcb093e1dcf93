"""Which days of which accounts must be compared: recent ones, and whatever has figures newer than its run."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from itertools import product
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Max

from core import clock
from core.deadline import OverTimeError, ends_within
from usage.models import (
    Discrepancy,
    DiscrepancyState,
    Invoice,
    Level,
    ProviderAccount,
    ProviderCost,
    ProviderUsage,
    ReconciliationRun,
    RunState,
)
from usage.selectors.compared import NOT_COMPARED, end_of_day, was_whole, with_calls
from usage.selectors.sources import gateways_alone, gateways_told, reads_of_gateways
from usage.services.reconciliation import runs
from usage.services.reconciliation.calls import reconcile_day
from usage.services.reconciliation.money import reconcile_costs, reconcile_invoice
from usage.services.reconciliation.volumes import first_joined, reconcile_volumes

log = structlog.get_logger(__name__)

RECENT_DAYS = 4  # until money is final
DAYS_BACK = 45
MOST_RUNS = 200  # a task stays short; the next one goes on
NEVER = datetime.min.replace(tzinfo=UTC)
NIGHTLY = time(4, 20)
TOO_LARGE = "Too much for a job to compare. manage.py reconcile --day has the time."
GIVE_UP_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One comparison that is due: which run it writes, and how."""

    name: str
    source: str
    day: date
    level: Level
    compare: Callable[[], ReconciliationRun]


def reconcile_recent_days() -> dict[str, str]:
    """Compare today and the two days before with every gateway, those without a record of their own too, and
    earlier days that were left out; return the outcomes. What was compared longest ago comes first, and what
    there is no time for with the next run.
    """
    today = clock.now().date()
    days = [today - timedelta(days=back) for back in (2, 1, 0)]
    earlier = [today - timedelta(days=back) for back in range(3, DAYS_BACK + 1)]
    known = ReconciliationRun.objects.filter(level=Level.CALLS, day__gte=earlier[-1])
    runs_of = {(run.source, run.day): run for run in known}
    waiting = _left_out(earlier, runs_of)
    due = [*product(gateways_told(), days), *gateways_alone(days), *waiting]
    due.sort(key=lambda one: runs_of[one].last_run_at if one in runs_of else NEVER)
    outcomes = _in_turn(
        Work(
            name=f"{source} {day}",
            source=source,
            day=day,
            level=Level.CALLS,
            compare=partial(reconcile_day, source=source, day=day),
        )
        for source, day in due
    )
    mark_left_out([one for one in waiting if f"{one[0]} {one[1]}" not in outcomes])
    return outcomes


@transaction.atomic
def mark_left_out(pairs: Sequence[tuple[str, date]]) -> None:
    """Write down that gateways' calls of these days were never compared since they were over: each as a run
    that is red, so that pages see it. One that was begun with calls says so itself, and stays.
    """
    if not pairs:
        return
    now = clock.now()
    red: dict[str, Any] = {"state": RunState.UNREADABLE, "notice": NOT_COMPARED, "last_run_at": now}
    marks = [
        ReconciliationRun(source=source, day=day, level=Level.CALLS, first_run_at=now, **red)
        for source, day in pairs
    ]
    ReconciliationRun.objects.bulk_create(marks, ignore_conflicts=True)
    empty = ReconciliationRun.objects.filter(level=Level.CALLS, portal_calls=0, gateway_calls=0)
    found = empty.filter(day__in={day for _, day in pairs}).exclude(state=RunState.UNREADABLE)
    begun = [pk for pk, *one in found.values_list("pk", "source", "day") if tuple(one) in set(pairs)]
    ReconciliationRun.objects.filter(pk__in=begun).update(**red)


def _left_out(
    days: Sequence[date], runs_of: Mapping[tuple[str, date], ReconciliationRun]
) -> list[tuple[str, date]]:
    """Return the gateways and days with calls that were never compared, or only before they were over, or in
    vain, and whose record was read since. After an outage of any length nothing is left out.
    """
    read_at: dict[str, datetime] = {}
    for gateway, at in reads_of_gateways():
        read_at[gateway] = min(read_at.get(gateway, at or NEVER), at or NEVER)

    def is_left_out(one: tuple[str, date]) -> bool:
        run = runs_of.get(one)
        if run is None or run.notice == NOT_COMPARED or not was_whole(run):
            return True
        if run.state != RunState.UNREADABLE or run.notice == TOO_LARGE:
            return False
        return read_at.get(run.source, NEVER) >= max(run.last_run_at, end_of_day(run.day))

    pairs = [*product(read_at, days), *gateways_alone(days)]
    return with_calls([one for one in pairs if is_left_out(one)])


def reconcile_due_accounts() -> dict[str, str]:
    """Compare what is due with providers in volume and money, and return the outcomes by run.

    A day is due that was never compared, or whose newest figure is newer than its run; each of the last days,
    every bill, and days with usage that nothing priced, also once a night: ledger and prices may have
    changed.
    """
    now = clock.now()
    night = datetime.combine(now.date(), NIGHTLY, tzinfo=UTC)
    return _in_turn(_of_accounts(night if night <= now else night - timedelta(days=1)))


def _of_accounts(night: datetime) -> Iterator[Work]:
    for account, day in _due_days(night):
        yield Work(
            name=f"2 {account.public_id} {day}",
            source=account.public_id,
            day=day,
            level=Level.VOLUMES,
            compare=partial(reconcile_volumes, account=account, day=day),
        )
        if tells_costs(account):
            yield Work(
                name=f"3 {account.public_id} {day}",
                source=account.public_id,
                day=day,
                level=Level.MONEY,
                compare=partial(reconcile_costs, account=account, day=day),
            )
    for invoice in _due_invoices(night):
        yield Work(
            name=f"3 {invoice.public_id}",
            source=invoice.public_id,
            day=invoice.period_start,
            level=Level.MONEY,
            compare=partial(reconcile_invoice, invoice=invoice),
        )


def _in_turn(works: Iterable[Work]) -> dict[str, str]:
    """Compare one after the other while there is time, and return the outcomes by name.

    What a whole job has no time for is written down as not compared, so that it holds up nobody else.
    """
    outcomes: dict[str, str] = {}
    goes_on = clock.time_left()
    for work in works:
        if len(outcomes) >= MOST_RUNS or not goes_on():
            break
        try:
            outcomes[work.name] = work.compare().state
        except OverTimeError:
            if outcomes:
                break  # it comes again, first, with all the time there is
            outcomes[work.name] = _give_up(work)
    return outcomes


@transaction.atomic
def _give_up(work: Work) -> str:
    log.error("usage.takes_too_long_to_reconcile", source=work.source, day=str(work.day), level=work.level)
    with ends_within(GIVE_UP_SECONDS, anew=True):
        run = runs.locked_run(source=work.source, day=work.day, level=work.level)
        return str(runs.finish(run, state=RunState.UNREADABLE, notice=TOO_LARGE).state)


def tells_costs(account: ProviderAccount) -> bool:
    """Whether an account's money is read day by day: it has an administrator's key, or has told before."""
    return bool(account.admin_credential) or ProviderCost.objects.filter(account=account).exists()


def compared_accounts() -> list[ProviderAccount]:
    """Return the open accounts under which runs are written: of those joined together the first."""
    accounts = ProviderAccount.objects.filter(closed_at__isnull=True).order_by("pk")
    found: dict[int, ProviderAccount] = {}
    for account in accounts:
        first = first_joined(account)
        found.setdefault(first.pk, first)
    return list(found.values())


def _due_days(night: datetime) -> Iterator[tuple[ProviderAccount, date]]:
    yesterday = clock.now().astimezone(UTC).date() - timedelta(days=1)
    for account in compared_accounts():
        read = _newest_figures(account, yesterday - timedelta(days=DAYS_BACK))
        run_at = dict(
            ReconciliationRun.objects.filter(source=account.public_id, level=Level.VOLUMES).values_list(
                "day", "last_run_at"
            )
        )
        unpriced = set(
            Discrepancy.objects.filter(
                run__source=account.public_id,
                run__level=Level.VOLUMES,
                state=DiscrepancyState.OPEN,
                detail__has_key="unpriced",
            ).values_list("run__day", flat=True)
        )
        begun = min(read, default=yesterday)
        for back in range(DAYS_BACK + 1):
            day = yesterday - timedelta(days=back)
            newest = read.get(day)
            if day not in run_at:
                is_due = day >= begun or back == 0
            else:
                is_due = newest is not None and newest > run_at[day]
            is_looked_at = (back < RECENT_DAYS and day >= begun) or day in unpriced
            was_due_tonight = is_looked_at and run_at.get(day, NEVER) < night
            if is_due or was_due_tonight:
                yield account, day


def _newest_figures(account: ProviderAccount, since: date) -> dict[date, datetime]:
    newest: dict[date, datetime] = {}
    for figures in (ProviderUsage.objects, ProviderCost.objects):
        rows = figures.filter(account=account, day__gte=since).values_list("day").annotate(at=Max("read_at"))
        for day, at in rows.order_by("day"):
            newest[day] = max(filter(None, (newest.get(day), at)))
    return newest


def _due_invoices(night: datetime) -> Iterator[Invoice]:
    run_at = dict(
        ReconciliationRun.objects.filter(level=Level.MONEY, source__startswith="inv_").values_list(
            "source", "last_run_at"
        )
    )
    for invoice in (
        Invoice.objects.filter(superseded_at__isnull=True).select_related("account").order_by("pk")
    ):
        ran = run_at.get(invoice.public_id)
        if ran is None or ran < max(invoice.uploaded_at, night):
            yield invoice
