"""Puts the demo organisation together, in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import transaction

from budgets.models import Budget, ScopeKind
from catalog.models import LlmModel
from catalog.pricing import STANDARD
from catalog.selectors import price_rows
from catalog.services import import_prices
from core import clock
from gateway.models import Gateway, GatewayKind
from gateway.services import register_gateway
from keys.models import ApiKey
from portal.demo import access, alerts, limits, prices, provider
from portal.demo.books import book
from portal.demo.calls import Call, Caller, Pricer, make_calls
from portal.demo.people import make_organisation
from portal.demo.spend import SpendOfCalls
from portal.demo.story import DAYS, PROJECTS
from usage.models import BlockedHour, ImportCursor
from usage.selectors.periods import organisation_today
from usage.services import reconcile_day
from usage.services.cursors import close_cursors

RECONCILED_DAYS = 7
OVER_BUDGET = "invoice-ocr"
# How many calls were refused in each of the last hours, the latest first.
REFUSED = (148, 412, 260)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """What was made."""

    people: int
    projects: int
    calls: int


@transaction.atomic
def seed(*, password: str) -> Seeded:
    """Make Northwind with sixty days of usage up to now. The database must have nobody in it."""
    now = clock.now()
    made = make_organisation(password=password, now=now)
    import_prices(actor=made.ann)
    prices.agree_on_contract(actor=made.ann, now=now)
    gateway = register_gateway(actor=made.ann, name="local", kind=GatewayKind.LITELLM, base_url="")
    keys = access.make_keys(made, now)
    calls = _calls(keys, now)
    planner = limits.Planner(made, keys=keys, days=DAYS, now=now)
    planner.open_all()
    caps = planner.limit_all(SpendOfCalls(calls, today=organisation_today(now)))
    access.grant_tiers(made, keys, caps, now)
    everything = [call for group in calls.values() for call in group]
    book(everything, gateway)
    refuse(keys[OVER_BUDGET], now)
    limits.raise_one_today(made)
    access.ask_today(made)
    provider.tell_figures(actor=made.ann, gateway=gateway, now=now)
    prices.price_again(actor=made.ann, now=now)
    alerts.write_alerts(sorted(everything, key=lambda call: call.at), now)
    unusual = alerts.UNUSUAL_PROJECT
    alerts.warn_of_one(made.projects[unusual], calls[unusual], now)
    reconcile(gateway, read=len(everything), newest=max(call.at for call in everything), now=now)
    return Seeded(people=len(made.people), projects=len(made.projects), calls=len(everything))


def _calls(keys: Mapping[str, Sequence[ApiKey]], now: datetime) -> dict[str, list[Call]]:
    models = {model.name: model for model in LlmModel.objects.all()}
    rows = {model: [row for row in each if row.context == STANDARD] for model, each in price_rows().items()}
    pricer = Pricer(rows)
    callers = [Caller(story=story, keys=keys[story.code], models=models, pricer=pricer) for story in PROJECTS]
    stopped = limits.lowered_at(now)
    return {
        caller.story.code: make_calls(caller, until=stopped if caller.story.code == OVER_BUDGET else now)
        for caller in callers
    }


def refuse(keys: Sequence[ApiKey], now: datetime) -> None:
    """Count what was refused since the limit was lowered."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    key = keys[0]
    budget = Budget.objects.filter(scope_kind=ScopeKind.PROJECT, scope_id=key.project_id).first()
    BlockedHour.objects.bulk_create(
        BlockedHour(
            hour=hour - timedelta(hours=back),
            key_id=key.pk,
            project=key.project,
            team=key.project.team,
            department=key.project.team.department,
            code="budget_exhausted",
            budget=budget,
            calls=calls,
            last_at=min(now, hour - timedelta(hours=back) + timedelta(minutes=59)),
        )
        for back, calls in enumerate(REFUSED)
    )


def reconcile(gateway: Gateway, *, read: int, newest: datetime, now: datetime) -> None:
    """Compare the last days with the gateway's journal, which was read a moment ago and is closed then:
    nobody runs the demo's gateway.
    """
    ImportCursor.objects.create(
        source=gateway.public_id,
        last_success_at=now,
        last_row_at=newest,
        rows_read=read,
    )
    today = now.astimezone(UTC).date()
    for back in range(RECONCILED_DAYS, -1, -1):
        reconcile_day(source=gateway.public_id, day=today - timedelta(days=back))
    close_cursors(sources=[gateway.public_id])
