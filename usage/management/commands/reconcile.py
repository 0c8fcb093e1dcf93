"""`manage.py reconcile --day 2026-11-01`: compares a day with gateways and providers."""

import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from datetime import UTC, date, timedelta
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core import clock
from core.money import format_usd
from usage.models import Level, ReconciliationRun, RunState
from usage.selectors.sources import gateways_alone, gateways_told
from usage.services import reconcile_costs, reconcile_day, reconcile_volumes
from usage.services.reconciliation.due import compared_accounts, tells_costs

Job = tuple[str, Callable[[], ReconciliationRun]]
BAR = 30


class Command(BaseCommand):
    """Compares one UTC day, at the levels and with the sources that are asked for."""

    help = "Compare a day's ledger with gateways and providers; exit 1 where a source could not be read."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--day", type=day_of, help="a UTC day such as 2026-11-01; yesterday by default")
        parser.add_argument("--level", type=levels_of, default=(1, 2, 3), help="1, 2, 3 or several: 1,2")
        parser.add_argument("--source", default="", help="the id of one gateway or provider account")

    def handle(self, *, day: date | None, level: tuple[int, ...], source: str, **_options: Any) -> None:
        """Compare, print a line for each run, and exit 1 when a source could not be read."""
        asked = day or clock.now().astimezone(UTC).date() - timedelta(days=1)
        jobs = list(jobs_of(asked, level, source))
        if not jobs:
            raise CommandError("There is nothing to compare: no such source, or none at this level.")
        runs = [self._run(number, jobs) for number in range(len(jobs))]
        self._bar(len(jobs), len(jobs), "")
        for run in runs:
            self.stdout.write(line_of(run))
        unreadable = sum(run.state == RunState.UNREADABLE for run in runs)
        if unreadable:
            raise CommandError(f"{unreadable} of {len(runs)} could not be compared.", returncode=1)

    def _run(self, number: int, jobs: list[Job]) -> ReconciliationRun:
        name, job = jobs[number]
        self._bar(number, len(jobs), name)
        return job()

    def _bar(self, done: int, of: int, name: str) -> None:
        """Draw how far the command is, on a terminal only."""
        if not sys.stderr.isatty():
            return
        full = BAR * done // of
        self.stderr.write(f"\r[{'#' * full}{'.' * (BAR - full)}] {done}/{of} {name:60.60}", ending="")
        if done == of:
            self.stderr.write("")


def jobs_of(day: date, levels: tuple[int, ...], source: str) -> Iterator[Job]:
    """Give what is to be compared, each with a name."""
    if Level.CALLS in levels:
        for name in [*gateways_told(), *(name for name, _ in gateways_alone([day]))]:
            if source in {"", name}:
                yield f"calls of {name}", partial(reconcile_day, source=name, day=day)
    for account in compared_accounts():
        if source not in {"", account.public_id}:
            continue
        if Level.VOLUMES in levels:
            yield f"volumes of {account}", partial(reconcile_volumes, account=account, day=day)
        if Level.MONEY in levels and tells_costs(account):
            yield f"money of {account}", partial(reconcile_costs, account=account, day=day)


def line_of(run: ReconciliationRun) -> str:
    """Return the outcome of a run, on one line."""
    state = run.get_state_display().lower() + (", provisional" if run.provisional else "")
    words = f"{run.day} level {run.level} {run.source}: {state}, difference {format_usd(run.drift_usd)}"
    return f"{words}. {run.notice}" if run.notice else words


def day_of(text: str) -> date:
    """Read a day. Raises ArgumentTypeError, which says what to write."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not a day such as 2026-11-01.") from error


def levels_of(text: str) -> tuple[int, ...]:
    """Read levels. Raises ArgumentTypeError, which says what to write."""
    parts = text.split(",")
    if not set(parts) <= {"1", "2", "3"}:
        raise ArgumentTypeError(f"{text!r} names no levels. Write 1, 2, 3 or several: 1,2.")
    return tuple(int(part) for part in parts)
