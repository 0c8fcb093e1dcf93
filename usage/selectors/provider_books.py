"""What an account's keys used by the ledger and by the provider: sums by group of keys, model and time."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from orjson import loads

from catalog.models import Alias, Context, LlmModel, Unit
from catalog.pricing import OPEN_UNITS, PriceRow, Rates, TokenUsage, rates
from catalog.selectors import price_rows
from core.money import ZERO
from usage.models import ProviderCost, ProviderUsage, UpstreamCredential
from usage.variance import Counted, Holder

DATED = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|\d{8}|latest)$")
NO_KEY = "(no key)"
NOON = timedelta(hours=12)

LEDGER_SQL = """
SELECT source, model_id, sum(calls), sum(input_tokens), sum(cached_tokens), sum(cache_write_tokens),
  sum(output_tokens), sum(reasoning_tokens), sum(cost_usd), usage_sum_of_units(nullif(units, '{}'))
FROM usage_event
WHERE at >= %(start)s AND at < %(end)s AND source = ANY (%(sources)s) AND model_id = ANY (%(models)s)
  AND NOT cache_hit AND NOT (late AND external_id LIKE 'volume:carried.%%')  -- between months of the books
GROUP BY 1, 2 ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Which of our models a provider means, by every name that it may use."""

    by_name: Mapping[str, str]
    ids: Mapping[str, tuple[int, ...]]

    def of(self, name: str) -> str:
        """Return the name that a model goes by here: the provider's, without the date of its version."""
        plain = name.strip().lower()
        undated = DATED.sub("", plain)
        return self.by_name.get(plain) or self.by_name.get(undated) or undated

    def of_id(self, model_id: int) -> str:
        """Return the name of one of our models."""
        return next(name for name, ids in self.ids.items() if model_id in ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyGroup:
    """Keys whose usage only their sum tells apart: those of an account that the same gateways hold."""

    name: str
    label: str
    keys: frozenset[tuple[int, str]]
    sources: frozenset[str]

    @property
    def accounts(self) -> frozenset[int]:
        """Return the accounts that its keys belong to."""
        return frozenset(account for account, _ in self.keys)


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Our books for one group and model; `model_ids` by how much they cost, the dearest first."""

    usd: Decimal = ZERO
    counted: Counted = field(default_factory=Counted)
    model_ids: dict[int, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One figure of the provider's usage."""

    holder: Holder
    group: KeyGroup | None
    key: str
    model: str
    context: str
    counted: Counted


def names_at(provider: str) -> Names:
    """Return the names of a provider's models. Two queries."""
    models = list(LlmModel.objects.filter(provider=provider).order_by("pk"))
    own = {model.pk: DATED.sub("", model.provider_model.lower()) for model in models}
    by_name: dict[str, str] = {}
    for alias, model_id in Alias.objects.filter(model__provider=provider).values_list("name", "model_id"):
        by_name[alias.lower()] = own[model_id]
    for model in models:
        by_name[model.name.lower()] = own[model.pk]
    for model in models:
        by_name[model.provider_model.lower()] = own[model.pk]
    ids: dict[str, list[int]] = defaultdict(list)
    for pk, name in own.items():
        ids[name].append(pk)
    return Names(by_name=by_name, ids={name: tuple(found) for name, found in ids.items()})


def key_groups(provider: str) -> list[KeyGroup]:
    """Return the keys of a provider that gateways hold, in groups that share a gateway. One query."""
    held = UpstreamCredential.objects.filter(account__provider=provider).exclude(held_by="").order_by("pk")
    groups: list[tuple[set[tuple[int, str]], set[str], list[str]]] = []
    for credential in held:
        keys, sources, labels = (
            {(credential.account_id, credential.external_id)},
            {credential.held_by},
            [credential.label],
        )
        for group in [group for group in groups if group[1] & sources]:
            groups.remove(group)
            keys |= group[0]
            sources |= group[1]
            labels = [*group[2], *labels]
        groups.append((keys, sources, labels))
    return [
        KeyGroup(
            name=" + ".join(sorted(name for _, name in keys)),
            label=" + ".join(labels),
            keys=frozenset(keys),
            sources=frozenset(sources),
        )
        for keys, sources, labels in groups
    ]


def ledger_of(
    groups: Sequence[KeyGroup], names: Names, first: date, last: date
) -> dict[tuple[str, str], Ledger]:
    """Return our books of groups for the UTC days [first, last], by group and model. One query.

    Answers from a gateway's cache never reached the provider, and are not among them.
    """
    of_source = {source: group.name for group in groups for source in group.sources}
    window: dict[str, Any] = {
        "start": datetime.combine(first, time.min, tzinfo=UTC),
        "end": datetime.combine(last, time.min, tzinfo=UTC) + timedelta(days=1),
        "sources": list(of_source),
        "models": [pk for ids in names.ids.values() for pk in ids],
    }
    found: dict[tuple[str, str], Ledger] = defaultdict(Ledger)
    with connection.cursor() as cursor:
        cursor.execute(LEDGER_SQL, window)
        for source, model_id, calls, *tokens, usd, units in cursor.fetchall():
            books = found[of_source[source], names.of_id(model_id)]
            books.usd += usd
            books.model_ids[model_id] = books.model_ids.get(model_id, ZERO) + usd
            books.counted = books.counted.plus(
                Counted(
                    calls=int(calls),
                    tokens=TokenUsage(**_tokens(map(int, tokens))),
                    units=_units(loads(units)),
                )
            )
    return dict(found)


def told_of(
    accounts: Collection[int], groups: Sequence[KeyGroup], names: Names, first: date, last: date
) -> list[Told]:
    """Return what the provider counted in accounts, in its newest figures, with who holds each key.

    Two queries. A project that is registered stands for all keys in it.
    """
    registry = registry_of(accounts)
    of_key = {key: group for group in groups for key in group.keys}
    rows = ProviderUsage.objects.filter(
        account__in=accounts, day__gte=first, day__lte=last, superseded_at__isnull=True
    ).order_by("pk")
    return [
        Told(
            holder=_holder(known),
            group=of_key.get((row.account_id, known.external_id)) if known else None,
            key=row.upstream_key or row.upstream_project or NO_KEY,
            model=names.of(row.model_name),
            context=row.context,
            counted=Counted(
                calls=row.requests,
                tokens=TokenUsage(
                    **_tokens(
                        (
                            row.input_tokens,
                            row.cached_tokens,
                            row.cache_write_tokens,
                            row.output_tokens,
                            row.reasoning_tokens,
                        )
                    )
                ),
                units=_units(row.units),
            ),
        )
        for row in rows
        for known in [_known(registry, row.account_id, row.upstream_key, row.upstream_project, row.day)]
    ]


def model_of(names: Names, row: ProviderCost) -> str:
    """Return which of our models a provider's charge is for; empty where it does not say."""
    if row.model_name:
        return names.of(row.model_name)
    named = row.line_item.split(",")[0].strip()
    known = names.of(named)
    return known if named and known in names.ids else ""


def unit_of(line_item: str) -> str:
    """Return the unit that a line of a provider's costs is for; empty where its words do not say."""
    words = line_item.lower()
    if "cache" in words:
        return Unit.CACHE_WRITE if "write" in words or "creation" in words else Unit.CACHED
    return next((unit.value for unit in (Unit.OUTPUT, Unit.INPUT) if unit in words), "")


def holder_of(registry: Mapping[tuple[int, str], UpstreamCredential], row: ProviderCost) -> Holder | None:
    """Return who holds the key of a provider's charge, None when it names neither key nor project."""
    if not row.upstream_key and not row.upstream_project:
        return None
    return _holder(_known(registry, row.account_id, row.upstream_key, row.upstream_project, row.day))


def registry_of(accounts: Collection[int]) -> dict[tuple[int, str], UpstreamCredential]:
    """Return the registered keys of accounts by what the provider calls them. One query."""
    rows = UpstreamCredential.objects.filter(account__in=accounts)
    return {(row.account_id, row.external_id): row for row in rows}


def prices_on(names: Names, day: date) -> dict[int, list[PriceRow]]:
    """Return the prices in force at noon of a UTC day, by model. One query."""
    return price_rows([pk for ids in names.ids.values() for pk in ids], at=_noon(day))


def rates_on(
    prices: Mapping[int, list[PriceRow]],
    ids: Sequence[int],
    ledger: Ledger | None,
    day: date,
    context: str = Context.STANDARD,
) -> Rates | None:
    """Return our price of a model on a UTC day, as the average call pays it; None when nobody priced it.

    `ids` are those of our models that the provider serves alike; the one that cost most is asked first.
    """
    rows, per_call = _asked_first(prices, ids, ledger)
    return rates(rows, at=_noon(day), context=context, input_tokens=per_call) if rows else None


def step_on(
    prices: Mapping[int, list[PriceRow]],
    ids: Sequence[int],
    ledger: Ledger | None,
    day: date,
    context: str,
) -> tuple[int, list[int]]:
    """Return from how many input tokens on a class has the price that `rates_on` gives, and the steps above
    it; a class without a price of its own begins at none.
    """
    rows, per_call = _asked_first(prices, ids, ledger)
    noon = _noon(day)
    steps = {row.tier_start for row in rows if row.context == context and row.valid_from <= noon}
    mine = max((step for step in steps if step <= per_call), default=0)
    return mine, sorted(step for step in steps if step > mine)


def _asked_first(
    prices: Mapping[int, list[PriceRow]], ids: Sequence[int], ledger: Ledger | None
) -> tuple[list[PriceRow], int]:
    """Return the prices of the first of these models that has any, and the input of the average call."""
    spent = ledger.model_ids if ledger else {}
    priced = [pk for pk in sorted(ids, key=lambda pk: -spent.get(pk, ZERO)) if prices.get(pk)]
    calls = (ledger.counted.calls or 0) if ledger else 0
    per_call = ledger.counted.tokens.input_tokens // calls if ledger and calls > 0 else 0
    return prices[priced[0]] if priced else [], max(per_call, 0)


def joined_accounts(groups: Iterable[KeyGroup], account_id: int) -> list[int]:
    """Return the accounts that can only be compared together: their keys are held by the same gateways."""
    joined = {account_id}
    while more := {one for group in groups if group.accounts & joined for one in group.accounts} - joined:
        joined |= more
    return sorted(joined)


def _noon(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC) + NOON


def _known(
    registry: Mapping[tuple[int, str], UpstreamCredential], account: int, key: str, project: str, day: date
) -> UpstreamCredential | None:
    """Return the registration that covers a key on a day; a retired one covers nothing after its day."""
    for name in (key, project):
        known = registry.get((account, name)) if name else None
        if known and (known.retired_at is None or known.retired_at.astimezone(UTC).date() >= day):
            return known
    return None


def _holder(known: UpstreamCredential | None) -> Holder:
    if known is None:
        return Holder.UNKNOWN
    return Holder.GATEWAY if known.held_by else Holder.ELSEWHERE


def _units(counts: Mapping[str, Any]) -> dict[str, Decimal]:
    """Return what is counted beside tokens; kinds of tokens that a provider names there are in the totals."""
    return {name: Decimal(str(counts[name])) for name in OPEN_UNITS if name in counts}


def _tokens(counts: Iterable[int]) -> dict[str, int]:
    names = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
    return dict(zip(names, counts, strict=True))
