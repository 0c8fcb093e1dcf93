"""A sheet: sections of lines with amounts, which a page and its CSV show alike."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from core.money import format_usd
from core.spreadsheets import Cell

CSV_HEAD = ("section", "name", "note", "calls", "amount_usd", "percent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line; an amount of None is shown as `unknown`, an empty cell in the CSV."""

    name: str
    note: str = ""
    calls: int | None = None
    amount_usd: Decimal | None
    percent: Decimal | None = None
    unknown: str = "—"

    @property
    def amount(self) -> str:
        """Return the amount as the page shows it."""
        return self.unknown if self.amount_usd is None else format_usd(self.amount_usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Lines under a title, each about one `noun`; `empty` says why there are none."""

    id: str
    title: str
    lines: tuple[Line, ...]
    noun: str = "Name"
    empty: str = ""

    @property
    def has_calls(self) -> bool:
        """Whether any line counts calls."""
        return any(line.calls is not None for line in self.lines)

    @property
    def has_percent(self) -> bool:
        """Whether any line has a share."""
        return any(line.percent is not None for line in self.lines)


def cells(sections: Iterable[Section]) -> Iterator[tuple[Cell, ...]]:
    """Give the lines as the CSV has them."""
    for section in sections:
        for line in section.lines:
            yield (section.title, line.name, line.note, line.calls, line.amount_usd, line.percent)


def day_of(moment: datetime | None) -> str:
    """Write the UTC day of a moment in a note; None is an end that is not planned."""
    return "no end" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d}"
