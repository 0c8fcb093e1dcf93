"""The books as the database has them and as the model has them, in one shape that compares with `==`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.conf import settings
from django.db import connection

from tests.ledger.booking import seconds
from tests.ledger.facts import Hold, Lease, Posting
from tests.ledger.lending import Lending

Snapshot = dict[str, Any]

# The columns of each part; `moved.micros` gives a moment as whole microseconds since 1970.
PLACE = "project_id, team_id, department_id"
ATTRIBUTION = f"key_id, owner_id, {PLACE}, model_id, tier_id"
COUNTS = "input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens"
STARTS = "ARRAY(SELECT moved.micros(x) FROM unnest(window_starts) x)"
CALL = "(SELECT public_id FROM budgets_reservation WHERE id = e.reservation_id)"
LENT_BY = "(SELECT public_id FROM budgets_lease WHERE id = lease_id)"
CORRECTED = "(SELECT kind FROM budgets_entry WHERE id = e.corrects_id)"
PARTS = {
    "balances": (
        "budget_id, moved.micros(window_start), moved.micros(window_end), spent_usd, reserved_usd",
        "budgets_balance",
    ),
    "means": ("budget_id, moved.micros(window_start), mean_call_seconds", "budgets_balance"),
    "holds": (
        (
            "request_id, public_id, state, held_usd, input_floor_usd, held_tokens, input_bound_tokens, "
            f"max_output_tokens, choices, units, {ATTRIBUTION}, context, budget_ids, {STARTS}, rate_ids, "
            f"moved.micros(authorized_at), moved.micros(expires_at), {LENT_BY}"
        ),
        "budgets_reservation",
    ),
    "leases": (
        (
            f"public_id, node, wish, granted_usd, held_usd, closed_at IS NOT NULL, budget_ids, {STARTS}, "
            f"{ATTRIBUTION}, moved.micros(opened_at), moved.micros(expires_at), moved.micros(reclaim_at), "
            "recalled_at IS NOT NULL, returned_usd"
        ),
        "budgets_lease",
    ),
    "entries": (
        (
            f"kind, amount_usd, {CALL}, budget_ids, {STARTS}, key_id, team_id, model_id, price_ids, tokens, "
            f"overrun_usd, {CORRECTED}, moved.micros(effective_at)"
        ),
        "budgets_entry e",
    ),
    "events": (
        (
            f"external_id, moved.micros(at), calls, cost_usd, {COUNTS}, units, {ATTRIBUTION}, finish, "
            "cache_hit, estimated, late, context"
        ),
        "usage_event",
    ),
    "days": (f"day, {ATTRIBUTION}, calls, cost_usd, {COUNTS}", "usage_day"),
    "hours": (
        f"moved.micros(hour), {PLACE}, model_id, tier_id, calls, cost_usd, {COUNTS}",
        "usage_hour",
    ),
    "rates": ("id, in_flight, moved.micros(requests_tat), moved.micros(tokens_tat)", "budgets_ratelimit"),
    "conflicts": ("external_id", "usage_quarantine"),
    "blocked": (
        f"moved.micros(hour), key_id, {PLACE}, code, budget_id, rate_scope, rate_limit, calls",
        "usage_blocked_hour",
    ),
    "unpriced": ("model_id, calls", "catalog_unpriced_call"),
}
TAKEN = "SELECT json_build_object({})::text".format(
    ", ".join(
        f"'{name}', (SELECT json_agg(json_build_array({columns})) FROM {table})"  # noqa: S608  the text above
        for name, (columns, table) in PARTS.items()
    )
)


def taken() -> Snapshot:
    """Read the books of the database."""
    with connection.cursor() as cursor:
        cursor.execute(TAKEN)
        found = json.loads(cursor.fetchone()[0], parse_float=Decimal)
    means = {(row[0], row[1]): float(row[2]) for row in found.pop("means") or ()}
    return {name: in_order(rows or ()) for name, rows in found.items()} | {"means": means}


def expected(books: Lending) -> Snapshot:
    """Write the books of the model in the same shape."""
    rows: dict[str, Iterable[list[Any]]] = {
        "balances": [
            [budget_id, micros(start), micros(each.ends_at), each.spent, each.reserved]
            for (budget_id, start), each in books.balances.items()
        ],
        "holds": [_hold(each) for each in books.holds.values()],
        "leases": [_lease(each) for each in books.leases],
        "entries": [_entry(each) for each in books.postings],
        "events": [_event(each) for each in books.postings if each.hold],
        "days": _days(books.postings),
        "hours": _hours(books.postings),
        "rates": [
            [each.id, each.in_flight, to_micros(each.requests_tat), to_micros(each.tokens_tat)]
            for each in books.rates
        ],
        "conflicts": [[external_id] for external_id, _ in books.conflicts],
        "blocked": [
            [micros(hour), *rest, *cause, calls] for (hour, *rest, cause), calls in books.blocked.items()
        ],
        "unpriced": [[model_id, calls] for model_id, calls in books.unpriced.items()],
    }
    means = {
        (budget_id, micros(start)): each.mean_seconds for (budget_id, start), each in books.balances.items()
    }
    return {name: in_order(of) for name, of in rows.items()} | {"means": means}


def require_sound_books(found: Snapshot) -> None:
    """Check what must hold of the database's books whatever the model thinks."""
    spent: Counter[tuple[Any, Any]] = Counter()
    for _, amount, _, budget_ids, starts, *_ in found["entries"]:
        for slot in zip(budget_ids, starts, strict=True):
            spent[slot] += amount
    held: Counter[tuple[Any, Any]] = Counter()
    flying: Counter[Any] = Counter()
    for hold in found["holds"]:
        if hold[2] == "open":
            flying.update(hold[20])
            for slot in zip(hold[18], hold[19], strict=True):
                held[slot] += hold[3]
    require_sound_leases(found)
    for lease in found["leases"]:
        for slot in zip(lease[6], lease[7], strict=True):
            held[slot] += 0 if lease[5] else lease[4]
    for budget_id, start, _, is_spent, is_held in found["balances"]:
        assert (spent[budget_id, start], held[budget_id, start]) == (is_spent, is_held)
    assert all(flying[rate_id] == in_flight for rate_id, in_flight, *_ in found["rates"])
    of_calls = sum(entry[1] for entry in found["entries"] if entry[2])
    assert of_calls == sum(event[3] for event in found["events"]) == sum(day[9] for day in found["days"])
    for hold in found["holds"]:
        booked = [event for event in found["events"] if event[0].partition(":")[0] == hold[1]]
        assert sum(event[2] for event in booked) == (hold[2] in ("settled", "unsettled"))
        assert hold[2] in ("settled", "unsettled") or not sum(event[3] for event in booked)


