"""The acts on budgets, rates, prices and gateways."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import catalog.services
import gateway.services
import usage.services
from budgets.models import Allocation, Budget, LimitKind, Mode, RollOver, ScopeKind
from budgets.services import limits, rates, rules
from budgets.types import Rate
from catalog.importer import Slot
from catalog.models import LlmModel, Price, PriceProposal, PriceSource, Provider, Unit
from catalog.proposals import Override
from core import clock
from gateway.models import Gateway, GatewayKind, LogKind
from teams.models import User
from tests import factories
from tests.api.world import open_budget
from tests.cast import Cast
from tests.catalog.test_import_prices import listed
from tests.usage.books import overcharge
from tests.walk import WHY, Walk
from usage.invoices import Line
from usage.models import ImportCursor, ProviderAccount, Repricing, UpstreamCredential
from usage.services import cursors, registry


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


def import_waits(cast: Cast) -> Any:
    imported(cast)
    return catalog.services.import_prices(
        actor=cast.ann, offered=[], published=listed((clock.now() - timedelta(days=1), "0.000009"))
    )


def overridden(cast: Cast, usd: str) -> PriceProposal:
    return catalog.services.override_price(
        actor=cast.ann,
        model=cast.large,
        override=Override(
            slot=Slot(unit=Unit.INPUT, context="standard", tier_start=0),
            usd_per_unit=Decimal(usd),
            source=PriceSource.CONTRACT,
            valid_from=None,
            valid_until=None,
        ),
        reason=WHY,
    )


def price_ended(cast: Cast) -> PriceProposal:
    price = Price.objects.get(model=cast.large, unit=Unit.INPUT)
    return catalog.services.end_price(actor=cast.ann, price=price, ends_at=None, reason=WHY)


def second() -> User:
    person: User = factories.UserFactory.create()
    factories.RoleAssignmentFactory.create(user=person)
    return person


def wrong_calls(cast: Cast) -> Repricing:
    """Keep a call that was charged a cent too much, and propose to correct it."""
    now = clock.now()
    overcharge(cast.ranking, cast.large)
    return usage.services.propose_repricing(
        actor=cast.ann, model=cast.large, starts_at=now - timedelta(days=1), ends_at=now, reason=WHY
    )


def registered(cast: Cast, base_url: str = "http://127.0.0.1") -> Gateway:
    return gateway.services.register_gateway(
        actor=cast.ann, name="edge", kind=GatewayKind.LITELLM, base_url=base_url
    )


def moved(cast: Cast) -> Gateway:
    registered(cast)
    return registered(cast, "http://127.0.0.2")


def off(cast: Cast) -> Gateway:
    return gateway.services.disable_gateway(actor=cast.ann, gateway=registered(cast), reason=WHY)


def account(cast: Cast) -> ProviderAccount:
    return usage.services.add_account(actor=cast.ann, provider=Provider.OPENAI, name="org-northwind")


def upstream_key(cast: Cast) -> UpstreamCredential:
    return usage.services.register_key(
        actor=cast.ann, account=account(cast), external_id="key_abc", label="Production"
    )


def billed(cast: Cast) -> Any:
    return usage.services.upload_invoice(
        actor=cast.fay, account=factories.ProviderAccountFactory.create(), number="INV-1",
        period_start=date(2026, 10, 1), period_end=date(2026, 11, 1), currency="USD", total_usd=Decimal(5),
        lines=[Line(description="Usage", model_name="", quantity=None, amount_usd=Decimal(5))],
    )  # fmt: skip


def logged(cast: Cast, place: str = "http://127.0.0.1") -> Any:
    return gateway.services.register_log(
        actor=cast.ann, gateway=registered(cast), kind=LogKind.LITELLM, place=place
    )


def asked_to_read(cast: Cast) -> Any:
    ImportCursor.objects.create(source="gw_test")
    return cursors.read_now(actor=cast.fay, source="gw_test")


WALK: Walk = {
    "usage.read_now": (asked_to_read, ["source.read_asked"]),
    "usage.add_account": (account, ["provider_account.added"]),
    "usage.change_credential": (
        lambda cast: registry.change_credential(
            actor=cast.ann, account=account(cast), admin_credential="env:PURSER_ADMIN_KEY_X"
        ),
        ["provider_account.credential_changed"],
    ),
    "usage.close_account": (
        lambda cast: usage.services.close_account(actor=cast.ann, account=account(cast), reason=WHY),
        ["provider_account.closed"],
    ),
    "usage.register_key": (upstream_key, ["upstream_key.registered"]),
    "usage.retire_key": (
        lambda cast: usage.services.retire_key(actor=cast.ann, key=upstream_key(cast), reason=WHY),
        ["upstream_key.retired"],
    ),
    "usage.upload_invoice": (billed, ["invoice.uploaded"]),
    "gateway.register_log": (logged, ["gateway.log_registered"]),
    "gateway.close_log": (
        lambda cast: gateway.services.close_log(actor=cast.ann, log=logged(cast)),
        ["gateway.log_closed"],
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
            actor=cast.ann,
            budget=budget_of(cast),
            amount_usd=Decimal(5),
            reason=WHY,
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
            actor=cast.ann,
            model=unpriced(cast),
            reason=WHY,
            usd_per_unit={Unit.INPUT: Decimal("0.000001"), Unit.OUTPUT: Decimal("0.000002")},
        ),
        ["prices.entered"],
    ),
    "catalog.declare_free": (
        lambda cast: catalog.services.declare_free(actor=cast.ann, model=unpriced(cast), reason=WHY),
        ["model.declared_free"],
    ),
    "catalog.import_prices": (imported, ["prices.imported"]),
    "catalog.import_prices: waits": (import_waits, ["prices.proposed"]),
    "catalog.override_price": (lambda cast: overridden(cast, "0.0000026"), ["prices.overridden"]),
    "catalog.override_price: waits": (lambda cast: overridden(cast, "0.01"), ["prices.proposed"]),
    "catalog.end_price": (price_ended, ["prices.proposed"]),
    "catalog.approve_prices": (
        lambda cast: catalog.services.approve_prices(actor=second(), proposal=overridden(cast, "0.01")),
        ["prices.approved"],
    ),
    "catalog.reject_prices": (
        lambda cast: catalog.services.reject_prices(
            actor=second(), proposal=overridden(cast, "0.01"), reason=WHY
        ),
        ["prices.rejected"],
    ),
    "usage.propose_repricing": (wrong_calls, ["repricing.proposed"]),
    "usage.approve_repricing": (
        lambda cast: usage.services.approve_repricing(actor=second(), repricing=wrong_calls(cast)),
        ["repricing.approved"],
    ),
    "usage.reject_repricing": (
        lambda cast: usage.services.reject_repricing(actor=second(), repricing=wrong_calls(cast), reason=WHY),
        ["repricing.rejected"],
    ),
    "gateway.register_gateway": (registered, ["gateway.registered"]),
    "gateway.rotate_gateway_secret": (
        lambda cast: gateway.services.rotate_gateway_secret(actor=cast.ann, gateway=registered(cast)),
        ["gateway.secret_rotated"],
    ),
    "gateway.disable_gateway": (off, ["gateway.disabled"]),
    "gateway.enable_gateway": (
        lambda cast: gateway.services.enable_gateway(actor=cast.ann, gateway=off(cast), reason=WHY),
        ["gateway.enabled"],
    ),
    "gateway.register_gateway: moved": (moved, ["gateway.moved"]),
}
