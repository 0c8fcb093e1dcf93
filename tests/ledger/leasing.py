"""The ledger's state machine with nodes that hold leases: what they do, and what is done to them."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.ledger import snapshot
from tests.ledger.facts import Body, Lease, Lent
from tests.ledger.machine import FORBIDDEN, STATUSES, Ledger, numbers
from tests.ledger.strategies import BUDGETS, people, usages
from tests.ledger.world import ROUTES

LEASE = "/gateway/v1/leases"
POLL = "/gateway/v1/leases/poll"
RETURN = "/gateway/v1/leases/return"
LEASE_STATUSES = {**STATUSES, "lease_not_offered": 409}
GOOD_MODELS = ["small", "small", "small", "large", "large", "vectors", "zero"]
ODD_MODELS = ["free", "unpriced", "hearing", "nothing"]

nodes = st.sampled_from(["node-1", "node-1", "node-2", "node-3"])
wants = st.sampled_from(["0.0014", "0.0031", "0.01", "0.05"])
leased_calls = st.fixed_dictionaries(
    {
        "held_usd": st.sampled_from(["0.0002", "0.0014", "0.0014", "0.000000000001", "0.5", "0"]),
        "input_tokens": st.sampled_from([0, 1, 200, 1_000, 1_500, 4_999]),
        "max_output_tokens": st.sampled_from([0, 1, 100, 600]),
        "n": st.sampled_from([1, 1, 2]),
        "context": st.sampled_from(["standard", "standard", "batch"]),
    }
)
# Before now; the first are within most leases, the others before them or after them.
moments = st.sampled_from([0, 1, 1, 20, 700, -40])


class LeasingLedger(Ledger):
    """One organisation under attack, some of whose calls are decided by nodes."""

    def __init__(self, make_world: Any) -> None:
        super().__init__(make_world)
        self.wishes: list[Body] = []
        self.told: dict[str, Body] = {}  # the journal's line of each call in flight under a lease

    # ------------------------------------------------------------------------------ what nodes do

    @rule(node=nodes, name=people, model=st.sampled_from(GOOD_MODELS), want=wants)
    def takes_a_lease(self, node: str, name: str, model: str, want: str) -> None:
        self.lend(self.wish(node=node, name=name, model=model, want=want))

    @rule(node=nodes, name=st.sampled_from(["ada", "nobody"]), model=st.sampled_from(ODD_MODELS), want=wants)
    def takes_a_lease_that_is_hardly_offered(self, node: str, name: str, model: str, want: str) -> None:
        self.lend(self.wish(node=node, name=name, model=model, want=want))

    @rule(number=numbers, want=wants)
    def tops_up_a_lease(self, number: int, want: str) -> None:
        lease = self.lease(number)
        if lease:
            name = next(name for name, key in self.world.keys.items() if key.pk == lease.who.key_id)
            wish = self.wish(node=lease.node, name=name, model=lease.model.name, want=want)
            self.lend(wish | {"lease": lease.public_id})

    @rule(number=numbers, call=leased_calls, usage=usages, ago=moments)
    def settles_a_call_under_a_lease(self, number: int, call: Body, usage: Body, ago: int) -> None:
        lease = self.lease(number)
        if lease:
            self.settle({**self.leased(lease, call, ago), **usage})

    @rule(number=numbers, first=leased_calls, second=leased_calls, usage=usages, ago=moments)
    def settles_calls_under_leases_in_one_statement(
        self, number: int, first: Body, second: Body, usage: Body, ago: int
    ) -> None:
        """Let calls under two leases share a statement with a call that the portal decided."""
        one, other, hold = self.lease(number), self.lease(number + 1), self.hold(number, "open")
        if one and other:
            items = [{**self.leased(one, first, ago), **usage}, {**self.leased(other, second, 0), **usage}]
            items += [{"reservation": hold.public_id, **usage}] if hold else []
            self.settle_together([*items, items[0]])

    @rule(number=numbers, call=leased_calls, ago=moments)
    def dies_with_a_call_in_flight(self, number: int, call: Body, ago: int) -> None:
        """Let the portal read of a call that was allowed, and of no end of it."""
        lease = self.lease(number)
        if lease:
            item = self.leased(lease, call, ago)
            line = self.told[item["reservation"]] = self.line_of(item, lease)
            self.books.draw([item])
            self.world.pull([line])

    @rule(node=nodes)
    def polls(self, node: str) -> None:
        given = self.world.send(POLL, json.dumps({"node": node}).encode())
        assert sorted(given.body["stop"]) == sorted(self.books.recall(node))

    @rule(number=numbers, calls=st.lists(leased_calls, min_size=1, max_size=3), ago=moments)
    def polls_with_calls_in_flight(self, number: int, calls: list[Body], ago: int) -> None:
        """Let a node tell of calls under two leases, one of which may be another's or closed."""
        one, other = self.lease(number), self.lease(number + 1)
        if one and other:
            told = [
                self.leased(lease, call, ago) for lease, call in zip((one, other, one), calls, strict=False)
            ]
            self.told |= {item["reservation"]: self.line_of(item, one) for item in told}
            self.tell(one.node, told)

    @rule(number=numbers, call=leased_calls, usage=usages, released=st.booleans())
    def tells_of_a_call_and_then_of_its_end(
        self, number: int, call: Body, usage: Body, released: bool
    ) -> None:
        lease = self.lease(number)
        if lease:
            item = self.leased(lease, call, 0)
            self.tell(lease.node, [item])
            if released:
                self.release(self.books.holds[item["call"]["request_id"]])
            else:
                self.settle({**item, **usage})

    @rule(number=numbers, keep=st.sampled_from(["0", "0.0002", "5"]))
    def gives_a_lease_back(self, number: int, keep: str) -> None:
        lease = self.lease(number)
        if lease:
            self.give_back(lease, keep)

    @rule(name=people, want=wants, keep=st.sampled_from(["0.0002", "0.0007", "0"]))
    def takes_a_lease_and_gives_a_part_of_it_back(self, name: str, want: str, keep: str) -> None:
        lease = self.lend(self.wish(node="node-1", name=name, model="small", want=want)).lease
        if lease:
            self.give_back(lease, keep)

    @rule()
    def sweeps_leases(self) -> None:
        assert self.world.reclaim() == self.books.reclaim()

    # --------------------------------------------------------------- an adversary for each threat

    @rule(number=numbers)
    def asks_again_for_a_lease_whose_answer_was_lost(self, number: int) -> None:
        if self.wishes:
            wish = self.wishes[-1 - number % len(self.wishes)]
            before = sum(balance.reserved for balance in self.books.balances.values())
            opened = len(self.books.leases)
            lent = self.lend(wish)
            if lent.lease and len(self.books.leases) == opened and lent.lease.wish == wish["lease"]:
                assert before == sum(balance.reserved for balance in self.books.balances.values())

    @rule(number=numbers)
    def tells_again_what_was_in_flight(self, number: int) -> None:
        lines = list(self.told.values())
        if lines:
            before = snapshot.taken()
            self.world.pull([lines[number % len(lines)]])
            assert snapshot.taken() == before, "a line that was read again changed the books"

    @rule(number=numbers, call=leased_calls, usage=usages)
    def settles_under_a_lease_that_is_over(self, number: int, call: Body, usage: Body) -> None:
        lease = self.lease(number)
        if lease:
            seconds = self.books.lease_seconds + self.books.hold_seconds + self.books.grace_seconds
            self.world.pass_time(timedelta(seconds=seconds + 1))
            self.sweeps_leases()
            assert lease.is_closed
            self.settle({**self.leased(lease, call, 0), **usage})

    @rule(number=numbers, call=leased_calls)
    def is_never_heard_of_again(self, number: int, call: Body) -> None:
        lease = self.lease(number)
        if lease:
            self.dies_with_a_call_in_flight(number, call, 0)
            reclaimed_at = max(lease.reclaim_at, self.books.now)
            self.world.pass_time(reclaimed_at - self.books.now + timedelta(hours=1))
            self.sweeps()
            self.sweeps_leases()

    @rule(number=numbers, call=leased_calls)
    def loses_its_host_with_all_that_it_wrote(self, number: int, call: Body) -> None:
        """Let a node that told of a call in flight never be heard of again: its input is charged, once."""
        lease = self.lease(number)
        if lease:
            item = self.leased(lease, call, 0)
            self.tell(lease.node, [item])
            reclaimed_at = max(lease.reclaim_at, self.books.now)
            self.world.pass_time(reclaimed_at - self.books.now + timedelta(hours=1))
            self.sweeps()
            self.sweeps_leases()
            hold = self.books.holds[item["call"]["request_id"]]
            assert hold.state == "unsettled"
            self.tell(lease.node, [item])
            assert hold.state == "unsettled"

    @rule(number=numbers)
    def gives_a_lease_back_twice(self, number: int) -> None:
        lease = self.lease(number)
        if lease:
            self.give_back(lease, "0")
            before = snapshot.taken()
            self.give_back(lease, "0.1")
            assert snapshot.taken() == before, "a lease that was closed gave something back"

    @rule(number=numbers, usage=usages)
    def settles_under_a_lease_that_is_nobodys(self, number: int, usage: Body) -> None:
        lease = self.lease(number)
        if lease:
            item = self.leased(lease, {"held_usd": "0.1", "input_tokens": 9, "max_output_tokens": 9}, 0)
            outcome = self.settle({**item, "lease": "lse_nothing", **usage}, is_first=False)
            assert outcome.status == "unknown"

    @rule(name=people, number=numbers, room=st.sampled_from(["0.0001", "0.0009", "0.0031"]), want=wants)
    def nodes_share_what_is_left(self, name: str, number: int, room: str, want: str) -> None:
        budgets = [budget for budget in self.budgets_of(name) if budget.mode == "hard"]
        if budgets:
            budget = budgets[number % len(budgets)]
            self.world.set_limit(budget, str(max(self.books.used(budget) + Decimal(room), Decimal(0))))
            for node in ("node-1", "node-2", "node-1", "node-3"):
                self.lend(self.wish(node=node, name=name, model="small", want=want))

    @rule(
        what=st.sampled_from(["nothing", "suspend", "limit", "price", "close", "open"]),
        name=people,
        number=numbers,
    )
    def takes_a_lease_and_is_recalled(self, what: str, name: str, number: int) -> None:
        """Change what a lease was opened on, and ask at once."""
        world, node = self.world, "node-2"
        self.lend(self.wish(node=node, name=name, model="small", want="0.0014"))
        world.pass_time(timedelta(seconds=1))
        budgets = self.budgets_of(name)
        if what == "suspend":
            world.suspend_or_resume(name)
        elif what == "price":
            world.reprice("small", factor=2)
        elif what == "open":
            self.opens_a_budget(kind=BUDGETS[number % len(BUDGETS)], amount="0.2")
        elif budgets and what == "limit":
            world.set_limit(budgets[number % len(budgets)], "0.0035")
        elif budgets and what == "close":
            world.close_budget(budgets[number % len(budgets)])
        self.polls(node)
        if what == "suspend":
            world.suspend_or_resume(name)

    # ------------------------------------------------------------------------------------- helpers

    def wish(self, *, node: str, name: str, model: str, want: str) -> Body:
        """Write a wish for a lease, under a name that was never used."""
        self.asked += 1
        mode = self.books.models[model].mode if model in self.books.models else "chat"
        return {
            "node": node,
            "lease": f"wish-{self.asked:06}",
            "key": self.world.tokens.get(name, self.world.stranger),
            "model": model,
            "route": ROUTES[mode],
            "want_usd": want,
        }

    def lend(self, wish: Body) -> Lent:
        """Ask the model, then the wire; they must say the same."""
        self.wishes.append(wish)
        lent = self.books.lend(wish)
        given = self.world.send(LEASE, json.dumps(wish).encode())
        lease = lent.lease
        if lease is None:
            assert given.body.get("code") == lent.code, (lent, given.body)
            assert given.status == LEASE_STATUSES.get(lent.code, FORBIDDEN)
            if lent.budget:
                assert given.body["budget"]["id"] == lent.budget.public_id
            return lent
        assert given.status == 200, given.body
        lease.public_id = lease.public_id or given.body["lease"]
        assert given.body["lease"] == lease.public_id
        assert Decimal(given.body["added_usd"]) == lent.added
        assert Decimal(given.body["held_usd"]) == lease.held
        assert given.body["expires_at"] == lease.expires_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return lent

    def tell(self, node: str, told: list[Body]) -> None:
        """Poll with calls in flight: the model draws their holds, and both name the same leases to stop."""
        self.books.draw(told)
        given = self.world.send(POLL, json.dumps({"node": node, "allowed": told}).encode())
        assert sorted(given.body["stop"]) == sorted(self.books.recall(node))

    def line_of(self, item: Body, lease: Lease) -> Body:
        """Write the journal's line of a call that a node allowed."""
        line = {**item, "id": item["reservation"], "kind": "allowed", "model": lease.model.name}
        return {**line, "at": self.books.now.isoformat()}

    def give_back(self, lease: Lease, keep: str) -> None:
        status = self.books.give_back(lease, Decimal(keep))
        given = self.world.send(RETURN, json.dumps({"lease": lease.public_id, "keep_usd": keep}).encode())
        assert (given.status, given.body["status"]) == (200, status)

    def leased(self, lease: Lease, call: Body, ago: int) -> Body:
        """Write what a node tells of a call that it decided some seconds ago."""
        self.asked += 1
        return {
            "reservation": f"rsv_{self.asked:028x}",
            "lease": lease.public_id,
            "call": {
                "request_id": f"leased-{self.asked:06}",
                "route": ROUTES[lease.model.mode],
                "authorized_at": (self.books.now - timedelta(seconds=ago)).isoformat(),
                **call,
            },
        }

    def lease(self, number: int) -> Lease | None:
        """Return one of the leases, the newest first, rather an open one."""
        rows = sorted(self.books.leases, key=lambda lease: not lease.is_closed)[::-1]
        return rows[number % len(rows)] if rows else None
