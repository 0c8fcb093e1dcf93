"""Both sides of a day, call by call: sums by hour first, and single calls only of the hours that differ."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from core import clock
from core.money import ZERO
from usage.selectors.call_queries import (
    ABOUT_SQL,
    ANSWERS_SQL,
    CALL,
    CALLS_SQL,
    COUNTED,
    HOURS_SQL,
    LEDGER,
    PRICED_CALL,
    PUSHED_SQL,
    SORTED,
    TURN,
    TWICE_SQL,
    TWIN,
)

SETTLES_WITHIN = timedelta(minutes=15)  # MISSING_AT_PORTAL counts after this
REPORTS_WITHIN = timedelta(hours=2)  # MISSING_AT_GATEWAY counts after this
HOUR = timedelta(hours=1)
NEARBY = HOUR  # the same answer twice, over midnight
# Whole days are read, on every core.
FOR_LONG_READS = {
    "work_mem": "64MB",
    "statement_timeout": "90s",
    "parallel_setup_cost": "0",
    "parallel_tuple_cost": "0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """One side's figures of a day."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class DayOfCalls:
    """Both sides' sums of a day, the hours in which they may differ, and the answers that came twice.

    `no_twins` stands for the ledger's calls, the hour before the day included, if no answer is there twice.
    """

    portal: Sums
    gateway: Sums
    hours: tuple[datetime, ...]
    twice: tuple[str, ...]
    no_twins: str
    window: Mapping[str, Any]

    @property
    def may_differ(self) -> bool:
        """Whether single calls have to be looked at."""
        return bool(self.hours or self.twice)

    def calls(self) -> tuple[str, dict[str, Any]]:
        """Return the query of the calls that differ, and its parameters."""
        spans, params = _spans(self.hours)
        if not self.twice:
            return CALLS_SQL.format(spans=spans, turn="1"), {**self.window, **params}
        wide = {"first": self.window["nearby"], "last": self.window["end"], "twice": list(self.twice)}
        spans = f"{spans} OR {TWIN}" if spans else TWIN
        return CALLS_SQL.format(spans=spans, turn=TURN), {**self.window, **params, **wide}


def day_of_calls(source: str, day: date, *, no_twins: str = "", alone: bool = False) -> DayOfCalls:
    """Compare a UTC day of a source by the hour. No single call leaves the database.

    Rows of the ledger are never changed: while its calls are those of `no_twins`, none is there twice. A
    source that is `alone` keeps no record of its own, so none of its calls is missed there.
    """
    window = _window_of(source, day) | {"alone": alone}
    with connection.cursor() as cursor:
        cursor.execute(ABOUT_SQL, window)
        source_id, free, is_priced, apart = cursor.fetchone()
        window |= {"source_id": source_id, "free": free, "apart": apart}
        cursor.execute(HOURS_SQL.format(call=PRICED_CALL if is_priced else CALL), window)
        found = cursor.fetchall()
    calls = hashlib.sha256(repr([(row[0], row[1], row[10]) for row in found]).encode()).hexdigest()
    rows = [row for row in found if row[0] >= window["start"]]
    hours = tuple(row[0] for row in rows if row[8])
    is_each_once = calls == no_twins or _answers(window) == sum(row[11] for row in found)
    twice = () if is_each_once else _twice(window, LEDGER, window["nearby"], window["end"])
    others = [] if alone else [row[0] for row in rows if row[8] and row[9]]
    at_gateway = (
        _twice(window, "usage_gateway_call", others[0] - NEARBY, others[-1] + 2 * NEARBY) if others else ()
    )
    return DayOfCalls(
        portal=_sums(row[1:5] for row in rows),
        gateway=_sums([*(row[5:8] for row in rows), *([] if alone else _pushed(window, hours))]),
        hours=hours,
        twice=tuple(sorted({*twice, *at_gateway})),
        no_twins="" if twice else calls,
        window=window,
    )


def _window_of(source: str, day: date) -> dict[str, Any]:
    """Return the parameters of a source's UTC day."""
    start = datetime.combine(day, time.min, tzinfo=UTC)
    now = clock.now()
    return {
        "source": source,
        "start": start,
        "end": start + timedelta(days=1),
        "nearby": start - NEARBY,
        "settled_before": now - SETTLES_WITHIN,
        "reported_before": now - REPORTS_WITHIN,
    }


def _sums(rows: Iterable[Sequence[Any]]) -> Sums:
    columns = zip(*rows, strict=True)
    names = ("calls", "input_tokens", "output_tokens", "cost_usd")
    return Sums(**{name: sum(column) for name, column in zip(names, columns, strict=False)})


def _spans(hours: Sequence[datetime]) -> tuple[str, dict[str, Any]]:
    """Return the condition that a moment lies in one of these hours, and its parameters."""
    params: dict[str, Any] = {"first": hours[0], "last": hours[-1] + HOUR} if hours else {}
    for place, hour in enumerate(hours):
        params |= {f"from_{place}": hour, f"to_{place}": hour + HOUR}
    return " OR ".join(f"at >= %(from_{n})s AND at < %(to_{n})s" for n in range(len(hours))), params


def _pushed(window: Mapping[str, Any], hours: Sequence[datetime]) -> list[tuple[int, int, int]]:
    if not hours:
        return []
    spans, params = _spans(hours)
    with connection.cursor() as cursor:
        cursor.execute(PUSHED_SQL.format(spans=spans), {**window, **params})
        return list(cursor.fetchall())


def _answers(window: Mapping[str, Any]) -> int:
    """Return how many answers the ledger's calls have among them."""
    answers: int = _sorted(ANSWERS_SQL, window)
    return answers


def _twice(window: Mapping[str, Any], table: str, first: datetime, last: datetime) -> tuple[str, ...]:
    """Return the provider's ids of answers that came twice to one side in [first, last).

    Those that both sides have twice are in the ledger; one that only the gateway has twice makes the ids of
    its hour differ.
    """
    query = TWICE_SQL.format(table=table, counted=COUNTED[table])
    return tuple(_sorted(query, {**window, "first": first, "last": last}) or ())


def _sorted(query: str, params: Mapping[str, Any]) -> Any:
    """Return the value of a query whose groups are found by sorting."""
    with connection.cursor() as cursor:
        cursor.execute(SORTED, ["off"])
        cursor.execute(query, params)
        value = cursor.fetchone()[0]
        cursor.execute(SORTED, ["on"])
    return value
