"""What the model does after a call: settle, release, expire. Plain Python, exact, one call after another."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tests.ledger import prices
from tests.ledger.facts import (
    ZERO,
    Balance,
    Body,
    Budget,
    Cause,
    Grant,
    Hold,
    Key,
    Model,
    Outcome,
    Posting,
    Project,
    Rate,
    Slot,
    Tier,
)
from tests.ledger.prices import Card

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MINUTE = 60
SERVED = (None, "standard", "batch", "flex", "priority", "fast")
TOKENS = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Everything that decides, and everything that was decided. `now` is moved by whoever tells the story."""

    now: datetime
    hold_seconds: int
    grace_seconds: int
    hold_seconds_for: dict[str, int] = field(default_factory=dict)  # by route, and by context at least
    tiers: dict[int, Tier] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    teams: dict[int, int] = field(default_factory=dict)  # the department of each
    projects: dict[int, Project] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)  # by token
    grants: list[Grant] = field(default_factory=list)
    inactive: set[int] = field(default_factory=set)  # people who left
    budgets: list[Budget] = field(default_factory=list)
    rates: list[Rate] = field(default_factory=list)
    balances: dict[Slot, Balance] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)  # by request
    postings: list[Posting] = field(default_factory=list)
    conflicts: set[tuple[str, str]] = field(default_factory=set)
    blocked: Counter[tuple[datetime, int, int, int, int, str, Cause]] = field(default_factory=Counter)
    unpriced: Counter[int] = field(default_factory=Counter)

    def settle(self, items: Iterable[Body]) -> list[Outcome]:
        """Book settlements and releases of one statement, in their order."""
        first = len(self.postings)
        outcomes = [self._settle_one(item) for item in items]
        self._learn(self.postings[first:])
        return outcomes

    def _settle_one(self, item: Body) -> Outcome:
        hold = self._hold_of(item["reservation"])
        if hold is None:
            return Outcome(status="unknown")
        is_release = item.get("release", False)
        if hold.state == "settled":
            if is_release:
                return Outcome(status="already_settled", held=hold.held)
            return self._settled_before(hold, item)
        if is_release and hold.state == "released":
            return Outcome(status="duplicate", held=hold.held)

        is_late = hold.state != "open" or hold.expires_at <= self.now
        if hold.state == "unsettled":
            self._take_back(hold)
        if is_release:
            self._resolve(hold, "released", used_tokens=0)
            return Outcome(status="released", held=hold.held)
        posting = self._charge(hold, item, kind="late" if is_late else "settle")
        self._post(posting)
        self._resolve(hold, "settled", used_tokens=posting.tokens[0] + posting.tokens[3])
        return Outcome(status="late" if is_late else "settled", charged=posting.amount, held=hold.held)

    def _charge(self, hold: Hold, item: Body, *, kind: str) -> Posting:
        """Price what was consumed, by what was in force when the call was authorised."""
        usage = item["usage"]
        units = decimals(usage.get("units"))
        tokens = tuple(usage.get(name, 0) for name in TOKENS)
        served, context = self._served(hold, item), item.get("served_context") or hold.context
        card = prices.card(
            served, context=context, at=hold.authorized_at, input_tokens=usage.get("input_tokens", 0)
        )
        if item.get("cache_hit"):
            cost = ZERO
        elif item["finish"] == "cancelled" and not tokens[0]:
            cost = hold.floor + prices.nearest(
                (tokens[3] - tokens[4]) * card.rate("output") + tokens[4] * card.rate("reasoning")
            )
        else:
            cost = prices.nearest(_token_cost(card, tokens) + card.units_usd(units, card.usd))
        return Posting(
            kind=kind,
            amount=cost,
            slots=hold.slots,
            hold=hold,
            external_id=hold.public_id,
            model=served,
            price_ids=card.price_ids,
            calls=1,
            tokens=tokens,
            units=units,
            finish=item["finish"],
            cache_hit=item.get("cache_hit", False),
            estimated=_is_estimated(item),
            overrun=max(cost - hold.held, ZERO),
            served_context=None if context == hold.context else context,
        )

    def _settled_before(self, hold: Hold, item: Body) -> Outcome:
        """Answer a call that was booked: the same figures again, or others, which a person must see."""
        booked = next(each for each in self.postings if each.external_id == hold.public_id)
        usage = item["usage"]
        tokens = tuple(usage.get(name, 0) for name in TOKENS)
        figures = (
            tokens,
            self._served(hold, item),
            item.get("cache_hit", False),
            decimals(usage.get("units")),
        )
        context = booked.served_context or hold.context
        is_same_class = item.get("served_context") in (None, context)
        if is_same_class and figures == (booked.tokens, booked.model, booked.cache_hit, booked.units):
            return Outcome(status="duplicate", charged=booked.amount, held=hold.held)
        self.conflicts.add((hold.public_id, _told(item, tokens)))
        return Outcome(status="conflict", charged=booked.amount, held=hold.held)

    def _take_back(self, hold: Hold) -> None:
        """Undo the charge of a call that was not heard of in time."""
        charge = next(each for each in self.postings if each.hold is hold and each.kind == "unsettled")
        self._post(
            Posting(
                kind="correction",
                amount=-charge.amount,
                slots=hold.slots,
                hold=hold,
                external_id=f"{hold.public_id}:reversal",
                model=hold.model,
                calls=-1,
                tokens=(-hold.input_bound, 0, 0, 0, 0),
                corrects=charge,
            )
        )

    def expire(self) -> int:
        """Charge the calls that were never settled, and return how many they were."""
        until = self.now - timedelta(seconds=self.grace_seconds)
        due = [hold for hold in self.holds.values() if hold.state == "open" and hold.expires_at <= until]
        for hold in due:
            self._post(
                Posting(
                    kind="unsettled",
                    amount=hold.floor,
                    slots=hold.slots,
                    hold=hold,
                    external_id=f"{hold.public_id}:unsettled",
                    model=hold.model,
                    calls=1,
                    tokens=(hold.input_bound, 0, 0, 0, 0),
                    overrun=max(hold.floor - hold.held, ZERO),
                )
            )
            self._resolve(hold, "unsettled", used_tokens=hold.input_bound)
        return len(due)

    def _post(self, posting: Posting) -> None:
        self.postings.append(posting)
        for slot in posting.slots:
            self.balances[slot].spent += posting.amount

    def _resolve(self, hold: Hold, state: str, *, used_tokens: int) -> None:
        """Free what an open call holds; one that was resolved before holds nothing."""
        if hold.state == "open":
            for slot in hold.slots:
                self.balances[slot].reserved -= hold.held
            for rate in hold.rates:
                rate.in_flight -= 1
                unused = hold.held_tokens - used_tokens
                has_both = rate.tokens and rate.tokens_tat is not None
                rate.tokens_tat = (
                    rate.tokens_tat - Fraction(unused * MINUTE, rate.tokens)
                    if has_both and rate.tokens and rate.tokens_tat is not None
                    else None
                )
        hold.state = state

    def _learn(self, postings: Iterable[Posting]) -> None:
        """Let a fifth of the mean time of a call follow those that were settled together."""
        times: dict[Slot, list[float]] = {}
        for posting in postings:
            if posting.kind == "settle" and posting.hold:
                for slot in posting.slots:
                    took = self.now - posting.hold.authorized_at
                    times.setdefault(slot, []).append(took.total_seconds())
        for slot, all_took in times.items():
            balance, took_seconds = self.balances[slot], sum(all_took) / len(all_took)
            before = balance.mean_seconds
            balance.mean_seconds = 0.8 * before + 0.2 * took_seconds if before else took_seconds

    def _hold_of(self, public_id: str) -> Hold | None:
        return next((hold for hold in self.holds.values() if hold.public_id == public_id), None)

    def _served(self, hold: Hold, item: Body) -> Model:
        return self.models.get(item.get("served_model") or "") or hold.model


