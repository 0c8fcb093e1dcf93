"""`manage.py focus_export --month 2026-11`: a month of the whole organisation for FinOps tools."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from core.spreadsheets import csv_pieces
from usage import focus
from usage.selectors import organisation_today
from usage.selectors.export import export_rows
from usage.selectors.periods import month_of


class Command(BaseCommand):
    """Writes the rows as they are read, so a month of any size takes the same memory."""

    help = f"Write a month as FOCUS {focus.VERSION} rows (CSV) to a file, or to the standard output."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--month", help="such as 2026-11; this month unless it is given")
        parser.add_argument("--output", type=Path, help="the file to write; its folder must exist")

    def handle(self, *, month: str | None, output: Path | None, verbosity: int, **_options: Any) -> None:
        """Write the file. Raises CommandError for a month that is none."""
        asked = month or f"{organisation_today():%Y-%m}"
        try:
            period = month_of(asked)
        except ValueError as error:
            raise CommandError(f"{asked!r} is no month. Write it as 2026-11.") from error
        pieces = csv_pieces(focus.HEAD, focus.rows(export_rows(period)))
        if output is None:
            sys.stdout.writelines(pieces)
            return
        with output.open("w", encoding="utf-8", newline="") as target:
            target.writelines(pieces)
        if verbosity:
            self.stdout.write(f"Wrote {period.label} to {output}.")
