"""I21: every write service of every app writes one audit event per change, in the transaction of the change.

How to do each act once stands in tests/walk; this finds the services by itself, and reads from the statements
what was written in which transaction.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
from django.db import connection

from approvals import rules as approvals_rules
from core.models import AuditEvent
from tests.cast import Cast
from tests.walk import Walk, approvals, keys, money, portal, quarantine, teams, usage

APPS = ("teams", "catalog", "budgets", "keys", "usage", "gateway", "approvals", "portal")
# What an event may keep of before and after. Whoever records a new fact adds it, and looks at it.
DECLARED = """
    account actions addresses alert_percents allocation amount_usd archived_at attempts base_url
    booked_before budget budgets by_rule cache_write_tokens cached_tokens came cause change closed_at code
    comment cost_centre dead_at decision declared_free delegations department description digest_time
    disabled_at duration_days email ends_at expected_monthly_usd expires_at extends_key external_id
    factors failures grant held_by holder increases input_tokens is_active keeps key keys label leases
    limit_usd lines live_versions masked member memberships mode model model_ids models monthly_cap_usd
    most_usd_an_hour name needs number offered_tier outcome output_tokens overcommit_ratio overlap_hours owner
    parallel_calls place policy previous_until project provider put_aside_at quiet reason reasoning_tokens
    refers_to reminder removed_at requests requests_per_minute responsible retired retired_at revision role
    roles roll_over scope_kind scopes sessions slack_decides slack_user source source_request stage starts_at
    state status supersedes taker team ticket tier time_zone tokens_per_minute top_up_usd total_usd until url
    valid_from valid_until verdict waiting went window
