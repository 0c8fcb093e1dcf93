"""I21: every write service of every app writes one audit event per change, in the transaction of the change.

The walk of teams, keys and approvals stands in tests/approvals/test_audit.py; this adds the other apps, finds
the services by itself, and reads from the statements what was written in which transaction.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

import catalog.services
import gateway.services
from approvals.models import Verdict
from approvals.services.increases.deciding import decide_increase
from budgets.models import Allocation, Budget, LimitKind, Mode, RollOver, ScopeKind
from budgets.services import limits, rates, rules
from budgets.types import Rate
from catalog.models import LlmModel, Unit
from core import clock
from core.models import AuditEvent, Channel, NewsKind, Outbox, SlackLink, Webhook
from gateway.models import GatewayKind
from portal.services import slack, webhooks
from portal.services.deliveries import send_again
from portal.services.preferences import Wishes, choose_notifications
from tests import factories
from tests.api.world import open_budget
from tests.approvals.test_audit import WALK as WALKED_THERE
from tests.approvals.test_audit import ask_increase
from tests.cast import Cast
from tests.catalog.test_import_prices import listed
from tests.core.test_wishes import put
from tests.factories import WebhookFactory

APPS = ("teams", "catalog", "budgets", "keys", "usage", "gateway", "approvals", "portal")
WHY = "A test of the audit."
# What an event may keep of before and after. Whoever records a new fact adds it, and looks at it.
DECLARED = """
    actions allocation archived_at attempts base_url budget budgets closed_at code cost_centre dead_at
    decision declared_free department description digest_time disabled_at duration_days
    expected_monthly_usd expires_at extends_key failures grant holder is_active key keys limit_usd
    live_versions masked member memberships mode model_ids models monthly_cap_usd name overcommit_ratio
    owner parallel_calls policy project quiet reason requests requests_per_minute revision role roles
    roll_over scope_kind slack_decides slack_user source_request stage state status team tier time_zone
    tokens_per_minute top_up_usd until url valid_from valid_until verdict waiting window
