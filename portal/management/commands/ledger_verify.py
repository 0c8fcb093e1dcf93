"""`manage.py ledger_verify`: recomputes the books to the last digit and names what differs."""

from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, date, datetime, time
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.dateparse import parse_datetime

from portal import ledger


class Command(BaseCommand):
    """Verifies every balance, reservation, entry, rate and usage sum."""

    help = "Recompute the ledger, exit 1 and name the first bad row of each rule that does not hold."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--since",
            type=moment,
            metavar="DATE",
            help="look at what was recorded from this day or moment on (UTC unless it says otherwise), and at"
            " the whole of every balance, reservation and day that it touched",
        )

    def handle(self, *, since: datetime | None, **_options: Any) -> None:
        """Verify, and exit 1 when a rule does not hold."""
        result = ledger.verify(since=since)
        if result.findings:
            raise CommandError("\n".join(ledger.lines(result.findings)), returncode=1)
        self.stdout.write(result.figures)


def moment(text: str) -> datetime:
    """Read a day or a moment. Raises ArgumentTypeError, which says what to write."""
    try:
        day_or_moment = parse_datetime(text) or datetime.combine(date.fromisoformat(text), time.min)
    except ValueError as error:
        raise ArgumentTypeError(
            f"{text!r} is neither a day such as 2026-11-24 nor a moment such as 2026-11-24T10:00Z."
        ) from error
    return day_or_moment if day_or_moment.tzinfo else day_or_moment.replace(tzinfo=UTC)