def require_sound_leases(found: Snapshot) -> None:
    """What a lease was granted it holds, gave to calls or gave back."""
    drawn: Counter[Any] = Counter()
    for hold in found["holds"]:
        drawn[hold[23]] += hold[3]
    for lease in found["leases"]:
        assert lease[4] + drawn[lease[0]] + lease[19] == lease[3], lease


def in_order(rows: Iterable[list[Any]]) -> list[Any]:
    return sorted((_plain(row) for row in rows), key=lambda row: json.dumps(row, default=_text))


def micros(at: datetime) -> int:
    return int(seconds(at) * 1_000_000)


def to_micros(at: Fraction | None) -> int | None:
    return None if at is None else round(at * 1_000_000)


def _plain(value: Any) -> Any:
    """Make a value comparable: numbers as normal decimals, tuples as lists."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return Decimal(value).normalize() + 0
    return value


def _text(value: Any) -> str:
    return f"{value:f}"


def _slots(slots: Iterable[tuple[int, datetime]]) -> tuple[list[int], list[int]]:
    pairs = list(slots)
    return [budget_id for budget_id, _ in pairs], [micros(start) for _, start in pairs]


def _hold(hold: Any) -> list[Any]:
    who = hold.who
    budget_ids, starts = _slots(hold.slots)
    return [
        hold.request_id,
        hold.public_id,
        hold.state,
        hold.held,
        hold.floor,
        hold.held_tokens,
        hold.input_bound,
        hold.output or None,
        hold.choices,
        hold.units,
        who.key_id,
        who.owner_id,
        who.project_id,
        who.team_id,
        who.department_id,
        hold.model.id,
        hold.model.tier,
        hold.context,
        budget_ids,
        starts,
        [rate.id for rate in hold.rates],
        micros(hold.authorized_at),
        micros(hold.expires_at),
        hold.lease.public_id if hold.lease else None,
    ]


def _lease(lease: Lease) -> list[Any]:
    who = lease.who
    return [
        lease.public_id,
        lease.node,
        lease.wish,
        lease.granted,
        lease.held,
        lease.is_closed,
        *_slots(lease.slots),
        who.key_id,
        who.owner_id,
        who.project_id,
        who.team_id,
        who.department_id,
        lease.model.id,
        lease.model.tier,
        micros(lease.opened_at),
        micros(lease.expires_at),
        micros(lease.reclaim_at),
        lease.is_recalled,
        lease.returned,
    ]


def _entry(posting: Posting) -> list[Any]:
    hold, (budget_ids, starts) = posting.hold, _slots(posting.slots)
    names = ("input", "cached", "cache_write", "output", "reasoning")
    corrected = posting.corrects
    return [
        posting.kind,
        posting.amount,
        hold.public_id if hold else None,
        budget_ids,
        starts,
        hold.who.key_id if hold else None,
        hold.who.team_id if hold else None,
        posting.model.id if posting.model else None,
        list(posting.price_ids),
        {**dict(zip(names, posting.tokens, strict=True)), **posting.units} if hold else {},
        posting.overrun,
        corrected.kind if corrected else None,
        micros(hold.authorized_at) if hold else starts[0],
    ]


def _event(posting: Posting) -> list[Any]:
    hold, model = posting.hold, posting.model
    assert hold
    assert model
    return [
        posting.external_id,
        micros(hold.authorized_at),
        posting.calls,
        posting.amount,
        *posting.tokens,
        posting.units,
        hold.who.key_id,
        hold.who.owner_id,
        hold.who.project_id,
        hold.who.team_id,
        hold.who.department_id,
        model.id,
        model.tier,
        posting.finish,
        posting.cache_hit,
        posting.estimated,
        posting.kind != "settle",
        posting.served_context,
    ]


def _days(postings: Iterable[Posting]) -> list[list[Any]]:
    """Sum the events of each day of the organisation, attribution and model."""
    assert settings.TIME_ZONE == "UTC"

    def place(hold: Hold) -> tuple[Any, ...]:
        who = hold.who
        day = hold.authorized_at.date().isoformat()
        return (day, who.key_id, who.owner_id, who.project_id, who.team_id, who.department_id)

    return _sums(postings, place)


def _hours(postings: Iterable[Posting]) -> list[list[Any]]:
    """Sum the events of each hour, project and model."""

    def place(hold: Hold) -> tuple[Any, ...]:
        who = hold.who
        hour = hold.authorized_at.replace(minute=0, second=0, microsecond=0)
        return (micros(hour), who.project_id, who.team_id, who.department_id)

    return _sums(postings, place)


def _sums(postings: Iterable[Posting], place: Callable[[Hold], tuple[Any, ...]]) -> list[list[Any]]:
    sums: dict[tuple[Any, ...], list[Decimal]] = {}
    for posting in postings:
        if posting.hold and posting.model:
            key = (*place(posting.hold), posting.model.id, posting.model.tier)
            row = sums.get(key, [Decimal(0)] * 7)
            figures = (Decimal(posting.calls), posting.amount, *map(Decimal, posting.tokens))
            sums[key] = [before + figure for before, figure in zip(row, figures, strict=True)]
    return [[*key, *row] for key, row in sums.items()]