"""
FACTS = set(DECLARED.split())
# They find out by themselves who acts, or nobody does.
WITHOUT_ACTOR = {"approvals.expire_due", "portal.confirm_slack_link"}
Act = Callable[[Cast], Any]
# They take an actor and are no service of their own: the service that calls them records.
PARTS = {"approvals.obstacle", "approvals.raise_limit"}


def budget_of(cast: Cast) -> Budget:
    return open_budget(cast, ScopeKind.PROJECT, cast.ranking.pk, "50")


def unpriced(cast: Cast) -> LlmModel:
    model: LlmModel = factories.LlmModelFactory.create(name="mystery", tier=cast.tier2)
    return model


def planned(cast: Cast) -> Any:
    at = clock.now() + timedelta(days=1)
    budget = budget_of(cast)
    limits.change_limit(actor=None, budget=budget, amount_usd=Decimal(70), reason=WHY, valid_from=at)
    [plan] = budget.limits.filter(kind=LimitKind.BASE, valid_from__gt=clock.now())
    return limits.withdraw_plan(actor=None, budget=budget, valid_from=plan.valid_from, reason=WHY)


def rated(cast: Cast, calls: int | None) -> Any:
    return rates.set_rate_limit(
        actor=cast.ann, scope_kind=ScopeKind.PROJECT, scope_id=cast.ranking.pk,
        rate=Rate(requests_per_minute=calls), reason=WHY,
    )  # fmt: skip


def ruled(cast: Cast) -> Any:
    return rules.set_rules(
        actor=cast.ann, budget=budget_of(cast), mode=Mode.SOFT, allocation=Allocation.POOL,
        roll_over=RollOver.NONE, reason=WHY,
    )  # fmt: skip


def imported(cast: Cast) -> Any:
    cast.small.provider_model = "tested"
    cast.small.save()
    return catalog.services.import_prices(
        actor=cast.ann, offered=[], published=listed((clock.now() - timedelta(days=1), "0.000001"))
    )


def registered(cast: Cast) -> Any:
    return gateway.services.register_gateway(
        actor=cast.ann, name="edge", kind=GatewayKind.LITELLM, base_url="http://127.0.0.1"
    )


def decided_increase(cast: Cast) -> Any:
    """Let Ben decide: he owns the budget of the team above."""
    open_budget(cast, ScopeKind.TEAM, cast.search.pk, "500")
    return decide_increase(
        actor=cast.ben, request=ask_increase(cast), verdict=Verdict.APPROVE, seen_revision=1
    )


WALK: dict[str, tuple[Act, list[str]]] = {
    **WALKED_THERE,
    "approvals.decide_increase": (
        decided_increase,
        ["budget.limit_changed", "budget_increase.approved"],
    ),
    "budgets.open_budget": (budget_of, ["budget.opened"]),
    "budgets.change_limit": (
        lambda cast: limits.change_limit(
            actor=cast.ann, budget=budget_of(cast), amount_usd=Decimal(60), reason=WHY
        ),
        ["budget.limit_changed"],
    ),
    "budgets.withdraw_plan": (planned, ["budget.limit_planned"]),
    "budgets.top_up": (
        lambda cast: limits.top_up(
            actor=cast.ann, budget=budget_of(cast), amount_usd=Decimal(5), reason=WHY,
            valid_until=clock.now() + timedelta(days=1),
        ),
        ["budget.topped_up"],
    ),
    "budgets.set_rules": (ruled, ["budget.rules_changed"]),
    "budgets.close_budget": (
        lambda cast: rules.close_budget(actor=cast.ann, budget=budget_of(cast), reason=WHY),
        ["budget.closed"],
    ),
    "budgets.set_rate_limit": (lambda cast: rated(cast, 60), ["rate_limit.set"]),
    "budgets.remove_rate_limit": (
        lambda cast: rates.remove_rate_limit(actor=cast.ann, limit=rated(cast, 60), reason=WHY),
        ["rate_limit.removed"],
    ),
    "catalog.enter_prices": (
        lambda cast: catalog.services.enter_prices(
            actor=cast.ann, model=unpriced(cast), reason=WHY,
            usd_per_unit={Unit.INPUT: Decimal("0.000001"), Unit.OUTPUT: Decimal("0.000002")},
        ),
        ["prices.entered"],
    ),
    "catalog.declare_free": (
        lambda cast: catalog.services.declare_free(actor=cast.ann, model=unpriced(cast), reason=WHY),
        ["model.declared_free"],
    ),
    "catalog.import_prices": (imported, ["prices.imported"]),
    "gateway.register_gateway": (registered, ["gateway.registered"]),
    "gateway.rotate_gateway_secret": (
        lambda cast: gateway.services.rotate_gateway_secret(actor=cast.ann, gateway=registered(cast)),
        ["gateway.secret_rotated"],
    ),
}  # fmt: skip


def chosen(cast: Cast) -> Any:
    wishes = Wishes(channels=dict.fromkeys(NewsKind, Channel.DIGEST))
    return choose_notifications(actor=cast.ada, wishes=wishes)


def resent(cast: Cast) -> Any:
    message = put(cast.ada)
    Outbox.objects.update(dead_at=clock.now())
    return send_again(actor=cast.ann, message=message)


def disabled(cast: Cast) -> Webhook:
    return webhooks.disable_webhook(actor=cast.ann, webhook=WebhookFactory.create(), reason=WHY)


def linked(cast: Cast) -> SlackLink:
    code = slack.start_slack_link(actor=cast.ben)
    return slack.confirm_slack_link(code=code, slack_user="U1")


def unlinked(cast: Cast) -> None:
    linked(cast)
    slack.end_slack_link(actor=cast.ben)


WALK |= {
    "portal.start_slack_link": (
        lambda cast: slack.start_slack_link(actor=cast.ben),
        ["slack.link_started"],
    ),
    "portal.confirm_slack_link": (linked, ["slack.linked"]),
    "portal.end_slack_link": (unlinked, ["slack.unlinked"]),
    "portal.add_webhook": (
        lambda cast: webhooks.add_webhook(
            actor=cast.ann, url="https://8.8.8.8/", description="A test", actions=["x."]
        ),
        ["webhook.added"],
    ),
    "portal.rotate_webhook_secret": (
        lambda cast: webhooks.rotate_webhook_secret(actor=cast.ann, webhook=WebhookFactory.create()),
        ["webhook.secret_rotated"],
    ),
    "portal.send_test_event": (
        lambda cast: webhooks.send_test_event(actor=cast.ann, webhook=WebhookFactory.create()),
        ["webhook.tested"],
    ),
    "portal.disable_webhook": (disabled, ["webhook.disabled"]),
    "portal.enable_webhook": (
        lambda cast: webhooks.enable_webhook(actor=cast.ann, webhook=disabled(cast)),
        ["webhook.enabled"],
    ),
    "portal.choose_notifications": (chosen, ["notifications.chosen"]),
    "portal.send_again": (resent, ["message.sent_again"]),
}


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


def services() -> Iterator[str]:
    """Name every function of a `services` module that takes an actor by keyword."""
    for app in APPS:
        try:
            top = importlib.import_module(f"{app}.services")
        except ModuleNotFoundError:
            continue
        below = pkgutil.walk_packages(getattr(top, "__path__", ()), f"{top.__name__}.")
        for module in (top, *(importlib.import_module(found.name) for found in below)):
            for name, function in inspect.getmembers(module, inspect.isfunction):
                actor = inspect.signature(function).parameters.get("actor")
                if function.__module__ == module.__name__ and not name.startswith("_") and actor:
                    yield f"{app}.{name}" if actor.kind is inspect.Parameter.KEYWORD_ONLY else ""


def test_every_service_of_every_app_is_in_the_walk() -> None:
    assert {name for name in services() if name} - PARTS == WALK.keys() - WITHOUT_ACTOR


@pytest.mark.parametrize("service", WALK)
def test_a_service_writes_one_event_per_change_in_its_transaction(cast: Cast, service: str) -> None:
    act, actions = WALK[service]
    before = AuditEvent.objects.count()

    with traced() as trace:
        act(cast)

    assert trace.outside == []
    assert [done.changes for done in trace.transactions if done.changes and not done.events] == []
    last = [done for done in trace.transactions if done.changes][-1]
    assert last.events == len(actions)
    recorded = list(AuditEvent.objects.order_by("pk").values_list("action", flat=True))[before:]
    assert recorded[-len(actions) :] == actions
    assert len(recorded) == sum(done.events for done in trace.transactions)


@pytest.mark.parametrize("service", WALK)
def test_events_keep_only_declared_facts(cast: Cast, service: str) -> None:
    """Before and after come from an allow-list: whoever records a new fact declares it, and looks at it."""
    WALK[service][0](cast)

    events = AuditEvent.objects.exclude(action__startswith="prices.")  # their facts are units of a price
    kept = {name for event in events for name in (*event.before, *event.after)}

    assert kept - FACTS == set()


def test_no_fact_is_a_secret() -> None:
    assert [name for name in FACTS if re.search("secret|token$|password|hash|pepper", name)] == []
