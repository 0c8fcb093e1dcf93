"""The decision engine written a second time: plain Python, exact, one call after another.

It shares nothing with the SQL but the windows of budgets/windows.py. A batch of calls must decide and book
what the same calls do one by one, in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction

from budgets.windows import window_at
from tests.ledger import prices
from tests.ledger.booking import MICROSECOND, MINUTE, Ledger, decimals, seconds
from tests.ledger.facts import (
    ZERO,
    Attribution,
    Balance,
    Body,
    Budget,
    Cause,
    Decision,
    Hold,
    Key,
    Model,
    Posting,
    Project,
    Rate,
    Slot,
)
from tests.ledger.prices import OPEN_UNITS

LONGEST_WAIT = Fraction(366 * 86_400)
NO_WAIT = (Fraction(0), "", Rate(id=0, scope=("", 0)))
MODES = {
    "/v1/chat/completions": "chat",
    "/v1/embeddings": "embedding",
    "/v1/audio/transcriptions": "transcription",
    "/v1/audio/speech": "speech",
    "/v1/images/generations": "image",
}


@dataclass(slots=True, kw_only=True)
class Books(Ledger):
    """The ledger with what decides whether a call may be made."""

    def authorize(self, body: Body, raw: bytes) -> Decision:
        """Decide one call, and hold its worst case if it may go on."""
        seen = self.holds.get(body["request_id"])
        if seen:
            same = seen.body == raw
            return Decision(code="allow", hold=seen) if same else Decision(code="request_id_reused")
        key = self.keys.get(body["key"])
        if key is None:
            return Decision(code="invalid_api_key")
        project, model = self.projects[key.project_id], self.models.get(body["model"])
        who = Attribution(
            key_id=key.id,
            owner_id=key.owner_id,
            project_id=project.id,
            team_id=project.team_id,
            department_id=self.teams[project.team_id],
        )
        code = self._refusal(body, key, project, model)
        if code:
            decision = Decision(code=code)
        else:
            assert model is not None
            decision = self._weigh(body, raw, who, model)
        if decision.code == "model_unpriced" and model:
            self.unpriced[model.id] += 1
        if decision.hold is None:
            self._count_blocked(who, self._why_invalid(key, project) or decision.code, decision.cause)
        return decision

    def _count_blocked(self, who: Attribution, code: str, cause: Cause) -> None:
        """Count a refusal by its hour."""
        hour = self.now.replace(minute=0, second=0, microsecond=0)
        whose = (who.key_id, who.project_id, who.team_id, who.department_id)
        self.blocked[hour, *whose, code, cause] += 1

    def _refusal(self, body: Body, key: Key, project: Project, model: Model | None) -> str:
        """Say why a call is refused whatever it costs."""
        mode = MODES.get(body["route"])
        if self._why_invalid(key, project):
            return "invalid_api_key"
        if key.is_suspended:
            return "key_suspended"
        if body.get("project_id") not in (None, project.code):
            return "project_mismatch"
        if mode is None:
            return "route_not_allowed"
        return "model_unknown" if model is None or model.is_retired or model.mode != mode else ""

    def _why_invalid(self, key: Key, project: Project) -> str:
        """Say why a key is not valid, which people are told and its caller is not."""
        reasons = {
            "key_revoked": key.is_revoked,
            "key_expired": key.expires_at <= self.now,
            "key_owner_inactive": key.owner_id in self.inactive,
            "key_project_archived": project.is_archived,
        }
        return next((name for name, holds in reasons.items() if holds), "")

    def _weigh(self, body: Body, raw: bytes, who: Attribution, model: Model) -> Decision:
        """Price the worst case of a call and put it on every budget and rate of its path, or say what is in
        the way.
        """
        bound = min(body["input_bytes"], model.window_tokens)
        context = body.get("context", "standard")
        card = prices.card(model, context=context, at=self.now, input_tokens=bound)
        dear_units = {unit: usd for unit, usd in card.dearest.items() if unit in OPEN_UNITS}
        units = prices.unit_bounds(decimals(body.get("units")), model.hold_units, dear_units)
        if not card.prices(model.mode) and not model.is_free:
            return Decision(code="model_unpriced")
        if model.tier != 1 and not self._is_granted(who.key_id, model):
            return Decision(code="tier_not_granted")
        if units is None:
            return Decision(code="use_unbounded")

        tier, choices = self.tiers[model.tier], body.get("n", 1)
        wanted = min(body.get("max_output_tokens") or tier.default_output, model.max_output)
        fixed = bound * card.most("input", "cached", "cache_write") + card.most("request")
        fixed += card.units_usd(units, dear_units)
        for_each = choices * card.most("output", "reasoning")
        path = self._path(who, model)
        output = self._clamp(wanted, tier.floor_output, fixed, for_each, path)
        held = prices.up(fixed + output * for_each)
        floor = prices.nearest(bound * card.rate("input") + card.units_usd(units, card.usd))
        hold = Hold(
            request_id=body["request_id"],
            body=raw,
            who=who,
            model=model,
            context=context,
            input_bound=bound,
            output=output,
            choices=choices,
            units=units,
            held=held,
            floor=min(held, floor),
            slots=[slot for _, slot in path],
            rates=[rate for rate in self.rates if rate.scope in scopes_of(who)],
            warnings=[],
            authorized_at=self.now,
            expires_at=self.now + timedelta(seconds=self._seconds(body["route"], context)),
        )
        return self._too_fast(hold) or self._too_dear(hold, path) or self._hold(hold)

    def _seconds(self, route: str, context: str) -> int:
        """Return how long a call may take."""
        of_route = self.hold_seconds_for.get(route, self.hold_seconds)
        return max(of_route, self.hold_seconds_for.get(context, 0))

    def _is_granted(self, key_id: int, model: Model) -> bool:
        return any(
            grant.key_id == key_id
            and grant.tier == model.tier
            and not grant.is_revoked
            and grant.starts_at <= self.now < grant.expires_at
            and (not grant.model_ids or model.id in grant.model_ids)
            for grant in self.grants
        )

    def _path(self, who: Attribution, model: Model) -> list[tuple[Budget, Slot]]:
        """Return the budgets that a call counts on, each with its window of now, opened if need be."""
        return [(budget, self._open(budget)) for budget in self.budgets_on(who, model)]

    def budgets_on(self, who: Attribution, model: Model) -> list[Budget]:
        """Return the budgets that a call counts on."""
        return [
            budget
            for budget in self.budgets
            if budget.scope in scopes_of(who)
            and not budget.is_closed
            and budget.only_tier in (None, model.tier)
            and budget.only_model in (None, model.id)
        ]

    def _open(self, budget: Budget) -> Slot:
        period = window_at(budget.window, self.now, time_zone=budget.zone, anchor=budget.anchor)
        slot = (budget.id, period.starts_at)
        if slot in self.balances:
            return slot
        self.balances[slot] = Balance(ends_at=period.ends_at)
        if budget.roll_over == "none" or budget.created_at >= period.starts_at:
            return slot
        carry = self._carry(budget, period.starts_at)  # one of nothing too: late settlements correct it
        self._post(Posting(kind="carry", amount=carry, slots=[slot]))
        return slot

    def _carry(self, budget: Budget, start: datetime) -> Decimal:
        """Return what the windows before `start` pass on, those without calls too."""
        before = [
            balance
            for (budget_id, starts_at), balance in self.balances.items()
            if budget_id == budget.id and starts_at < start
        ]
        if before:
            last = max(before, key=lambda balance: balance.ends_at)
            used, end = last.spent + last.reserved, last.ends_at
        else:
            used, end = ZERO, _window_end(budget, budget.created_at)
        while True:
            limit = budget.limit_at(end - MICROSECOND)
            left = ZERO if limit is None else limit - used
            used = -max(left, ZERO) if budget.roll_over == "unused" else max(-left, ZERO)
            if end >= start:
                return used
            end = _window_end(budget, end)

    def used(self, budget: Budget) -> Decimal:
        """Return what a budget has spent and holds in the window of now."""
        return sum(
            (
                balance.spent + balance.reserved
                for (budget_id, starts_at), balance in self.balances.items()
                if budget_id == budget.id and starts_at <= self.now < balance.ends_at
            ),
            ZERO,
        )

    def free(self, budget: Budget, slot: Slot) -> Decimal | None:
        """Return what a budget has left in a window; None where it has no limit."""
        limit, balance = budget.limit_at(self.now), self.balances[slot]
        return None if limit is None else limit - balance.spent - balance.reserved

    def _clamp(
        self, wanted: int, floor: int, fixed: Decimal, for_each: Decimal, path: Sequence[tuple[Budget, Slot]]
    ) -> int:
        """Return the most output that the hard budgets pay for, down to the floor."""
        frees = [self.free(budget, slot) for budget, slot in path if budget.mode == "hard"]
        free = min((free for free in frees if free is not None), default=None)
        if free is None or not for_each or prices.up(fixed + wanted * for_each) <= free:
            return wanted
        affordable = int(((free - fixed) / for_each).to_integral_value(ROUND_FLOOR))
        return max(min(wanted, affordable), min(wanted, floor))

    def _too_fast(self, hold: Hold) -> Decision | None:
        """Refuse by the rate that makes the call wait longest, else by calls in flight."""
        at = seconds(self.now)
        waits: list[tuple[Fraction, str, Rate]] = []
        for rate in hold.rates:
            for name, count, most, tat in (
                ("requests_per_minute", 1, rate.requests, rate.requests_tat),
                ("tokens_per_minute", hold.held_tokens, rate.tokens, rate.tokens_tat),
            ):
                if most:
                    arrives = max(tat if tat is not None else at, at)
                    waits.append((arrives + Fraction(count * MINUTE, most) - at - MINUTE, name, rate))
        longest, name, rate = max(waits, key=lambda each: each[0], default=NO_WAIT)
        if longest > 0:
            never = name == "tokens_per_minute" and hold.held_tokens > (rate.tokens or 0)
            return Decision(
                code="rate_limited", limit=name, scope=rate.scope[0], retry_after=longest, is_never=never
            )
        for rate in hold.rates:
            if rate.parallel and rate.in_flight >= rate.parallel:
                mean = self.balances[hold.slots[0]].mean_seconds if hold.slots else 0
                return Decision(
                    code="rate_limited", limit="parallel_calls", scope=rate.scope[0], retry_after=_soon(mean)
                )
        return None

    def _too_dear(self, hold: Hold, path: Sequence[tuple[Budget, Slot]]) -> Decision | None:
        """Refuse by the hard budget that stays shut longest; warn of the others that are exceeded."""
        shut: list[tuple[bool, datetime, Budget, Slot]] = []
        for budget, slot in path:
            free = self.free(budget, slot)
            if not hold.held or free is None or free >= hold.held:
                continue
            if budget.mode == "hard":
                balance = self.balances[slot]
                is_spent = free + balance.reserved < hold.held
                needed = balance.spent + hold.held + (ZERO if is_spent else balance.reserved)
                opens_at = budget.opens_at(needed, after=self.now, ends_at=balance.ends_at)
                shut.append((is_spent, opens_at, budget, slot))
            else:
                hold.warnings.append({"budget": budget.public_id, "code": f"{budget.mode}_exceeded"})
        if not shut:
            return None
        is_spent, opens_at, budget, slot = max(shut, key=lambda each: each[:2])
        wait = min(max(seconds(opens_at) - seconds(self.now), Fraction(1)), LONGEST_WAIT)
        if is_spent:
            return Decision(code="budget_exhausted", budget=budget, retry_after=wait)
        soon = _soon(self.balances[slot].mean_seconds)
        return Decision(code="budget_held", budget=budget, retry_after=min(soon, wait))

    def _hold(self, hold: Hold) -> Decision:
        at = seconds(self.now)
        for slot in hold.slots:
            self.balances[slot].reserved += hold.held
        for rate in hold.rates:
            rate.in_flight += 1
            rate.requests_tat = _advanced(rate.requests_tat, at, 1, rate.requests)
            rate.tokens_tat = _advanced(rate.tokens_tat, at, hold.held_tokens, rate.tokens)
        self.holds[hold.request_id] = hold
        return Decision(code="allow", hold=hold)


def _window_end(budget: Budget, at: datetime) -> datetime:
    return window_at(budget.window, at, time_zone=budget.zone, anchor=budget.anchor).ends_at


def scopes_of(who: Attribution) -> set[tuple[str, int]]:
    """Return every scope whose budgets a caller's calls count on."""
    return {
        ("key", who.key_id),
        ("project", who.project_id),
        ("team", who.team_id),
        ("department", who.department_id),
        ("organisation", 0),
    }


def _advanced(tat: Fraction | None, at: Fraction, count: int, a_minute: int | None) -> Fraction | None:
    """Return the arrival time after one more call; without a rate there is none."""
    if not a_minute:
        return None
    return max(tat if tat is not None else at, at) + Fraction(count * MINUTE, a_minute)


def _soon(mean_seconds: float) -> Fraction:
    return Fraction(min(max(mean_seconds, 1), 30))
