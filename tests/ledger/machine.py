"""The ledger as a state machine: every act at any time in any order, one adversary for each threat, and after
each step the database's books equal the model's to the last digit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.db import transaction
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.gateway.together import AUTHORIZE, RELEASE, SETTLE, Given
from tests.ledger import snapshot
from tests.ledger.facts import Body, Budget, Decision, Hold, Outcome
from tests.ledger.strategies import (
    BUDGETS,
    RATES,
    amounts,
    calls,
    people,
    scopes,
    spans,
    usages,
)
from tests.ledger.world import ROUTES, World

STATUSES = {
    "allow": 200,
    "request_id_reused": 409,
    "invalid_api_key": 401,
    "model_unknown": 404,
    "use_unbounded": 422,
    "rate_limited": 429,
    "budget_exhausted": 429,
    "budget_held": 429,
}
FORBIDDEN = 403
numbers = st.integers(0, 5)


class Ledger(RuleBasedStateMachine):
    """One organisation under attack. An example is a savepoint: what it wrote is undone at its end."""

    def __init__(self, make_world: Callable[[], World]) -> None:
        super().__init__()
        self.example = transaction.atomic()
        self.example.__enter__()
        self.world = make_world()
        self.books = self.world.books
        self.asked = 0
        self.settled: dict[str, Body] = {}  # the figures that each reservation was settled with

    def teardown(self) -> None:
        """Undo the example."""
        transaction.set_rollback(True)
        self.example.__exit__(None, None, None)

    @initialize(
        budgets=st.lists(
            st.tuples(st.sampled_from(BUDGETS), amounts), min_size=1, max_size=3, unique_by=repr
        ),
        rate=st.one_of(st.none(), st.tuples(scopes, st.sampled_from(RATES))),
        is_granted=st.booleans(),
        later=spans,
    )
    def begin(self, budgets: Sequence[Any], rate: Any, is_granted: bool, later: timedelta) -> None:
        self.world.pass_time(later)
        for kind, amount in budgets:
            self.opens_a_budget(kind=kind, amount=amount)
        if rate:
            self.sets_a_rate(scope=rate[0], rate=rate[1])
        if is_granted:
            self.world.grant("ada")

    # --------------------------------------------------------------------------- what gateways do

    @rule(call=calls)
    def asks(self, call: Body) -> None:
        self.authorize(self.question(call))

    @rule(call=calls, usage=usages)
    def asks_and_settles(self, call: Body, usage: Body) -> None:
        decision = self.authorize(self.question(call))
        if decision.hold:
            self.settle(self.settlement(decision.hold, usage))

    @rule(number=numbers, usage=usages)
    def settles(self, number: int, usage: Body) -> None:
        hold = self.hold(number, "open", "released", "unsettled")
        if hold:
            self.settle(self.settlement(hold, usage))

    @rule(call=calls)
    def leaves_before_anything_is_counted(self, call: Body) -> None:
        hold = self.authorize(self.question(call)).hold
        if hold:
            nothing = {"usage": {"input_tokens": 0, "output_tokens": 0}, "finish": "cancelled"}
            self.settle(self.settlement(hold, nothing))

    @rule(number=numbers)
    def releases(self, number: int) -> None:
        hold = self.hold(number, "open", "unsettled")
        if hold:
            self.release(hold)

    @rule(span=spans, is_swept=st.booleans())
    def time_passes(self, span: timedelta, is_swept: bool) -> None:
        self.world.pass_time(span)
        if is_swept:
            self.sweeps()

    @rule()
    def sweeps(self) -> None:
        due = self.books.expire()
        assert self.world.expire() == due

    # --------------------------------------------------------------- an adversary for each threat

    @rule(number=numbers)
    def asks_the_same_again(self, number: int) -> None:
        hold = self.asked_hold(number)
        if hold:
            self.repeat(hold)

    @rule(name=people)
    def asks_the_same_again_when_nothing_is_left(self, name: str) -> None:
        call = {"key": name, "model": "small", "input_bytes": 333, "max_output_tokens": 40}
        hold = self.authorize(self.question(call)).hold
        if hold:
            paths = [budget for budget in self.books.budgets if any(budget.id == on for on, _ in hold.slots)]
            for budget in paths:
                self.world.set_limit(budget, "0")
            self.repeat(hold)
            for budget in paths:
                self.world.set_limit(budget, "0.2")

    @rule(number=numbers)
    def asks_something_else_under_the_same_id(self, number: int) -> None:
        hold = self.asked_hold(number)
        if hold:
            assert self.authorize(altered(hold.body)).code == "request_id_reused"

    @rule(first=calls, second=calls, third=calls, twin=st.sampled_from(["same", "other", "earlier", "none"]))
    def asks_together(self, first: Body, second: Body, third: Body, twin: str) -> None:
        """Let several calls share a statement, one of them twice or for the second time."""
        raws = [self.question(call) for call in (first, second, third)]
        if twin == "same":
            raws.insert(2, raws[0])
        elif twin == "other":
            raws.insert(2, altered(raws[0]))
        elif twin == "earlier" and (hold := self.asked_hold(0)):
            raws.insert(1, hold.body)
        decided = [self.books.authorize(json.loads(raw), raw) for raw in raws]
        given = self.world.ask_together([(AUTHORIZE, raw) for raw in raws])
        for decision, answer in zip(decided, given, strict=True):
            self.compare_decision(decision, answer)

    @rule(number=numbers)
    def settles_the_same_again(self, number: int) -> None:
        hold = self.hold(number, "settled")
        if hold:
            before = snapshot.taken()
            assert self.settle(self.settled[hold.public_id]).status == "duplicate"
            assert snapshot.taken() == before, "a repeated settlement changed the books"

    @rule(number=numbers, usage=usages)
    def settles_again_with_other_figures(self, number: int, usage: Body) -> None:
        hold = self.hold(number, "settled")
        if hold:
            outcome = self.settle(self.settlement(hold, usage), is_first=False)
            assert outcome.status in ("duplicate", "conflict")

    @rule(number=numbers)
    def releases_what_is_over(self, number: int) -> None:
        hold = self.hold(number, "settled", "released")
        if hold:
            assert self.release(hold).status in ("already_settled", "duplicate")

    @rule(number=numbers, usage=usages, release_first=st.booleans())
    def settles_and_releases_in_one_statement(self, number: int, usage: Body, release_first: bool) -> None:
        hold = self.hold(number, "open", "unsettled", "released")
        if hold:
            acts = [self.settlement(hold, usage), {"reservation": hold.public_id, "release": True}]
            self.settle_together(acts[::-1] if release_first else acts)

    @rule(first=usages, second=usages, third=usages, number=numbers)
    def settles_in_one_statement(self, first: Body, second: Body, third: Body, number: int) -> None:
        """Let settlements share a statement: two calls, one of them twice, and a stranger's."""
        one, two = self.hold(number), self.hold(number + 1)
        if one and two:
            acts = [
                self.settlement(one, first),
                {"reservation": "rsv_nothing", **first},
                self.settlement(two, second),
                self.settlement(one, third),
            ]
            self.settle_together(acts)

    @rule(call=calls, usage=usages, is_released=st.booleans())
    def tells_the_truth_when_the_charge_is_booked(self, call: Body, usage: Body, is_released: bool) -> None:
        hold = self.authorize(self.question(call)).hold
        if hold:
            grace = timedelta(seconds=self.books.grace_seconds)
            self.world.pass_time(hold.expires_at - self.books.now + grace)
            self.sweeps()
            if is_released:
                self.release(hold)
            else:
                assert self.settle(self.settlement(hold, usage)).status == "late"

    @rule(call=calls, usage=usages, factor=st.sampled_from([0, 2, 3]))
    def reprices_what_is_in_flight(self, call: Body, usage: Body, factor: int) -> None:
        hold = self.authorize(self.question(call)).hold
        if hold:
            self.world.pass_time(timedelta(seconds=1))
            self.world.reprice(hold.model.name, factor=factor)
            self.settle(self.settlement(hold, usage))

    @rule(number=numbers, name=people, room=st.sampled_from(["0.0011", "0.0013"]))
    def asks_for_more_than_is_left(self, number: int, name: str, room: str) -> None:
        """Leave room for a part of a call beside one in flight, so that the output has to be clamped."""
        call = {"key": name, "model": "small", "input_bytes": 1_000}
        self.authorize(self.question(call | {"max_output_tokens": 40}))
        budgets = [budget for budget in self.budgets_of(name) if budget.mode == "hard"]
        if budgets:
            budget = budgets[number % len(budgets)]
            left = self.books.used(budget) + Decimal(room)
            self.world.set_limit(budget, str(max(left, Decimal(0))))
            self.authorize(self.question(call | {"max_output_tokens": 599}))

    @rule(number=numbers, call=calls)
    def asks_before_and_after_a_top_up_ends(self, number: int, call: Body) -> None:
        budget = self.budget(number)
        if budget:
            until = self.books.now + timedelta(seconds=20)
            self.world.set_limit(budget, "0.0031", valid_until=until)
            self.authorize(self.question(call))
            self.world.pass_time(timedelta(seconds=20))
            self.authorize(self.question(call))

    @rule(number=numbers, call=calls, amount=amounts)
    def asks_before_and_after_a_planned_limit(self, number: int, call: Body, amount: str | None) -> None:
        budget = self.budget(number)
        if budget:
            self.world.set_limit(budget, amount, valid_from=self.books.now + timedelta(seconds=20))
            self.authorize(self.question(call))
            self.world.pass_time(timedelta(seconds=20))
            self.authorize(self.question(call))

    # ---------------------------------------------------------------- what people do in the meantime

    @rule(number=numbers, amount=amounts)
    def changes_a_limit(self, number: int, amount: str | None) -> None:
        budget = self.budget(number)
        if budget:
            self.world.set_limit(budget, amount)

    @rule(number=numbers, amount=amounts, span=spans)
    def plans_a_limit(self, number: int, amount: str | None, span: timedelta) -> None:
        budget = self.budget(number)
        if budget:
            self.world.set_limit(budget, amount, valid_from=self.books.now + span)

    @rule(number=numbers, amount=st.sampled_from(["0.0007", "0.0031"]), span=spans)
    def tops_up(self, number: int, amount: str, span: timedelta) -> None:
        budget = self.budget(number)
        if budget:
            self.world.set_limit(budget, amount, valid_until=self.books.now + span)

    @rule(number=numbers, mode=st.sampled_from(["hard", "soft", "notify"]))
    def changes_a_mode(self, number: int, mode: str) -> None:
        budget = self.budget(number)
        if budget and not any(
            self.slot_of(other) == self.slot_of(budget, mode) for other in self.books.budgets
        ):
            self.world.set_mode(budget, mode)

    @rule(kind=st.sampled_from(BUDGETS), amount=amounts)
    def opens_a_budget(self, kind: Body, amount: str | None) -> None:
        fields = {"window": "day", "mode": "hard", "roll_over": "none", **kind}
        scope = self.scope(fields.pop("scope"))
        only = fields.pop("only", "")
        if only == "tier":
            fields["only_tier_id"] = 2
        elif only:
            fields["only_model_id"] = self.books.models[only].id
        wanted = (
            scope,
            fields["window"],
            fields["mode"],
            fields.get("only_tier_id"),
            fields.get("only_model_id"),
        )
        if all(self.slot_of(budget) != wanted for budget in self.books.budgets):
            self.world.open_budget(scope=scope, limit=amount, **fields)

    @precondition(lambda self: len(self.books.budgets) > 1)
    @rule(number=numbers)
    def closes_a_budget(self, number: int) -> None:
        budget = self.budget(number)
        if budget:
            self.world.close_budget(budget)

    @rule(scope=scopes, rate=st.sampled_from(RATES))
    def sets_a_rate(self, scope: tuple[str, str], rate: Body) -> None:
        self.world.set_rate(self.scope(scope), **rate)

    @rule(name=st.sampled_from(["small", "large", "hearing"]), factor=st.sampled_from([0, 2, 3]))
    def reprices(self, name: str, factor: int) -> None:
        self.world.reprice(name, factor=factor)

    @rule(name=people, is_narrow=st.booleans(), span=spans)
    def grants_tier_2(self, name: str, is_narrow: bool, span: timedelta) -> None:
        self.world.grant(name, models=["large"] if is_narrow else [], lasts=span)

    @rule(name=st.sampled_from(["search", "cards"]))
    def moves_a_team(self, name: str) -> None:
        self.world.move_team(name)

    @rule(
        what=st.sampled_from(["revoke", "suspend", "leave", "archive", "move", "lapse", "retire"]),
        name=people,
    )
    def something_ends_or_comes_back(self, what: str, name: str) -> None:
        world = self.world
        project = "fraud" if name == "dan" else "ranking"
        if what == "revoke" and name == "ben":  # for good, so only one of them
            world.revoke(name)
        elif what == "suspend":
            world.suspend_or_resume(name)
        elif what == "leave":
            world.leave_or_return(name)
        elif what == "archive":
            world.archive_or_reopen(project)
        elif what == "move":
            world.move_project(project)
        elif what == "lapse":
            world.end_grants()
        elif what == "retire":
            world.retire_or_restore("large")

    # ------------------------------------------------------------------------------ what must hold

    @invariant()
    def the_books_are_the_models_to_the_last_digit(self) -> None:
        found, wanted = snapshot.taken(), snapshot.expected(self.books)
        found_means, wanted_means = found.pop("means"), wanted.pop("means")
        for name in wanted:
            assert found[name] == wanted[name], f"{name}: {found[name]} and not {wanted[name]}"
        assert found_means.keys() == wanted_means.keys()
        for slot, mean in wanted_means.items():
            assert math.isclose(found_means[slot], mean, rel_tol=1e-9), slot
        snapshot.require_sound_books(found)

    # ------------------------------------------------------------------------------------- helpers

    def question(self, call: Body) -> bytes:
        """Write one call, under a request id that was never used."""
        self.asked += 1
        mode = self.books.models[call["model"]].mode if call["model"] in self.books.models else "chat"
        token = self.world.tokens.get(call["key"], self.world.stranger)
        body = {"request_id": f"request-{self.asked:06}", "route": ROUTES[mode], **call, "key": token}
        return json.dumps(body).encode()

    def settlement(self, hold: Hold, usage: Body) -> Body:
        return {"reservation": hold.public_id, **usage}

    def authorize(self, raw: bytes) -> Decision:
        """Ask the model, then the wire; they must say the same."""
        decision = self.books.authorize(json.loads(raw), raw)
        is_new = json.loads(raw)["request_id"] == f"request-{self.asked:06}"
        self.compare_decision(decision, self.world.send(AUTHORIZE, raw))
        if is_new and decision.hold:
            self.require_room_after(decision.hold)
        return decision

    def repeat(self, hold: Hold) -> None:
        """Ask the same again, which changes nothing."""
        before = snapshot.taken()
        decision = self.books.authorize(json.loads(hold.body), hold.body)
        assert decision.hold is hold
        self.compare_decision(decision, self.world.send(AUTHORIZE, hold.body))
        assert snapshot.taken() == before, "a repeated question changed the books"

    def require_room_after(self, hold: Hold) -> None:
        """No call is let in beyond a hard limit, whatever was lowered or overrun before."""
        budgets = {budget.id: budget for budget in self.books.budgets}
        for slot in hold.slots:
            free = self.books.free(budgets[slot[0]], slot)
            assert free is None or free >= 0 or not hold.held or budgets[slot[0]].mode != "hard"

    def settle(self, item: Body, *, is_first: bool = True) -> Outcome:
        outcome = self.books.settle([item])[0]
        self.compare_outcome(outcome, item, self.world.send(SETTLE, json.dumps(item).encode()))
        if is_first:
            self.remember(item, outcome)
        return outcome

    def release(self, hold: Hold) -> Outcome:
        item = {"reservation": hold.public_id}
        outcome = self.books.settle([item | {"release": True}])[0]
        self.compare_outcome(outcome, item, self.world.send(RELEASE, json.dumps(item).encode()))
        return outcome

    def settle_together(self, items: Sequence[Body]) -> None:
        outcomes = self.books.settle(items)
        asked = [
            (RELEASE, json.dumps({"reservation": item["reservation"]}).encode())
            if item.get("release")
            else (SETTLE, json.dumps(item).encode())
            for item in items
        ]
        for outcome, item, answer in zip(outcomes, items, self.world.ask_together(asked), strict=True):
            self.compare_outcome(outcome, item, answer)
            self.remember(item, outcome)

    def remember(self, item: Body, outcome: Outcome) -> None:
        if outcome.status in ("settled", "late"):
            self.settled[item["reservation"]] = item

    def compare_decision(self, decision: Decision, given: Given) -> None:
        status, body = given.status, given.body
        hold = decision.hold
        if hold is None or decision.code != "allow":
            assert body.get("code") == decision.code, (decision, body)
            assert status == STATUSES.get(decision.code, FORBIDDEN)
            self.compare_refusal(decision, body, given.headers)
            return
        assert status == 200, body
        hold.public_id = hold.public_id or body["reservation"]
        assert body["reservation"] == hold.public_id
        assert Decimal(body["held_usd"]) == hold.held
        assert body["max_output_tokens"] == (hold.output or None)
        assert body["warnings"] == hold.warnings
        assert body["tier"] == hold.model.tier
        assert body["expires_at"] == hold.expires_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def compare_refusal(self, decision: Decision, body: Body, headers: Any) -> None:
        """A 429 tells the truth about what is in the way and for how long."""
        if STATUSES.get(decision.code) != 429:
            return
        if decision.budget:
            assert body["budget"]["id"] == decision.budget.public_id
        else:
            assert (body["rate_limit"]["limit"], body["rate_limit"]["scope"]) == (
                decision.limit,
                decision.scope,
            )
        is_final = decision.code == "budget_exhausted" or decision.is_never
        assert headers["x-should-retry"] == ("false" if is_final else "true")
        noise = Fraction(1, 1_000_000)  # of floats, beside a whole second
        least, most = (math.ceil(decision.retry_after + error) for error in (-noise, noise))
        assert max(least, 1) <= int(headers["Retry-After"]) <= max(most, 1)

    def compare_outcome(self, outcome: Outcome, item: Body, given: Given) -> None:
        status, body = given.status, given.body
        wanted = {"unknown": 404, "conflict": 409, "already_settled": 409}.get(outcome.status, 200)
        assert status == wanted, body
        if status == 200:
            assert body["status"] == outcome.status
            assert body["reservation"] == item["reservation"]
        if status == 200 and "charged_usd" in body:
            assert Decimal(body["charged_usd"]) == outcome.charged
            assert Decimal(body["held_usd"]) == outcome.held

    def hold(self, number: int, *states: str) -> Hold | None:
        """Return one of the calls in these states, the newest first; None where there is none."""
        rows = [hold for hold in self.books.holds.values() if not states or hold.state in states][::-1]
        return rows[number % len(rows)] if rows else None

    def asked_hold(self, number: int) -> Hold | None:
        """Return one of the calls that the portal was asked for."""
        rows = [hold for hold in self.books.holds.values() if hold.lease is None][::-1]
        return rows[number % len(rows)] if rows else None

    def budget(self, number: int) -> Any:
        rows = [budget for budget in self.books.budgets if not budget.is_closed]
        return rows[number % len(rows)] if rows else None

    def budgets_of(self, name: str) -> list[Budget]:
        """Return the open budgets without a filter on the path of a key, but for its department's."""
        key = self.books.keys[self.world.tokens[name]]
        team_id = self.books.projects[key.project_id].team_id
        path = {("key", key.id), ("project", key.project_id), ("team", team_id), ("organisation", 0)}
        budgets = [budget for budget in self.books.budgets if not budget.is_closed and budget.scope in path]
        return [budget for budget in budgets if budget.only_tier is None and budget.only_model is None]

    def scope(self, named: tuple[str, str]) -> tuple[str, int]:
        return self.world.scope(*named)

    def slot_of(self, budget: Any, mode: str = "") -> Any:
        """Return what no two open budgets may have in common; a closed one takes no place."""
        if budget.is_closed:
            return None
        return (budget.scope, budget.window, mode or budget.mode, budget.only_tier, budget.only_model)


def altered(raw: bytes) -> bytes:
    """Write another call under the same request id."""
    body = json.loads(raw)
    return json.dumps(body | {"input_bytes": body["input_bytes"] + 1}).encode()
