"""Audit events as people read them: in words, with what changed."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse

from core.models import AuditEvent
from core.spreadsheets import Cell
from core.templatetags.ui import price
from portal.audit.names import Names, names_in, other_now
from portal.audit.selectors import sealed_until

CSV_HEAD = (
    *("id", "at", "action", "actor", "on_behalf_of", "object_type", "object_id", "object", "team", "reason"),
    *("policy_version", "before", "after", "sealed", "api_token"),
)
PAGES = {
    "approvals.accessrequest": "approvals:detail",
    "approvals.budgetrequest": "approvals:budget_request",
    "budgets.budget": "budgets:detail",
}
NOTHING = "—"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
EVENTS_A_FETCH = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """One fact before and after; a dash is none."""

    name: str
    before: str
    after: str

    @property
    def was_set(self) -> bool:
        """Whether there was something before."""
        return self.before != NOTHING

    @property
    def differs(self) -> bool:
        """Whether the act changed it."""
        return self.before != self.after


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One event, with the names of its time; `*_now` are today's where they differ, empty otherwise."""

    public_id: str
    at: datetime
    action: str
    code: str
    actor: str
    actor_now: str
    actor_address: str
    on_behalf_of: str
    on_behalf_of_now: str
    kind: str
    subject: str
    subject_now: str
    subject_id: str
    subject_url: str
    team: str
    team_now: str
    reason: str
    policy_version: int | None
    request_id: str
    ip_address: str
    api_token: str
    sealed: bool
    changes: tuple[Changed, ...]


def in_words(
    events: Sequence[AuditEvent], *, teams: Mapping[int, str], sealed_until: int, in_full: bool
) -> list[Line]:
    """Put events into words; where they came from is for those who see everything.

    Two queries.
    """
    names = names_in(events, teams=teams, in_full=in_full)
    return [_line(event, names=names, sealed_until=sealed_until, in_full=in_full) for event in events]


def exported(
    events: QuerySet[AuditEvent], *, teams: Mapping[int, str], in_full: bool, newest_first: bool = True
) -> Iterator[tuple[Cell, ...]]:
    """Give every one of these events as a row of a table, with the columns of `CSV_HEAD`.

    Three queries for a thousand of them; never more are in memory.
    """
    sealed, _ = sealed_until()
    rest = events = events.order_by("-pk" if newest_first else "pk")
    while found := list(rest[:EVENTS_A_FETCH]):
        yield from _cells(in_words(found, teams=teams, sealed_until=sealed, in_full=in_full), found)
        rest = events.filter(**{"pk__lt" if newest_first else "pk__gt": found[-1].pk})


def _line(event: AuditEvent, *, names: Names, sealed_until: int, in_full: bool) -> Line:
    name, _, address = event.actor_label.rpartition(" <") if event.actor_id else ("", "", "")
    on_behalf_of, on_behalf_of_now = names.person(event, event.on_behalf_of_id)
    team, team_now = names.team(event)
    subject, subject_now = names.subject(event)
    return Line(
        public_id=event.public_id,
        at=event.at,
        action=_words(event.action.replace(".", " ")).capitalize(),
        code=event.action,
        actor=name or "Purser",
        actor_now=other_now(name, names.people.get(event.actor_id, name)) if event.actor_id else "",
        actor_address=address.rstrip(">"),
        on_behalf_of=on_behalf_of,
        on_behalf_of_now=on_behalf_of_now,
        kind=event.object_type.partition(".")[2],
        subject=subject,
        subject_now=subject_now,
        subject_id=event.object_id,
        subject_url=_page_of(event),
        team=team,
        team_now=team_now,
        reason=event.reason,
        policy_version=event.policy_version,
        request_id=event.request_id if in_full else "",
        ip_address=(event.ip_address or "") if in_full else "",
        api_token=event.api_token,
        sealed=event.pk <= sealed_until,
        changes=changes(event, names),
    )


def changes(event: AuditEvent, names: Names) -> tuple[Changed, ...]:
    """Return every fact that the event kept, what it was and what it became, with the names of its time."""
    named = partial(names.value, event)
    return tuple(
        Changed(
            name=_words(name.removesuffix("_usd")),
            before=_value(name, event.before.get(name), named),
            after=_value(name, event.after.get(name), named),
        )
        for name in dict.fromkeys((*event.before, *event.after))
    )


def _cells(lines: Iterable[Line], events: Iterable[AuditEvent]) -> Iterable[tuple[Cell, ...]]:
    for shown, event in zip(lines, events, strict=True):
        yield (
            *(shown.public_id, event.at.isoformat(), shown.code, event.actor_label, shown.on_behalf_of),
            *(event.object_type, shown.subject_id, shown.subject, shown.team, shown.reason),
            *(shown.policy_version, _json(event.before), _json(event.after)),
            "yes" if shown.sealed else "no",
            shown.api_token,
        )


def _page_of(event: AuditEvent) -> str:
    view = PAGES.get(event.object_type)
    return reverse(view, args=[event.object_id]) if view else ""


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(name: str, value: Any, named: Callable[[str], str]) -> str:
    match value:
        case None | "" | []:
            return NOTHING
        case str() if name.endswith("_usd"):
            return price(Decimal(value))
        case bool():
            return "yes" if value else "no"
        case str() | int():
            return _moment(str(value)) or named(str(value))
        case [*texts] if all(isinstance(each, str) for each in texts):
            return ", ".join(texts)
        case _:
            return json.dumps(value, ensure_ascii=False)


def _moment(text: str) -> str:
    """Write a moment as pages do; nothing for what is none."""
    if not MOMENT.fullmatch(text):
        return ""
    return f"{datetime.fromisoformat(text).astimezone(UTC):%-d %B %Y, %H:%M} UTC"


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, sort_keys=True)