"""
FACTS = {*DECLARED.split(), *approvals_rules.LABELS}  # of a proposal what it changes of the rules
# They take an actor and are no service of their own: the service that calls them records, in its transaction.
PARTS = {
    "approvals.close",
    "approvals.how_it_ended",
    "catalog.apply_change",
    "catalog.apply_proposal",
    "approvals.obstacle",
    "approvals.raise_limit",
    "keys.end_grant",
    "keys.end_key",
    "keys.end_token",
    "keys.follow_grants",
    "usage.post_call",
    "usage.post_volume",
}
# They book or compare what gateways report; their record is the ledger, which only grows.
BOOKS = {
    "usage.check_prices",
    "usage.run_repricings",
    "usage.correct_calls",
    "usage.book_log_rows",
    "usage.expire_holds",
    "usage.fold_days",
    "usage.follow_settlements",
    "usage.forget_hours",
    "usage.import_page",
    "usage.import_rows",
    "usage.ingest_page",
    "usage.join_minutes",
    "usage.keep_day",
    "usage.make_partitions",
    "usage.pull_log",
    "usage.pull_report",
    "usage.pull_source",
    "usage.reclaim_leases",
    "usage.reconcile_costs",
    "usage.reconcile_day",
    "usage.reconcile_due_accounts",
    "usage.reconcile_invoice",
    "usage.reconcile_recent_days",
    "usage.reconcile_volumes",
    "usage.recount",
    "usage.recount_yesterday",
    "usage.retire_months",
    "usage.stop_runaways",
    # Their record are alerts and warnings, which are never changed either.
    "usage.forget_pace",
    "usage.tell_of_conflicts",
    "usage.tell_of_forecasts",
    "usage.tell_of_spend",
    "usage.watch_spend",
}
# Who acts is found by the code that he types.
BY_ITS_CODE = {"portal.confirm_slack_link"}
# What is recorded before an act, by what it is done to.
BEFORE = {
    "budget.opened",
    "budget.limit_changed",
    "budget.limit_planned",
    "budget_increase.asked",
    "delegation.given",
    "gateway.disabled",
    "gateway.log_registered",
    "gateway.registered",
    "grant.given",
    "group.created",
    "key.activity_planned",
    "key.issued",
    "key.revealed",
    "key.rotated",
    "key.rotation_asked",
    "key.suspended",
    "service_account.opened",
    "token.made",
    "person.deactivated",
    "policy.proposed",
    "provider_account.added",
    "prices.imported",
    "prices.proposed",
    "rate_limit.set",
    "repricing.proposed",
    "request.offered",
    "request.submitted",
    "role.assigned",
    "slack.link_started",
    "slack.linked",
    "token.revealed",
    "upstream_key.registered",
    "webhook.disabled",
    "webhook.secret_rotated",
}
WALK: Walk = teams.WALK | keys.WALK | approvals.WALK | money.WALK | quarantine.WALK | usage.WALK | portal.WALK


@dataclass(slots=True)
class Transaction:
    """What one outermost transaction wrote: tables, and how many audit events."""

    tables: list[str] = field(default_factory=list)

    @property
    def events(self) -> int:
        return self.tables.count("core_auditevent")

    @property
    def changes(self) -> list[str]:
        return [table for table in self.tables if table != "core_auditevent"]


class Trace:
    """The writes of the product, by transaction; those of factories, and what tests write, do not count."""

    WRITES = re.compile(r'^\s*(?:INSERT INTO|UPDATE|DELETE FROM) "?(\w+)"?')

    def __init__(self) -> None:
        self.transactions: list[Transaction] = []
        self.outside: list[str] = []
        self._marks: list[int] = []  # how much the transaction had written at each open savepoint

    def __call__(self, execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        text = str(sql)
        if text.startswith("SAVEPOINT"):
            if not self._marks:
                self.transactions.append(Transaction())
            self._marks.append(len(self.transactions[-1].tables))
        elif text.startswith("ROLLBACK TO"):
            del self.transactions[-1].tables[self._marks[-1] :]
        elif text.startswith("RELEASE"):
            self._marks.pop()
        elif (found := self.WRITES.match(text)) and _by_the_product():
            here = self.transactions[-1].tables if self._marks else self.outside
            here.append(found[1])
        return execute(sql, params, many, context)


def _by_the_product() -> bool:
    files = [frame.filename for frame in traceback.extract_stack()]
    return any("/services" in file and "/tests/" not in file for file in files)


@contextmanager
def traced() -> Iterator[Trace]:
    trace = Trace()
    with connection.execute_wrapper(trace):
        yield trace


def modules(app: str) -> Iterator[ModuleType]:
    """Import `app.services` and what is below it."""
    top = importlib.import_module(f"{app}.services")
    yield top
    for found in pkgutil.walk_packages(getattr(top, "__path__", ()), f"{top.__name__}."):
        yield importlib.import_module(found.name)


def services() -> Iterator[str]:
    """Name every function of a `services` module that takes an actor by keyword, or that the app exports."""
    for app in APPS:
        top, *_ = every = list(modules(app))
        exported = {getattr(top, name) for name in getattr(top, "__all__", ())}
        for module in every:
            for name, function in inspect.getmembers(module, inspect.isfunction):
                if function.__module__ != module.__name__ or name.startswith("_"):
                    continue
                actor = inspect.signature(function).parameters.get("actor")
                if function in exported or (actor and actor.kind is inspect.Parameter.KEYWORD_ONLY):
                    yield f"{app}.{name}"


def of(way: str) -> str:
    """Return the service of a row of the walk."""
    return way.partition(":")[0]


def test_every_service_of_every_app_is_in_the_walk() -> None:
    assert set(services()) - PARTS - BOOKS == {of(way) for way in WALK} - BY_ITS_CODE


def test_what_the_walk_leaves_out_is_there() -> None:
    assert set(services()) >= PARTS | BOOKS
    assert not BY_ITS_CODE & set(services())


@pytest.mark.parametrize("way", WALK)
def test_a_service_writes_its_events_and_no_others_in_its_transaction(cast: Cast, way: str) -> None:
    act, actions = WALK[way]
    assert AuditEvent.objects.count() == 0

    with traced() as trace:
        act(cast)

    assert trace.outside == []
    assert [done.changes for done in trace.transactions if done.changes and not done.events] == []
    last = [done for done in trace.transactions if done.changes][-1]
    recorded = list(AuditEvent.objects.order_by("pk").values_list("action", flat=True))
    assert recorded[-last.events :] == actions
    assert set(recorded[: -last.events]) <= BEFORE
    assert len(recorded) == sum(done.events for done in trace.transactions)


@pytest.mark.parametrize("way", WALK)
def test_events_keep_only_declared_facts(cast: Cast, way: str) -> None:
    """Before and after come from an allow-list: whoever records a new fact declares it, and looks at it."""
    WALK[way][0](cast)

    events = AuditEvent.objects.exclude(action__startswith="prices.")  # their facts are units of a price
    kept = {name for event in events for name in (*event.before, *event.after)}

    assert kept - FACTS == set()


def test_no_fact_is_a_secret() -> None:
    assert [name for name in FACTS if re.search("secret|token$|password|hash|pepper", name)] == []
