"""Every row of the day roll-up in a period with all that it names, for exports: read a piece at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.db.models import F, OuterRef, QuerySet, Subquery

from catalog.models import Provider
from keys.models import ApiKey
from teams.models import NamedKind
from usage.selectors.naming import NamesThen, names_at_end
from usage.selectors.rollup import TOKENS, days_in
from usage.selectors.scopes import organisation_scope
from usage.types import Period

ROWS_A_FETCH = 2_000
COLUMNS = {
    "project_public_id": "project__public_id",
    "project_code": "project__code",
    "project_name": "project__name",
    "cost_centre": "project__cost_centre",
    "team_code": "team__code",
    "department_code": "department__code",
    "owner_public_id": "owner__public_id",
    "model_name": "model__name",
    "provider": "model__provider",
}
OWN = ("day", "key_id", "project_id", "tier_id", "calls", "cost_usd", *TOKENS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRow:
    """What one key used of one model on one day of the organisation, as attributed then. US dollars."""

    day: date
    provider: str
    model_name: str
    tier_number: int
    key_public_id: str
    key_name: str
    owner_public_id: str
    project_public_id: str
    project_code: str
    project_name: str
    cost_centre: str
    team_code: str
    department_code: str
    calls: int
    cost_usd: Decimal
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int

    @property
    def tokens(self) -> int:
        """Return all tokens, in and out."""
        return self.input_tokens + self.output_tokens


def export_rows(period: Period) -> Iterator[ExportRow]:
    """Give the rows of the whole organisation, the oldest day first, through a cursor at the server.

    Two queries; never more than two thousand rows are in memory. Projects and keys bear the names that they
    had at the period's end.
    """
    named = names_at_end(period)
    key = ApiKey.objects.filter(pk=OuterRef("key_id"))
    rows: QuerySet[Any, Any] = (
        days_in(organisation_scope(), period)
        .annotate(
            key_public_id=Subquery(key.values("public_id")),
            key_name=Subquery(key.values("name")),
            **{name: F(column) for name, column in COLUMNS.items()},
        )
        .order_by("day", "pk")
        .values(*OWN, "key_public_id", "key_name", *COLUMNS)
    )
    for row in rows.iterator(chunk_size=ROWS_A_FETCH):
        yield _row(row, named)


def _row(row: dict[str, Any], named: NamesThen) -> ExportRow:
    values: dict[str, Any] = {name: row[name] or "" for name in (*COLUMNS, "key_public_id", "key_name")}
    values["project_name"] = named.of(NamedKind.PROJECT, row["project_id"], values["project_name"])
    if values["key_name"]:
        values["key_name"] = named.of(NamedKind.KEY, row["key_id"], values["key_name"])
    values["provider"] = dict(Provider.choices).get(values["provider"], values["provider"])
    sums = {name: row[name] for name in ("day", "calls", "cost_usd", *TOKENS)}
    return ExportRow(**values, **sums, tier_number=row["tier_id"])
