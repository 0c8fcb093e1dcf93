"""The cost of a scope and period cut in every way at once: by project, model, tier and key."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import F, OuterRef, QuerySet, Subquery, Sum

from core.money import ZERO
from keys.models import ApiKey
from usage.selectors.rollup import TOKENS, days_in
from usage.types import Period, Scope, Spend, Totals

PARTS = ("project_id", "model_id", "tier_id", "key_id")
NAMES = {"project_name": "project__name", "model_name": "model__name", "owner_name": "owner__name"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpend:
    """What a key cost while somebody owned it; `key_name` is empty for a key that is not known any more."""

    spend: Spend
    key_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The sums, and each cut of them, the dearest first; `name` of a key's spend is its owner's."""

    totals: Totals
    by_project: list[Spend]
    by_model: list[Spend]
    by_tier: list[Spend]
    by_key: list[KeySpend]


def breakdown_rows(scope: Scope, period: Period) -> QuerySet[Any, Any]:
    """Return the rows that a breakdown is made of, one for each key and model."""
    key = ApiKey.objects.filter(pk=OuterRef("key_id"))
    grouped: QuerySet[Any, Any] = (
        days_in(scope, period)
        .annotate(key_name=Subquery(key.values("name")), **{name: F(path) for name, path in NAMES.items()})
        .values(*PARTS, *NAMES, "key_name")
        .annotate(
            all_calls=Sum("calls"), usd=Sum("cost_usd"), **{f"all_{name}": Sum(name) for name in TOKENS}
        )
        .order_by()
    )
    return grouped


def breakdown_of(rows: list[dict[str, Any]]) -> Breakdown:
    """Return what rows of `breakdown_rows` add up to in every way."""
    keys = {row["key_id"]: row["key_name"] or "" for row in rows}
    return Breakdown(
        totals=Totals(
            calls=sum(row["all_calls"] for row in rows),
            cost_usd=sum((row["usd"] for row in rows), ZERO),
            **{name: sum(row[f"all_{name}"] for row in rows) for name in TOKENS},
        ),
        by_project=_cut(rows, lambda row: (row["project_id"], row["project_name"] or "")),
        by_model=_cut(rows, lambda row: (row["model_id"], row["model_name"] or "")),
        by_tier=_cut(rows, lambda row: (row["tier_id"], f"Tier {row['tier_id']}")),
        by_key=[
            KeySpend(spend=each, key_name=keys[each.id])
            for each in _cut(rows, lambda row: (row["key_id"], row["owner_name"] or ""))
        ],
    )


def _cut(rows: list[dict[str, Any]], part: Callable[[Mapping[str, Any]], tuple[int, str]]) -> list[Spend]:
    """Add up rows by a part, which is an id and a name."""
    found: dict[tuple[int, str], Spend] = {}
    for row in rows:
        place = part(row)
        before = found.get(place, Spend(id=place[0], name=place[1], calls=0, cost_usd=ZERO))
        found[place] = replace(
            before, calls=before.calls + row["all_calls"], cost_usd=before.cost_usd + row["usd"]
        )
    return sorted(found.values(), key=lambda each: (-each.cost_usd, each.id))
