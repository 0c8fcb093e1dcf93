"""Carries alerts to who is responsible for the scope, and to webhooks, in the transaction of the alerts."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.urls import reverse

from budgets.models import AlertKind, BudgetAlert, ScopeKind
from budgets.types import BudgetRow
from core import clock, events, outbox
from core.money import wire_usd
from keys.models import ApiKey
from usage.alert_texts import AlertFacts, at_the_limit, body_of, subject_of
from usage.selectors.periods import organisation_today
from usage.selectors.responsible import Recipient, responsible_for
from usage.selectors.top_spend import Counted, TopSpend, top_spend

TOPIC = "budget.alert"


def tell(
    told: Sequence[BudgetAlert],
    passed: Sequence[BudgetAlert],
    rows: Mapping[int, BudgetRow],
    *,
    at: datetime | None = None,
) -> None:
    """Queue a mail to each person responsible, and an event for each webhook that listens.

    `passed` are all the alerts that were written together with those that are `told`. How a mail reaches a
    person (at once, Slack, his daily mail) is what he chose for news of budgets. A fixed number of queries.
    """
    shown = [rows[alert.budget_id] for alert in told]
    people = responsible_for([row.place for row in shown])
    top = top_spend([_counted(row) for row in shown], until=organisation_today(at or clock.now()))
    names = _names(shown)
    mails: list[outbox.Mail] = []
    findings: list[events.Finding] = []
    for alert in told:
        row = rows[alert.budget_id]
        facts = _facts(alert, row, names[row.id], top[row.id], with_it=_with_it(alert, passed))
        mails += _mails(alert, row, facts, people[row.place.scope])
        findings.append(
            events.Finding(public_id=alert.public_id, at=alert.passed_at, data=_data(alert, row, facts))
        )
    outbox.put_together(mails)
    events.tell_of_findings(TOPIC, findings)


def _names(rows: Sequence[BudgetRow]) -> dict[int, str]:
    """Return what people call the scope of each budget, by budget. One query."""
    keys = [row.scope_id for row in rows if row.scope_kind is ScopeKind.KEY]
    labels = {
        pk: f"Key {name} of {owner}"
        for pk, name, owner in ApiKey.objects.filter(pk__in=keys).values_list("pk", "name", "owner__name")
    }
    return {row.id: labels[row.scope_id] if row.scope_kind is ScopeKind.KEY else row.name for row in rows}


def _counted(row: BudgetRow) -> Counted:
    """By the organisation's days, from that in which the window begins: all of a day counts."""
    return Counted(
        id=row.id,
        scope_kind=row.scope_kind,
        scope_id=row.scope_id,
        first_day=organisation_today(row.window_starts_at),
        only_tier=row.only_tier,
        only_model_id=row.only_model_id,
    )


def _with_it(alert: BudgetAlert, passed: Sequence[BudgetAlert]) -> list[int]:
    return [
        each.percent
        for each in passed
        if each.budget_id == alert.budget_id and each.kind == alert.kind and each.percent < alert.percent
    ]


def _facts(
    alert: BudgetAlert, row: BudgetRow, name: str, top: TopSpend, *, with_it: Sequence[int]
) -> AlertFacts:
    return AlertFacts(
        name=name,
        only=row.only,
        window=row.window,
        mode=row.mode,
        time_zone=row.time_zone,
        window_starts_at=alert.window_start,
        window_ends_at=alert.window_end,
        kind=AlertKind(alert.kind),
        percent=alert.percent,
        with_it=with_it,
        limit_usd=alert.limit_usd,
        spent_usd=alert.spent_usd,
        held_usd=alert.held_usd,
        forecast_usd=alert.forecast_usd,
        passes_on=alert.passes_on,
        top_keys=top.keys,
        top_models=top.models,
    )


def _mails(
    alert: BudgetAlert, row: BudgetRow, facts: AlertFacts, people: Sequence[Recipient]
) -> Iterator[outbox.Mail]:
    """Give a mail for each person; its link is the budget's page, which offers what he may do about it."""
    for person in people:
        yield outbox.Mail(
            topic=TOPIC,
            recipient=person.email,
            dedupe_key=f"{TOPIC}:{alert.public_id}:{person.person_id}",
            subject=subject_of(facts),
            body=body_of(facts),
            link=_link(row),
        )


def _data(alert: BudgetAlert, row: BudgetRow, facts: AlertFacts) -> dict[str, Any]:
    """Return what a webhook is told."""
    return {
        "budget": row.public_id,
        "scope": {"kind": row.scope_kind.value, "name": facts.name},
        "window": row.window.value,
        "window_starts_at": alert.window_start.isoformat(),
        "window_ends_at": alert.window_end.isoformat(),
        "kind": alert.kind,
        "percent": alert.percent,
        "limit_usd": wire_usd(alert.limit_usd),
        "spent_usd": wire_usd(alert.spent_usd),
        "held_usd": wire_usd(alert.held_usd),
        "forecast_usd": None if alert.forecast_usd is None else wire_usd(alert.forecast_usd),
        "passes_on": alert.passes_on.isoformat() if alert.passes_on else None,
        "top_keys": [{"name": name, "spent_usd": wire_usd(usd)} for name, usd in facts.top_keys],
        "top_models": [{"name": name, "spent_usd": wire_usd(usd)} for name, usd in facts.top_models],
        "mode": row.mode.value,
        "at_the_limit": at_the_limit(facts),
        "link": outbox.address(_link(row)),
    }


def _link(row: BudgetRow) -> str:
    return reverse("budgets:detail", args=[row.public_id])
