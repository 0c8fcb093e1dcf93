"""Carries warnings of unusual spend to who is responsible for the project, and to the webhooks."""

from collections.abc import Sequence

from django.urls import reverse

from budgets.models import ScopeKind
from budgets.types import ScopePlace
from core import events, outbox
from core.money import format_usd, wire_usd
from usage.alert_texts import most_of
from usage.models import SpendWarning
from usage.selectors.periods import organisation_today
from usage.selectors.responsible import responsible_for
from usage.selectors.top_spend import Counted, TopSpend, top_spend

TOPIC = "spend.warning"


def tell(warnings: Sequence[SpendWarning]) -> None:
    """Queue a mail to each person responsible, and an event for each webhook that listens.

    Projects must have their teams loaded. A fixed number of queries.
    """
    places = {warning.pk: _place(warning) for warning in warnings}
    people = responsible_for(list(places.values()))
    top = top_spend(
        [_counted(warning) for warning in warnings],
        until=max(organisation_today(warning.warned_at) for warning in warnings),
    )
    outbox.put_together(
        outbox.Mail(
            topic=TOPIC,
            recipient=person.email,
            dedupe_key=f"{TOPIC}:{warning.public_id}:{person.person_id}",
            subject=f"{warning.project} spends more than it usually does",
            body=_body(warning, top[warning.pk]),
            link=_link(warning),
        )
        for warning in warnings
        for person in people[places[warning.pk].scope]
    )
    events.tell_of_findings(TOPIC, [_finding(warning, top[warning.pk]) for warning in warnings])


def _body(warning: SpendWarning, top: TopSpend) -> str:
    spends, usually = format_usd(warning.usd_per_hour), format_usd(warning.usual_usd_per_hour)
    what = (
        f"Since {warning.since:%-d %B %Y, %H:%M} UTC, {warning.project} spends {spends} an hour, where"
        f" {usually} is usual at these hours of the week: {format_usd(warning.spent_usd)} instead of"
        f" {format_usd(warning.usual_usd)} so far. No call is refused for it."
    )
    parts = (
        what,
        most_of("Keys", top.keys),
        most_of("Models", top.models),
        "If it is meant, nothing needs to be done. If it is not, revoke the key or lower its budget.",
    )
    return "\n\n".join(part for part in parts if part)


def _finding(warning: SpendWarning, top: TopSpend) -> events.Finding:
    return events.Finding(
        public_id=warning.public_id,
        at=warning.warned_at,
        data={
            "project": {
                "id": warning.project.public_id,
                "code": warning.project.code,
                "name": warning.project.name,
            },
            "since": warning.since.isoformat(),
            "spent_usd": wire_usd(warning.spent_usd),
            "usual_usd": wire_usd(warning.usual_usd),
            "spent_usd_per_hour": wire_usd(warning.usd_per_hour),
            "usual_usd_per_hour": wire_usd(warning.usual_usd_per_hour),
            "top_keys": [{"name": name, "spent_usd": wire_usd(usd)} for name, usd in top.keys],
            "top_models": [{"name": name, "spent_usd": wire_usd(usd)} for name, usd in top.models],
            "link": outbox.address(_link(warning)),
        },
    )


def _place(warning: SpendWarning) -> ScopePlace:
    project = warning.project
    return ScopePlace(
        kind=ScopeKind.PROJECT,
        id=project.pk,
        project_id=project.pk,
        team_id=project.team_id,
        department_id=project.team.department_id,
    )


def _counted(warning: SpendWarning) -> Counted:
    return Counted(
        id=warning.pk,
        scope_kind=ScopeKind.PROJECT,
        scope_id=warning.project_id,
        first_day=organisation_today(warning.since),
    )


def _link(warning: SpendWarning) -> str:
    return reverse("project", args=[warning.project.public_id])