def seconds(at: datetime) -> Fraction:
    """Return a moment as exact seconds since 1970."""
    return Fraction((at - EPOCH) // MICROSECOND, 1_000_000)


def decimals(units: Mapping[str, Any] | None) -> dict[str, Decimal]:
    """Return counts of open units, exact."""
    return {unit: Decimal(str(count)) for unit, count in (units or {}).items()}


def _token_cost(card: Card, tokens: Sequence[int]) -> Decimal:
    """Return the cost of inclusive totals, in the order of TOKENS, and of the request itself."""
    inputs, cached, cache_write, output, reasoning = tokens
    return (
        (inputs - cached - cache_write) * card.rate("input")
        + cached * card.rate("cached")
        + cache_write * card.rate("cache_write")
        + (output - reasoning) * card.rate("output")
        + reasoning * card.rate("reasoning")
        + card.rate("request")
    )


def _is_estimated(item: Body) -> bool:
    """Say whether a settlement's figures are an estimate: what a class that nobody knows costs is one."""
    return item.get("estimated", False) or item.get("served_context") not in SERVED


def _told(item: Body, tokens: tuple[int, ...]) -> str:
    """Write all that a settlement tells, whether it names what is usual or leaves it out."""
    told = {
        "tokens": tokens,
        "units": item["usage"].get("units") or {},
        "served_model": item.get("served_model"),
        "served_context": item.get("served_context"),
        "finish": item["finish"],
        "estimated": _is_estimated(item),
        "cache_hit": item.get("cache_hit", False),
        "provider_id": item.get("provider_id") or "",
    }
    return json.dumps(told, sort_keys=True)
