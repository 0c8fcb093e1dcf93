"""The nightly verification of the books, piece by piece: each rule, and each of its pieces, is one statement.

A piece that takes too long is halved and tried again, one that was quick is followed by a larger one, so the
time of a step does not grow with the books.
"""

import time as clocks
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, time, timedelta
from typing import Any

import structlog
from django.db import connection, transaction

from core import clock, walks
from core.books import WHOLE, Broken, Cut, Finding, Rule, Sums, finding
from core.deadline import OverTimeError, ends_within
from core.walks import Place
from portal.ledger import RULES, tell

log = structlog.get_logger(__name__)

NAME = "verify-ledger"
BEGINS = time(2, 40)
PIECE_SECONDS = 25.0
QUICK_SECONDS = 5.0
FIRST_LOOK = timedelta(days=2)
OVERLAP = timedelta(hours=1)
ENTRY_BEFORE = """
    SELECT coalesce((SELECT id FROM budgets_entry WHERE recorded_at < %s ORDER BY id DESC LIMIT 1), 0)
"""
WORK_MEMORY = "SET LOCAL work_mem = '64MB'"
TOO_LARGE = "takes longer than a job may: manage.py ledger_verify has the time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A rule, or the sums that it needs before it is asked."""

    rule: Rule
    sums: Sums | None = None

    @property
    def cut(self) -> Cut | None:
        """Return what it is cut along."""
        return self.sums.cut if self.sums else self.rule.cut

    def look(self, piece: Mapping[str, Any]) -> Finding | None:
        """Look at one piece: add it to the sums, or return what breaks the rule."""
        if self.sums is None:
            return finding(self.rule, piece=piece)
        with connection.cursor() as cursor:
            cursor.execute(self.sums.query, {**WHOLE, **piece})
        return None


def _parts() -> Iterator[Part]:
    for rule in RULES:
        if rule.sums:
            yield Part(rule=rule, sums=rule.sums)
        yield Part(rule=rule)


PARTS = tuple(_parts())


def verify_books() -> Place | None:
    """Go on with tonight's verification for a while; return what it found once it is through."""
    return walks.go_on(NAME, begins=BEGINS, step=_step, ended=_tell)


def findings_of(place: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Return the rules that did not hold."""
    return tuple(
        Finding(rule=each["rule"], count=each["count"], first=Broken(**each["first"]))
        for each in place["found"].values()
    )


def _tell(place: Place, at: datetime) -> None:
    tell(findings_of(place), at=at)


def _step(place: Place) -> bool:
    """Look at the next piece; true once there is none."""
    if place.get("parts") != len(PARTS):  # the first step, or another version's round
        place.clear()
        place |= {"parts": len(PARTS), "part": 0, "found": {}, "summed_to": 0, **_looked_back_to()}
        _begin(place)
    part = PARTS[place["part"]]
    began = clocks.monotonic()
    try:
        with transaction.atomic(), ends_within(PIECE_SECONDS):
            with connection.cursor() as cursor:
                cursor.execute(WORK_MEMORY)
            found = part.look(_piece(place, part))
    except OverTimeError:
        if place["width"] > 1:
            place["width"] //= 2
            return False
        subject = f"piece {place['first']}"
        found = Finding(rule=part.rule.name, count=1, first=Broken(subject=subject, detail=TOO_LARGE))
    if found:
        _keep(place, found)
    place["first"] += place["width"]
    if clocks.monotonic() - began < QUICK_SECONDS:
        place["width"] *= 2
    if place["first"] > place["most"]:
        place["part"] += 1
        if place["part"] == len(PARTS):
            return True
        _begin(place)
    return False


def _begin(place: Place) -> None:
    """Put a place at the beginning of its part."""
    part = PARTS[place["part"]]
    place |= {"first": 0, "least": 0, "most": 0, "width": 1}
    with connection.cursor() as cursor:
        if part.cut:
            cursor.execute(part.cut.span)
            place["least"], place["most"] = cursor.fetchone()
            place |= {"first": place["least"], "width": part.cut.width}
        if part.sums:
            cursor.execute(part.sums.empties)
            cursor.execute(part.sums.up_to)
            (place["summed_to"],) = cursor.fetchone()


def _looked_back_to() -> Place:
    """Return from when on a round looks at what happens once: since the one before, and a little more."""
    before = walks.last(NAME)
    began = datetime.fromisoformat(before.outcome["began"]) if before else clock.now() - FIRST_LOOK
    from_at = began - OVERLAP
    with connection.cursor() as cursor:
        cursor.execute(ENTRY_BEFORE, [from_at - OVERLAP])
        (after_id,) = cursor.fetchone()
    return {"began": clock.now().isoformat(), "from_at": from_at.isoformat(), "after_id": after_id}


def _piece(place: Place, part: Part) -> dict[str, Any]:
    """Return how the piece of a place is named: the first and the last have no bound on the outside."""
    piece: dict[str, Any] = {"summed_to": place["summed_to"] if part.rule.sums else 0}
    if part.rule.looks_back:
        piece |= {"from_at": place["from_at"], "after_id": place["after_id"]}
    if part.cut:
        last = place["first"] + place["width"] - 1
        piece |= part.cut.piece(
            None if place["first"] == place["least"] else place["first"],
            None if last >= place["most"] else last,
        )
    return piece


def _keep(place: Place, found: Finding) -> None:
    known = place["found"].get(found.rule)
    if known:
        known["count"] += found.count
    else:
        place["found"][found.rule] = asdict(found)
