"""The alarm clock's side of usage: each task loads, calls a service and returns counts. All may run twice."""

from datetime import timedelta

from celery import shared_task

from core import clock
from usage import services

REPRICING_TIME = timedelta(seconds=40)


@shared_task(name="usage.expire_holds")
def expire_holds() -> int:
    """Charge calls that were allowed and never settled."""
    return services.expire_holds()


@shared_task(name="usage.reclaim_leases")
def reclaim_leases() -> int:
    """Give back what ended leases still hold."""
    return services.reclaim_leases()


@shared_task(name="usage.stop_runaways")
def stop_runaways() -> int:
    """Look at keys that spend now, where no settlement of theirs could, and forget old minutes."""
    services.join_minutes()
    return services.stop_runaways()


@shared_task(name="usage.tell_of_spend")
def tell_of_spend() -> int:
    """Tell of budgets that passed a share of their limit."""
    return services.tell_of_spend()


@shared_task(name="usage.tell_of_forecasts")
def tell_of_forecasts() -> int:
    """Tell of budgets that are forecast to pass their limit."""
    return services.tell_of_forecasts()


@shared_task(name="usage.watch_spend")
def watch_spend() -> int:
    """Warn of projects that spend more than they usually do."""
    return services.watch_spend()


@shared_task(name="usage.make_partitions")
def make_partitions() -> int:
    """Make next months' tables."""
    return services.make_partitions()


@shared_task(name="usage.run_repricings")
def run_repricings() -> int:
    """Book corrections that were approved, for a while."""
    return services.run_repricings(until=clock.now() + REPRICING_TIME)


@shared_task(name="usage.check_prices")
def check_prices() -> dict[str, int]:
    """Compare prices with the list, and look for calls that they do not fit."""
    return services.check_prices()


@shared_task(name="usage.reconcile_recent_days")
def reconcile_recent_days() -> dict[str, str]:
    """Compare the last days with every gateway, call by call, and tell of calls told with two figures."""
    services.follow_settlements()
    services.tell_of_conflicts()
    return services.reconcile_recent_days()


@shared_task(name="usage.reconcile_new_figures")
def reconcile_new_figures() -> dict[str, str]:
    """Compare days of which a provider told something new, and each night the last days."""
    return services.reconcile_due_accounts()


@shared_task(name="usage.recount_yesterday")
def recount_usage() -> int:
    """Recount yesterday's roll-up of usage against its events; the status page says when they differ."""
    return services.recount_yesterday().differing


@shared_task(name="usage.fold_days")
def fold_days() -> int:
    """Sum by project what is over for long, so that a trend of weeks need not read it key by key."""
    return services.fold_days()


@shared_task(name="usage.retire_months")
def retire_months() -> dict[str, str]:
    """Drop what is no longer kept: the calls of old months, and the hours of before some weeks."""
    services.forget_hours()
    services.forget_pace()
    return services.retire_months()
