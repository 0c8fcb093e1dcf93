"""What the model does about leases: lend, draw, recall, take back. Plain Python, exact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from typing import Any

from tests.ledger import prices
from tests.ledger.booking import MICROSECOND
from tests.ledger.facts import ZERO, Attribution, Body, Budget, Hold, Lease, Lent, Model, Outcome, Slot
from tests.ledger.model import Books, scopes_of


@dataclass(kw_only=True)
class Lending(Books):
    """The books with leases."""

    lease_seconds: int
    lease_floor: Decimal
    leases: list[Lease] = field(default_factory=list)

    def lend(self, body: Body) -> Lent:
        """Open a lease, prolong one, or find the one whose answer was lost."""
        who, model, code = self._caller(body)
        if who is None or model is None:
            for lease in self._wished(body):
                if lease.held == lease.granted:
                    self._cut_short(lease)
            return Lent(code=code)

        found = self._named(body, who, model)
        is_again = found is not None and found.wish == body["lease"]
        path = self._path(who, model)
        slots = [slot for _, slot in path]
        tight, size = self._slice(path, Decimal(body["want_usd"]), body["node"])
        if found and found.slots != slots:
            if is_again:
                self._cut_short(found)
            found, is_again = None, False
        if found is None and not size and tight:
            return self._not_lent(path, tight)
        ends = [self.balances[slot].ends_at for slot in slots]
        if found is None:
            found = Lease(node=body["node"], wish=body["lease"], who=who, model=model, slots=slots)
            found.opened_at = self.now
            self.leases.append(found)
        size = ZERO if is_again else size
        found.granted, found.held = found.granted + size, found.held + size
        found.expires_at = min([self.now + timedelta(seconds=self.lease_seconds), *ends])
        found.reclaim_at = found.expires_at + timedelta(seconds=self.hold_seconds)
        self._reserve(found, size)
        return Lent(code="allow", lease=found, added=found.held if is_again else size)

    def _not_lent(self, path: Sequence[tuple[Budget, Slot]], tight: Budget) -> Lent:
        """Refuse by the spent budget that opens last, else by the one that calls in flight hold."""
        shut: list[tuple[datetime, Budget]] = []
        for budget, slot in path:
            free, balance = self.free(budget, slot), self.balances[slot]
            if budget.mode == "hard" and free is not None and free + balance.reserved <= 0:
                needed = balance.spent + self.lease_floor
                shut.append((budget.opens_at(needed, after=self.now, ends_at=balance.ends_at), budget))
        if not shut:
            return Lent(code="budget_held", budget=tight)
        return Lent(code="budget_exhausted", budget=max(shut, key=lambda each: each[0])[1])

    def _caller(self, body: Body) -> tuple[Attribution | None, Model | None, str]:
        """Return who asks for which model, or why they get no lease."""
        key, model = self.keys.get(body["key"]), self.models.get(body["model"])
        if key is None:
            return None, None, "invalid_api_key"
        project = self.projects[key.project_id]
        who = Attribution(
            key_id=key.id,
            owner_id=key.owner_id,
            project_id=project.id,
            team_id=project.team_id,
            department_id=self.teams[project.team_id],
        )
        invalid = self._why_invalid(key, project)
        if invalid:
            self._count_blocked(who, invalid, (None, "", ""))
        code = self._refusal(body, key, project, model) or self._not_offered(who, model)
        return (None, None, code) if code else (who, model, "")

    def _not_offered(self, who: Attribution, model: Model | None) -> str:
        """Say why calls that could be made are not lent for."""
        assert model is not None
        card = prices.card(model, context="standard", at=self.now, input_tokens=model.window_tokens)
        if not card.prices(model.mode) and not model.is_free:
            return "model_unpriced"
        if model.tier != 1 and not self._is_granted(who.key_id, model):
            return "tier_not_granted"
        is_limited = any(rate.scope in rated_scopes(who) for rate in self.rates)
        has_units = any(unit in prices.OPEN_UNITS for unit in card.usd)
        if model.mode not in ("chat", "embedding") or has_units or is_limited:
            return "lease_not_offered"
        return ""

    def _named(self, body: Body, who: Attribution, model: Model) -> Lease | None:
        """Return the open lease that a wish opened before, else the one that it names."""
        wished = self._wished(body)
        named = [lease for lease in self._open_leases() if lease.public_id == body["lease"]]
        return next(
            (lease for lease in [*wished, *named] if lease.who.key_id == who.key_id and lease.model is model),
            None,
        )

    def _wished(self, body: Body) -> list[Lease]:
        return [
            lease
            for lease in self._open_leases()
            if lease.node == body["node"] and lease.wish is not None and lease.wish == body["lease"]
        ]

    def _open_leases(self) -> list[Lease]:
        return [lease for lease in self.leases if not lease.is_closed]

    def _cut_short(self, lease: Lease) -> None:
        lease.wish = None
        lease.expires_at = min(lease.expires_at, self.now + MICROSECOND)
        lease.reclaim_at = self.now + 2 * MICROSECOND

    def _slice(
        self, path: Sequence[tuple[Budget, Slot]], want: Decimal, node: str
    ) -> tuple[Budget | None, Decimal]:
        """Return the tightest hard budget and what it has for one more node."""
        tight: Budget | None = None
        free = ZERO
        for budget, slot in path:
            left = self.free(budget, slot) if budget.mode == "hard" else None
            if left is not None and (tight is None or left < free):
                tight, free = budget, left
        if tight is None:
            return None, want
        others = {
            lease.node
            for lease in self._open_leases()
            if lease.node != node and any(budget_id == tight.id for budget_id, _ in lease.slots)
        }
        share = max(self.lease_floor, free / (2 * (len(others) + 1)))
        size = max(min(want, free, share), ZERO)
        return tight, size.quantize(prices.PICO, rounding=ROUND_FLOOR, context=prices.EXACT)

    def _reserve(self, lease: Lease, amount: Decimal) -> None:
        for slot in lease.slots:
            self.balances[slot].reserved += amount

    def settle(self, items: Iterable[Body]) -> list[Outcome]:
        """Book what a batch tells; calls under leases get their holds first."""
        told = list(items)
        self.draw(told)
        return super().settle(told)

    def draw(self, items: Iterable[Body]) -> None:
        """Make a call of its own of each that a node decided under a lease of ours."""
        leased = [item for item in items if item.get("lease")]
        for item in sorted(leased, key=lambda item: str(item["call"]["request_id"])):
            call = item["call"]
            lease = next((each for each in self.leases if each.public_id == item["lease"]), None)
            is_known = self._hold_of(item["reservation"]) or call["request_id"] in self.holds
            if lease is None or is_known:
                continue
            told = datetime.fromisoformat(call["authorized_at"])
            at = min(max(told, lease.opened_at), lease.expires_at)
            held = min(Decimal(call["held_usd"]), lease.held)
            bound, context = call["input_tokens"], call.get("context", "standard")
            card = prices.card(lease.model, context=context, at=at, input_tokens=bound)
            self.holds[call["request_id"]] = Hold(
                request_id=call["request_id"],
                body=b"",
                who=lease.who,
                model=lease.model,
                context=context,
                input_bound=bound,
                output=call["max_output_tokens"],
                choices=call.get("n", 1),
                units={},
                held=held,
                floor=min(Decimal(call["held_usd"]), prices.nearest(bound * card.rate("input"))),
                slots=lease.slots,
                rates=[],
                warnings=[],
                authorized_at=at,
                expires_at=lease.reclaim_at,
                public_id=item["reservation"],
                lease=lease,
            )
            lease.held -= held

    def give_back(self, lease: Lease, keep: Decimal) -> str:
        """Free what a lease holds beyond what its node keeps."""
        if lease.is_closed:
            return "closed"
        self._shrink(lease, keep)
        return "returned" if keep else "closed"

    def reclaim(self) -> int:
        """Close the leases whose last call must have ended, and return how many they were."""
        until = self.now - timedelta(seconds=self.grace_seconds)
        due = [lease for lease in self._open_leases() if lease.reclaim_at <= until]
        for lease in due:
            self._shrink(lease, ZERO)
        return len(due)

    def _shrink(self, lease: Lease, keep: Decimal) -> None:
        back = max(lease.held - keep, ZERO)
        self._reserve(lease, -back)
        lease.held -= back
        lease.returned += back
        lease.is_closed = not keep

    def recall(self, node: str) -> list[str]:
        """Return the leases of a node that must stop now."""
        stopped = [lease for lease in self._open_leases() if lease.node == node and self._must_stop(lease)]
        for lease in stopped:
            lease.is_recalled = True
        return [lease.public_id for lease in stopped]

    def _must_stop(self, lease: Lease) -> bool:
        """Whether anything that the lease was opened on has changed since."""
        who, model = lease.who, lease.model
        key = next(key for key in self.keys.values() if key.id == who.key_id)
        project = self.projects[key.project_id]
        is_gone = key.is_revoked or key.is_suspended or key.expires_at <= self.now
        if is_gone or key.owner_id in self.inactive or project.is_archived or model.is_retired:
            return True
        home = (project.id, project.team_id, self.teams[project.team_id])
        if home != (who.project_id, who.team_id, who.department_id):
            return True
        if model.tier > 1 and not self._is_granted(who.key_id, model):
            return True
        ids = [budget_id for budget_id, _ in lease.slots]
        dated: list[Any] = [limit for budget in self.budgets if budget.id in ids for limit in budget.limits]
        moments = [moment for row in [*dated, *model.prices] for moment in (row.valid_from, row.valid_until)]
        if any(moment and lease.opened_at <= moment <= self.now for moment in moments):
            return True
        if any(rate.scope in rated_scopes(who) for rate in self.rates):
            return True
        return ids != [budget.id for budget in self.budgets_on(who, model)] or self._is_overdrawn(lease)

    def _is_overdrawn(self, lease: Lease) -> bool:
        """Whether a hard budget that a lease holds money of has given out more than it has."""
        hard = {budget.id: budget for budget in self.budgets if budget.mode == "hard"}
        frees = [self.free(hard[slot[0]], slot) for slot in lease.slots if slot[0] in hard]
        return any(free is not None and free < 0 for free in frees)


def rated_scopes(who: Attribution) -> set[tuple[str, int]]:
    """Return the scopes of a caller that may have rates."""
    return {scope for scope in scopes_of(who) if scope[0] in ("key", "project", "team")}
