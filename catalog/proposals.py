"""What a proposal of prices would do, as data that a page shows and a review applies. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from catalog.importer import Published, Slot
from catalog.price_diff import LARGEST_QUIET_MOVE, SlotChange, relative_move
from catalog.pricing import PriceRow, price_of

NEW_ROW = -1  # the id of a row that is not written yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One price before and after a change, in US dollars for one unit, from a moment on; None is no price."""

    model: str
    unit: str
    context: str
    tier_start: int
    at: datetime
    before_usd: Decimal | None
    after_usd: Decimal | None
    share: Decimal | None
    goes_away: bool

    @property
    def needs_second(self) -> bool:
        """Whether somebody else must see it: it moves by more than 20 %, or goes away."""
        return self.goes_away or (self.share is not None and self.share > LARGEST_QUIET_MOVE)

    @property
    def what(self) -> tuple[object, ...]:
        """Return what the move is, whenever it comes: by this a proposal is known again."""
        return self.model, self.unit, self.context, self.tier_start, self.before_usd, self.after_usd

    def as_json(self) -> dict[str, Any]:
        """Return it as a proposal keeps it."""
        return {
            "model": self.model,
            "unit": self.unit,
            "context": self.context,
            "tier_start": self.tier_start,
            "at": self.at.isoformat(),
            "before_usd": _text(self.before_usd),
            "after_usd": _text(self.after_usd),
            "share": _text(self.share),
            "goes_away": self.goes_away,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A price that somebody enters: US dollars for one unit in [valid_from, valid_until).

    `valid_from` None is the moment at which it comes into force. One that `supersedes` is known to hold
    since a past day: what holds then of its place and source ends there, and what was entered for a later day
    stays.
    """

    slot: Slot
    usd_per_unit: Decimal
    source: str
    valid_from: datetime | None
    valid_until: datetime | None
    supersedes: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it as a proposal keeps it."""
        return {
            **slot_as_json(self.slot),
            "usd_per_unit": str(self.usd_per_unit),
            "source": self.source,
            "valid_from": _iso(self.valid_from),
            "valid_until": _iso(self.valid_until),
            "supersedes": self.supersedes,
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Override":
        """Read what a proposal keeps."""
        return cls(
            slot=slot_from_json(kept),
            usd_per_unit=Decimal(kept["usd_per_unit"]),
            source=kept["source"],
            valid_from=_moment(kept["valid_from"]),
            valid_until=_moment(kept["valid_until"]),
            supersedes=kept.get("supersedes", False),
        )

    def row(self, at: datetime) -> PriceRow:
        """Return the price row that it becomes when it is put in force at `at`."""
        return PriceRow(
            id=NEW_ROW,
            unit=self.slot.unit,
            context=self.slot.context,
            tier_start=self.slot.tier_start,
            usd_per_unit=self.usd_per_unit,
            source=self.source,
            valid_from=self.valid_from or at,
            valid_until=self.valid_until,
        )


def moves_of(kept: Mapping[str, Any]) -> list[Move]:
    """Read the moves that a proposal keeps."""
    return [
        Move(
            **{
                **move,
                "at": datetime.fromisoformat(move["at"]),
                **{name: _decimal(move[name]) for name in ("before_usd", "after_usd", "share")},
            }
        )
        for move in kept["moves"]
    ]


def moves_of_list(model: str, changes: Iterable[SlotChange]) -> list[Move]:
    """Return the moves of an imported model."""
    return [
        Move(
            model=model,
            unit=change.slot.unit,
            context=change.slot.context,
            tier_start=change.slot.tier_start,
            at=change.at,
            before_usd=change.before_usd,
            after_usd=change.after_usd,
            share=change.move,
            goes_away=change.goes_away,
        )
        for change in changes
    ]


def moves_between(
    model: str, slot: Slot, before: Sequence[PriceRow], after: Sequence[PriceRow], *, at: datetime
) -> list[Move]:
    """Return where from `at` on a unit costs something else because of one slot: at its step and at those
    above it, each with the first such moment and the largest move.

    A source that beats another one beats all its steps.
    """
    steps = {
        row.tier_start
        for row in [*before, *after]
        if (row.unit, row.context) == (slot.unit, slot.context) and row.tier_start > slot.tier_start
    }
    slots = [slot, *(replace(slot, tier_start=step) for step in sorted(steps))]
    return [move for each in slots for move in _moves_of_slot(model, each, before, after, at)]


def _moves_of_slot(
    model: str, slot: Slot, before: Sequence[PriceRow], after: Sequence[PriceRow], at: datetime
) -> list[Move]:
    edges = {
        edge
        for row in [*before, *after]
        for edge in (row.valid_from, row.valid_until)
        if edge is not None and edge > at
    }
    found = [_move(model, slot, before, after, point) for point in sorted({at, *edges})]
    moves = [move for move in found if move.before_usd != move.after_usd]
    if not moves:
        return []
    largest = max(moves, key=lambda move: (move.goes_away, move.share or Decimal(0)))
    return moves[:1] if largest.at == moves[0].at else [moves[0], largest]


def with_override(rows: Sequence[PriceRow], override: Override, at: datetime) -> list[PriceRow]:
    """Return the rows as they would be: what the new one follows ends where it begins."""
    new = override.row(at)
    return [*(_ended(row, new) for row in rows), new]


def before_the_next(rows: Iterable[PriceRow], override: Override, at: datetime) -> Override:
    """Return a price that supersedes with the end that what was entered for a later day sets it."""
    new = override.row(at)
    if not override.supersedes:
        return override
    starts = [
        row.valid_from
        for row in rows
        if same_place(row, new) and new.valid_from < row.valid_from != row.valid_until
    ]
    return replace(override, valid_until=min([*starts, *filter(None, [new.valid_until])], default=None))


def same_place(row: PriceRow, other: PriceRow) -> bool:
    """Whether two rows are of one slot and source, so that they must not overlap."""
    return (row.unit, row.context, row.tier_start, row.source) == (
        other.unit,
        other.context,
        other.tier_start,
        other.source,
    )


def published_as_json(prices: Iterable[Published]) -> list[dict[str, Any]]:
    """Return the prices of a list as a proposal keeps them."""
    return [
        {
            **slot_as_json(price.slot),
            "usd_per_unit": str(price.usd_per_unit),
            "valid_from": _iso(price.valid_from),
            "valid_until": _iso(price.valid_until),
        }
        for price in prices
    ]


def published_from_json(kept: Iterable[Mapping[str, Any]]) -> list[Published]:
    """Read the prices of a list that a proposal keeps."""
    return [
        Published(
            slot=slot_from_json(price),
            usd_per_unit=Decimal(price["usd_per_unit"]),
            valid_from=datetime.fromisoformat(price["valid_from"]),
            valid_until=_moment(price["valid_until"]),
        )
        for price in kept
    ]


def slot_as_json(slot: Slot) -> dict[str, Any]:
    """Return a slot as a proposal keeps it."""
    return {"unit": slot.unit, "context": slot.context, "tier_start": slot.tier_start}


def slot_from_json(kept: Mapping[str, Any]) -> Slot:
    """Read a slot that a proposal keeps."""
    return Slot(unit=kept["unit"], context=kept["context"], tier_start=kept["tier_start"])


def _move(
    model: str, slot: Slot, before: Sequence[PriceRow], after: Sequence[PriceRow], at: datetime
) -> Move:
    old, new = (
        price_of(rows, unit=slot.unit, context=slot.context, tier_start=slot.tier_start, at=at)
        for rows in (before, after)
    )
    return Move(
        model=model,
        unit=slot.unit,
        context=slot.context,
        tier_start=slot.tier_start,
        at=at,
        before_usd=old,
        after_usd=new,
        share=relative_move(old, new),
        goes_away=old is not None and new is None,
    )


def _ended(row: PriceRow, new: PriceRow) -> PriceRow:
    follows = same_place(row, new) and row.valid_from <= new.valid_from
    if follows and (row.valid_until is None or row.valid_until > new.valid_from):
        return replace(row, valid_until=new.valid_from)
    return row


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
