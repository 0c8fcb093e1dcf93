"""`manage.py import_prices`: models and prices from the installed price list, with the difference printed."""

from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from catalog.errors import PriceMovesError
from catalog.price_diff import SlotChange
from catalog.pricing import TOKENS_PER_PRICE
from catalog.services import ImportReport, import_prices


class Command(BaseCommand):
    """Prints what changes and writes it, unless a price moves by more than 20 % and nobody agreed."""

    help = "Bring models and prices up to the installed price list."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the two switches."""
        parser.add_argument("--dry-run", action="store_true", help="print the difference and write nothing")
        parser.add_argument(
            "--accept-moves",
            action="store_true",
            help="agree to moves above 20 %% and to prices that go away",
        )

    def handle(self, *, dry_run: bool, accept_moves: bool, **options: Any) -> None:
        """Import, and print the difference; when it is refused, print it too."""
        try:
            report = import_prices(actor=None, accept_moves=accept_moves, dry_run=dry_run)
        except PriceMovesError as error:
            self._print(import_prices(actor=None, dry_run=True), verbose=True)
            raise CommandError(error.detail) from error
        self._print(report, verbose=dry_run or options["verbosity"] > 1)
        self.stdout.write("Nothing was written: this was a dry run." if dry_run else "Imported.")

    def _print(self, report: ImportReport, *, verbose: bool) -> None:
        slots = sum(len(change.slots) for change in report.changes)
        self.stdout.write(
            f"Price list {report.version}: {len(report.added_models)} models are new, {slots} prices of"
            f" {len(report.changes)} models change."
        )
        for change in report.changes:
            for slot in change.slots:
                if verbose or slot.needs_acceptance:
                    self.stdout.write(f"  {change.model.name}: {_line(slot)}")
        for name in report.unpriced:
            self.stdout.write(f"  {name}: no price in force, so calls are refused")


def _line(change: SlotChange) -> str:
    slot = change.slot
    step = f" from {slot.tier_start} input tokens" if slot.tier_start else ""
    move = f" ({change.move:+.0%})" if change.move is not None and change.move.is_finite() else ""
    mark = " !" if change.needs_acceptance else ""
    return (
        f"{slot.context} {slot.unit}{step}: {_per_million(change.before_usd)} ->"
        f" {_per_million(change.after_usd)} per 1M at {change.at:%Y-%m-%d %H:%M}{move}{mark}"
    )


def _per_million(usd: Decimal | None) -> str:
    return "none" if usd is None else f"${(usd * TOKENS_PER_PRICE).normalize():f}"
