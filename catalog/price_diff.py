"""What must be written so that our prices follow a published list from a moment on. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from catalog.importer import Published, Slot
from catalog.pricing import PriceRow

LARGEST_QUIET_MOVE = Decimal("0.20")


class Ranged(Protocol):
    """A price with a time in which it is in force."""

    @property
    def usd_per_unit(self) -> Decimal: ...
    @property
    def valid_from(self) -> datetime: ...
    @property
    def valid_until(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotChange:
    """What happens to one slot: rows that end, rows that are added, and the price before and after `at`.

    `move` is the largest relative change, now or planned; None when there was no price to compare with.
    `goes_away` is set when something that has a price would have none.
    """

    slot: Slot
    at: datetime
    before_usd: Decimal | None
    after_usd: Decimal | None
    move: Decimal | None
    goes_away: bool
    ends: tuple[tuple[int, datetime], ...]
    adds: tuple[Published, ...]

    @property
    def needs_acceptance(self) -> bool:
        """Whether a person must agree first: the price moves by more than 20 %, or goes away."""
        return self.goes_away or (self.move is not None and self.move > LARGEST_QUIET_MOVE)


def slot_changes(
    rows: Iterable[PriceRow], published: Iterable[Published], *, at: datetime
) -> list[SlotChange]:
    """Return what must change so that the prices from `at` on are the published ones.

    A slot that has no rows yet gets its whole published history.
    """
    ours: dict[Slot, list[PriceRow]] = {}
    theirs: dict[Slot, list[Published]] = {}
    for row in rows:
        slot = Slot(unit=row.unit, context=row.context, tier_start=row.tier_start)
        ours.setdefault(slot, []).append(row)
    for price in published:
        theirs.setdefault(price.slot, []).append(price)
    found = (_change(slot, ours.get(slot, []), theirs.get(slot, []), at) for slot in sorted({*ours, *theirs}))
    return [change for change in found if change is not None]


def _change(
    slot: Slot, rows: Sequence[PriceRow], prices: Sequence[Published], at: datetime
) -> SlotChange | None:
    if not rows:
        now_usd = _price_at(prices, at)
        return SlotChange(
            slot=slot, at=at, before_usd=None, after_usd=now_usd, move=None, goes_away=False, ends=(),
            adds=tuple(prices),
        )  # fmt: skip
    pairs = [
        (point, _price_at(rows, point), _price_at(prices, point)) for point in _points([*rows, *prices], at)
    ]
    differing = [(point, before, after) for point, before, after in pairs if before != after]
    if not differing:
        return None
    first, before_usd, after_usd = differing[0]
    moves = [
        _move(before, after) for _, before, after in differing if before is not None and after is not None
    ]
    return SlotChange(
        slot=slot,
        at=first,
        before_usd=before_usd,
        after_usd=after_usd,
        move=max(moves, default=None),
        goes_away=any(after is None for _, _, after in differing),
        ends=tuple((row.id, max(first, row.valid_from)) for row in rows if _ends_after(row, first)),
        adds=tuple(_clip(price, first) for price in prices if _ends_after(price, first)),
    )


def _points(ranges: Iterable[Ranged], at: datetime) -> list[datetime]:
    """Give the moments from `at` on at which any price may change."""
    edges = {edge for price in ranges for edge in (price.valid_from, price.valid_until) if edge is not None}
    return sorted({at, *(edge for edge in edges if edge > at)})


def _price_at(ranges: Iterable[Ranged], at: datetime) -> Decimal | None:
    live = (price for price in ranges if price.valid_from <= at and _ends_after(price, at))
    return next((price.usd_per_unit for price in live), None)


def _ends_after(price: Ranged, at: datetime) -> bool:
    """Say whether a price is in force at some moment after `at`; a withdrawn one never is."""
    return price.valid_until is None or (price.valid_until > at and price.valid_until > price.valid_from)


def _clip(price: Published, start: datetime) -> Published:
    return Published(
        slot=price.slot,
        usd_per_unit=price.usd_per_unit,
        valid_from=max(start, price.valid_from),
        valid_until=price.valid_until,
    )


def relative_move(before_usd: Decimal | None, after_usd: Decimal | None) -> Decimal | None:
    """Return by which share of itself a price moves; None without a price before or after."""
    return None if before_usd is None or after_usd is None else _move(before_usd, after_usd)


def _move(before_usd: Decimal, after_usd: Decimal) -> Decimal:
    if before_usd == after_usd:
        return Decimal(0)
    return abs(after_usd - before_usd) / before_usd if before_usd else Decimal("Infinity")
