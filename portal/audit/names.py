"""What the things that the audit names by their ids are called: at the time of an event, and now."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Case, CharField, F, QuerySet, Value, When
from django.db.models.functions import Cast, Coalesce, Concat, Left, NullIf, Replace

from approvals.models import (
    AccessRequest,
    BudgetComment,
    Comment,
    Decision,
    Policy,
    PolicyProposal,
    Verdict,
)
from budgets.models import Budget, RateLimit
from budgets.selectors import budget_words, place_name, rate_words
from core.models import AuditEvent
from keys.models import ApiKey, Grant
from teams.models import Department, NamedKind, Project, Team, User
from teams.selectors import FormerNames, former_names

PUBLIC_ID = re.compile(r"([a-z]{3})_\w{18}")
# Teams and departments among the values of an event may be those of others; what else it names is its own.
OF_OTHERS = {"tem", "dep"}
# Events of before 2026-12 called a budget `Team month budget` and a rate `rate of team 3`.
SHORT = re.compile(r"[A-Z][a-z]+ [a-z ]+ budget|rate of [a-z]+ \d+")
SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The words for one thing: a pattern around the name of what may be renamed, if it holds such a name."""

    kind: str
    number: int
    name: str
    pattern: str

    def now(self) -> str:
        """Return the words of today."""
        return self.pattern.replace("{}", self.name, 1)

    def at(self, moment: datetime, former: FormerNames) -> str:
        """Return the words of then."""
        if self.kind not in NamedKind.values:
            return self.now()
        then = former.at(moment, NamedKind(self.kind), self.number, self.name)
        return self.pattern.replace("{}", then, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What people, teams and things are called now, and what they were called before."""

    labels: Mapping[str, Label] = field(default_factory=dict)
    people: Mapping[int, str] = field(default_factory=dict)
    teams: Mapping[int, str] = field(default_factory=dict)
    former: FormerNames = field(default_factory=FormerNames)

    def person(self, event: AuditEvent, person_id: int | None) -> tuple[str, str]:
        """Return the name of a person at the time of an event, and today's if it is another."""
        return self._then(event, NamedKind.PERSON, person_id, self.people)

    def team(self, event: AuditEvent) -> tuple[str, str]:
        """Return the same of the team of an event."""
        return self._then(event, NamedKind.TEAM, event.team_id, self.teams)

    def subject(self, event: AuditEvent) -> tuple[str, str]:
        """Return the same of what an event is about."""
        label = self.labels.get(event.object_id)
        if label is None:
            return event.object_label, ""
        short = SHORT.fullmatch(event.object_label)
        then = label.at(event.at, self.former) if short else event.object_label
        return then, other_now(then, label.now())

    def value(self, event: AuditEvent, text: str) -> str:
        """Return a value of an event with the name of then, where it is the id of something."""
        label = self.labels.get(text)
        return f"{label.at(event.at, self.former)} ({text})" if label else text

    def _then(
        self, event: AuditEvent, kind: NamedKind, number: int | None, names: Mapping[int, str]
    ) -> tuple[str, str]:
        today = names.get(number, "") if number else ""
        if not number or not today:
            return "", ""
        then = self.former.at(event.at, kind, number, today)
        return then, other_now(then, today)


def briefly_named(text: str) -> Iterator[QuerySet[Any]]:
    """Give the budgets and rates whose words of today hold a text: old events name them in few words."""
    for parts in (PARTS["bdg"], PARTS["rtl"]):
        words = Replace(_text(parts.pattern), Value("{}"), _text(parts.name))
        yield parts.model.objects.order_by().annotate(words=words).filter(words__icontains=text)


def other_now(then: str, today: str) -> str:
    """Return today's name where it is not the one of then."""
    return "" if then == today else today


def names_in(events: Sequence[AuditEvent], *, teams: Mapping[int, str], in_full: bool) -> Names:
    """Return what people and things of these events are called. Two queries.

    The people are those who acted in these events, and those for whom they did. What has a label is what the
    events are about and what is among their values; `in_full` the teams and departments too, which others
    may not see.
    """
    if not events:
        return Names(teams=teams)
    acting = {each for event in events for each in (event.actor_id, event.on_behalf_of_id) if each}
    about, values = {event.object_id for event in events}, _texts(events)
    people = _shown(User.objects.filter(pk__in=acting), PARTS["usr"])
    others = (
        _shown(parts.model.objects.filter(public_id__in=ids), parts)
        for prefix, parts in PARTS.items()
        if (ids := _ids(about | values if in_full or prefix not in OF_OTHERS else about, prefix))
    )
    rows = list(people.union(*others))
    labels = {
        public_id: Label(kind=kind, number=number, name=name, pattern=pattern)
        for public_id, kind, number, name, pattern in rows
    }
    known = labels.values()
    return Names(
        labels=labels,
        people={each.number: each.name for each in known if (each.kind, each.pattern) == AS_PERSON},
        teams=teams,
        former=former_names(min(event.at for event in events)),
    )


def _texts(events: Sequence[AuditEvent]) -> set[str]:
    """Return the texts among what events kept of before and after."""
    kept = (values for event in events for values in (event.before, event.after))
    return {value for values in kept for value in values.values() if isinstance(value, str)}


def _ids(texts: Collection[str], prefix: str) -> set[str]:
    return {text for text in texts if (found := PUBLIC_ID.fullmatch(text)) and found[1] == prefix}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """How one model is put into words in SQL; without a kind its name is never another."""

    model: type[Any]
    name: Any
    kind: Any = ""
    number: Any = 0
    pattern: Any = "{}"


def _shown(rows: QuerySet[Any], parts: Parts) -> QuerySet[Any, Any]:
    kind, pattern = _text(parts.kind), _text(parts.pattern)
    number = F(parts.number) if parts.number else Value(0)
    return rows.order_by().values_list("public_id", kind, number, _text(parts.name), pattern)


def _text(part: Any) -> Any:
    return Cast(Value(part) if isinstance(part, str) else part, CharField())


def _by(name: str, words: Mapping[Any, str], default: str) -> Case:
    """Return the words for what a field of choices holds."""
    found = [When(**{name: choice}, then=Value(text)) for choice, text in words.items()]
    return Case(*found, default=Value(default), output_field=CharField())


def _joined(*parts: Any) -> Any:
    return Concat(
        *(Value(part) if isinstance(part, str) else part for part in parts), output_field=CharField()
    )


def _number(name: str) -> Any:
    return Cast(name, CharField())


def _quoted() -> Any:
    return _joined("“", Left("text", SHOWN_CHARACTERS), "”")


def _named(model: type[Any], kind: NamedKind) -> Parts:
    return Parts(model=model, kind=kind.value, number="pk", name=F("name"))


VERDICT = _by("verdict", {Verdict.APPROVE: "{} approved", Verdict.DENY: "{} denied"}, "{}")
TIER = ("Tier ", _number("tier__number"))
AS_PERSON = (NamedKind.PERSON.value, "{}")
PARTS: Mapping[str, Parts] = {
    "usr": Parts(
        model=User,
        kind=NamedKind.PERSON.value,
        number="pk",
        name=Coalesce(NullIf("name", Value("")), "email", output_field=CharField()),
    ),
    "dep": _named(Department, NamedKind.DEPARTMENT),
    "tem": _named(Team, NamedKind.TEAM),
    "prj": _named(Project, NamedKind.PROJECT),
    "key": _named(ApiKey, NamedKind.KEY),
    "bdg": Parts(
        model=Budget,
        kind=F("scope_kind"),
        number="scope_id",
        name=place_name(),
        pattern=budget_words(),
    ),
    "rtl": Parts(
        model=RateLimit,
        kind=F("scope_kind"),
        number="scope_id",
        name=place_name(),
        pattern=rate_words(),
    ),
    "grn": Parts(
        model=Grant,
        kind=NamedKind.KEY.value,
        number="key_id",
        name=F("key__name"),
        pattern=_joined(*TIER, " for {}"),
    ),
    "req": Parts(
        model=AccessRequest,
        kind=NamedKind.PROJECT.value,
        number="project_id",
        name=F("project__name"),
        pattern=_joined(*TIER, " for {}"),
    ),
    "dcn": Parts(
        model=Decision,
        kind=NamedKind.PERSON.value,
        number="actor_id",
        name=F("actor__name"),
        pattern=VERDICT,
    ),
    "pol": Parts(model=Policy, name=_joined(*TIER, " policy, version ", _number("version"))),
    "ppo": Parts(model=PolicyProposal, name=_joined("Change of the ", *TIER, " policy")),
    "cmt": Parts(model=Comment, name=_quoted()),
    "bcm": Parts(model=BudgetComment, name=_quoted()),
}
