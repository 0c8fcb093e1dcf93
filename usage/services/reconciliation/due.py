"""Which days of which accounts must be compared: recent ones, and whatever has figures newer than its run."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import product

from django.db.models import Max

from core import clock
from usage.models import Invoice, Level, ProviderAccount, ProviderCost, ProviderUsage, ReconciliationRun
from usage.selectors.sources import gateways_alone, gateways_told
from usage.services.reconciliation.calls import reconcile_day
from usage.services.reconciliation.money import reconcile_costs, reconcile_invoice
from usage.services.reconciliation.volumes import first_joined, reconcile_volumes

RECENT_DAYS = 4  # until money is final
DAYS_BACK = 45
MOST_RUNS = 200  # a task stays short; the next one goes on
NEVER = datetime.min.replace(tzinfo=UTC)


def reconcile_recent_days() -> dict[str, str]:
    """Compare today and the two days before with every gateway, those without a record of their own too, and
    return the outcomes. What was compared longest ago comes first, and what there is no time for with the
    next run.
    """
    today = clock.now().date()
    days = [today - timedelta(days=back) for back in (2, 1, 0)]
    runs = ReconciliationRun.objects.filter(level=Level.CALLS, day__in=days)
    run_at = {(run.source, run.day): run.last_run_at for run in runs}
    due = sorted(
        [*product(gateways_told(), days), *gateways_alone(days)], key=lambda one: run_at.get(one, NEVER)
    )
    goes_on = clock.time_left()
    return {
        f"{source} {day}": reconcile_day(source=source, day=day).state for source, day in due if goes_on()
    }


def reconcile_due_accounts(*, recent: bool = False) -> dict[str, str]:
    """Compare what is due with providers in volume and money, and return the outcomes by run.

    A day is due that was never compared, or whose newest figure is newer than its run; with `recent` also
    each of the last days, because the ledger may have changed.
    """
    outcomes: dict[str, str] = {}
    goes_on = clock.time_left()
    for account, day in _due_days(recent=recent):
        if len(outcomes) >= MOST_RUNS or not (recent or goes_on()):
            return outcomes
        volumes = reconcile_volumes(account=account, day=day)
        outcomes[f"2 {account.public_id} {day}"] = volumes.state
        if tells_costs(account):
            money = reconcile_costs(account=account, day=day)
            outcomes[f"3 {account.public_id} {day}"] = money.state
    for invoice in _due_invoices(recent=recent):
        outcomes[f"3 {invoice.public_id}"] = reconcile_invoice(invoice=invoice).state
    return outcomes


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


def _due_days(*, recent: bool) -> Iterator[tuple[ProviderAccount, date]]:
    yesterday = clock.now().astimezone(UTC).date() - timedelta(days=1)
    for account in compared_accounts():
        read = _newest_figures(account, yesterday - timedelta(days=DAYS_BACK))
        run_at = dict(
            ReconciliationRun.objects.filter(source=account.public_id, level=Level.VOLUMES).values_list(
                "day", "last_run_at"
            )
        )
        begun = min(read, default=yesterday)
        for back in range(DAYS_BACK + 1):
            day = yesterday - timedelta(days=back)
            is_recent = recent and back < RECENT_DAYS
            newest = read.get(day)
            if day not in run_at:
                is_due = day >= begun or back == 0
            else:
                is_due = newest is not None and newest > run_at[day]
            if is_due or (is_recent and day >= begun):
                yield account, day


def _newest_figures(account: ProviderAccount, since: date) -> dict[date, datetime]:
    newest: dict[date, datetime] = {}
    for figures in (ProviderUsage.objects, ProviderCost.objects):
        rows = figures.filter(account=account, day__gte=since).values_list("day").annotate(at=Max("read_at"))
        for day, at in rows.order_by("day"):
            newest[day] = max(filter(None, (newest.get(day), at)))
    return newest


def _due_invoices(*, recent: bool) -> Iterator[Invoice]:
    run_at = dict(
        ReconciliationRun.objects.filter(level=Level.MONEY, source__startswith="inv_").values_list(
            "source", "last_run_at"
        )
    )
    for invoice in (
        Invoice.objects.filter(superseded_at__isnull=True).select_related("account").order_by("pk")
    ):
        ran = run_at.get(invoice.public_id)
        if ran is None or ran < invoice.uploaded_at or recent:
            yield invoice
