"""Puts into words which budget or rate limit it is: what it limits, in which window, of which calls."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Case, CharField, F, Func, QuerySet, Value, When
from django.db.models.functions import Cast, Concat

from budgets.models import Budget, RateLimit, ScopeKind, Window
from budgets.selectors.places import scope_name

SCOPE_WORDS = {
    ScopeKind.ORGANISATION: "The organisation",
    ScopeKind.DEPARTMENT: "{} department",
    ScopeKind.TEAM: "{} team",
}
WINDOW_WORDS = {
    Window.DAY: "daily",
    Window.WEEK: "weekly",
    Window.MONTH: "monthly",
    Window.QUARTER: "quarterly",
    Window.FISCAL_YEAR: "yearly",
    Window.LIFETIME: "lifetime",
}
TEXT = CharField()


class KeyName(Func):
    """The name of the key with this id; keys belong to an app that imports this one."""

    template = "(SELECT k.name FROM keys_apikey k WHERE k.id = %(expressions)s)"
    output_field = TEXT


def label_of(limit: Budget | RateLimit) -> str:
    """Return what a budget or a rate limit is called now, as `Search team, monthly budget`. One query."""
    rows: QuerySet[Any] = type(limit)._default_manager.filter(pk=limit.pk)  # noqa: SLF001  Django's name for it
    words = budget_words() if isinstance(limit, Budget) else rate_words()
    pattern, name = rows.order_by().values_list(words, place_name()).get()
    return str(pattern).replace("{}", name, 1)


def place_name() -> Case:
    """Give the name of what a budget or a rate limit is for in SQL; empty for the organisation."""
    return Case(
        When(scope_kind=ScopeKind.KEY, then=KeyName("scope_id")), default=scope_name(), output_field=TEXT
    )


def budget_words() -> Concat:
    """Give the words around that name for a budget, `{}` in its place."""
    only = Case(
        When(only_tier__isnull=False, then=_joined(" for Tier ", Cast("only_tier_id", TEXT))),
        When(only_model__isnull=False, then=_joined(" for ", F("only_model__name"))),
        default=Value(""),
        output_field=TEXT,
    )
    return _joined(_scope(), ", ", _by("window", WINDOW_WORDS, ""), " budget", only)


def rate_words() -> Concat:
    """Give the same for a rate limit."""
    return _joined("Rate of ", _scope())


def _scope() -> Case:
    return _by("scope_kind", SCOPE_WORDS, "{}")


def _by(name: str, words: Mapping[Any, str], default: str) -> Case:
    found = [When(**{name: choice}, then=Value(text)) for choice, text in words.items()]
    return Case(*found, default=Value(default), output_field=TEXT)


def _joined(*parts: Any) -> Concat:
    return Concat(*(Value(part) if isinstance(part, str) else part for part in parts), output_field=TEXT)
