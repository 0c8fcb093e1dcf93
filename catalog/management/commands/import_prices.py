"""`manage.py import_prices`: models and prices from the installed price list, with the difference printed."""

from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.urls import reverse

from catalog.price_diff import SlotChange
from catalog.pricing import TOKENS_PER_PRICE
from catalog.services import ImportReport, import_prices
from core import outbox


class Command(BaseCommand):
    """Prints what changes and puts it in force, except for what a person must approve first."""

    help = "Bring models and prices up to the installed price list."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the switch."""
        parser.add_argument("--dry-run", action="store_true", help="print the difference and write nothing")

    def handle(self, *, dry_run: bool, **options: Any) -> None:
        """Import, and print the difference; say who must approve what is not in force yet, and where."""
        report = import_prices(actor=None, dry_run=dry_run)
        self._print(report, verbose=dry_run or options["verbosity"] > 1)
        if dry_run:
            self.stdout.write("Nothing was written: this was a dry run.")
        elif report.waiting is None:
            self.stdout.write("Imported.")
        else:
            page = outbox.address(reverse("prices:proposal", args=[report.waiting.public_id]))
            self.stdout.write(
                "What is marked with ! moves by more than 20% or goes away, so it is not in force yet: an"
                f" administrator must approve it at {page}"
            )

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
