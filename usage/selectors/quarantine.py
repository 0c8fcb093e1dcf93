"""Reads the rows that could not be booked: what waits, why, and what became of the rest."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.db.models import Count, Q, QuerySet

from catalog.models import LlmModel
from core.errors import NotFoundError
from teams.models import User
from usage.models import Quarantine, QuarantineOutcome
from usage.selectors.runs import require_books

OPEN, ANY = "open", "any"
STATES: Mapping[str, tuple[str, Q]] = {
    OPEN: ("Open", Q(resolved_at__isnull=True)),
    QuarantineOutcome.BOOKED: ("Booked", Q(outcome=QuarantineOutcome.BOOKED)),
    QuarantineOutcome.DISMISSED: ("Dismissed", Q(outcome=QuarantineOutcome.DISMISSED)),
    ANY: ("All", Q()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many rows there are: in each state, and of the state that is looked at by reason and by source."""

    by_state: Mapping[str, int] = field(default_factory=dict)
    by_reason: Mapping[str, int] = field(default_factory=dict)
    by_source: Mapping[str, int] = field(default_factory=dict)


def quarantine_for(user: User) -> QuerySet[Quarantine]:
    """Return every row that was set aside. Raises RoleNeededError for those who do not see all teams."""
    require_books(user)
    return Quarantine.objects.select_related("resolved_by")


def find_quarantined(user: User, public_id: str) -> Quarantine:
    """Return one row. Raises NotFoundError, and RoleNeededError as `quarantine_for` does."""
    entry = quarantine_for(user).filter(public_id=public_id).first()
    if entry is None:
        raise NotFoundError("There is no such row. It may have another address: look at the list.")
    return entry


def counts(state: str) -> Counts:
    """Count all rows by what pages filter by. One query."""
    groups = Quarantine.objects.values("outcome", "reason", "source").annotate(rows=Count("pk")).order_by()
    by_state: Counter[str] = Counter()
    by_reason: Counter[str] = Counter()
    by_source: Counter[str] = Counter()
    for group in groups:
        is_in = {group["outcome"] or OPEN, ANY}
        by_state.update(dict.fromkeys(is_in, group["rows"]))
        if state in is_in:
            by_reason[group["reason"]] += group["rows"]
            by_source[group["source"]] += group["rows"]
    return Counts(by_state=by_state, by_reason=by_reason, by_source=by_source)


def waiting_in_quarantine() -> int:
    """Return how many rows wait for an administrator. One query."""
    return Quarantine.objects.filter(resolved_at__isnull=True).count()


def assignable_models() -> list[str]:
    """Return the names of all models, retired ones too: they may have served before. One query."""
    return list(LlmModel.objects.order_by("name").values_list("name", flat=True))
