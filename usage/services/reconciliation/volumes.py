"""Level 2: the ledger against a provider's usage figures of one UTC day, by key, model and kind of token."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

import structlog
from django.db import transaction

from catalog.pricing import PriceRow, Rates
from core.money import ZERO, quantise
from usage.models import (
    DiscrepancyClass,
    Level,
    ProviderAccount,
    ProviderUsage,
    ReconciliationRun,
    RunState,
)
from usage.selectors.provider_books import (
    KeyGroup,
    Ledger,
    Names,
    Told,
    joined_accounts,
    key_groups,
    ledger_of,
    names_at,
    prices_on,
    rates_on,
    step_on,
    told_of,
)
from usage.services.reconciliation import alerts, runs
from usage.services.reconciliation.reading import USAGE_FINAL_AFTER, reading
from usage.services.reconciliation.runs import Found
from usage.variance import BYPASS_CALLS, BYPASS_SHARE, Counted, Holder, beyond

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayBooks:
    """Everything that some days of an account are compared by; prices are those of `day`, the first."""

    day: date
    accounts: Sequence[int]
    names: Names
    groups: Sequence[KeyGroup]
    ledger: dict[tuple[str, str], Ledger]
    told: Sequence[Told]
    prices: dict[int, list[PriceRow]]

    def rates(self, model: str, ledger: Ledger | None, context: str = "standard") -> Rates | None:
        """Return our price of a model on the day."""
        return rates_on(self.prices, self.names.ids.get(model, ()), ledger, self.day, context)

    def step(self, model: str, ledger: Ledger | None, context: str) -> tuple[int, list[int]]:
        """Return the step of input at which a class has that price, and those above it."""
        return step_on(self.prices, self.names.ids.get(model, ()), ledger, self.day, context)


def reconcile_volumes(*, account: ProviderAccount, day: date) -> ReconciliationRun:
    """Compare a UTC day of an account by key, model, token and unit, and write the run with what differs.

    Keys that the same gateways hold are compared in sum, under the first of their accounts. Usage on
    a key that is not registered, or of a gateway's key beyond what went through it, is a bypass: finance and
    administrators are told once for each account, key and day. Running it again updates the same run.
    """
    account = first_joined(account)
    with transaction.atomic():
        run = runs.locked_run(source=account.public_id, day=day, level=Level.VOLUMES)
        books = books_of(account, day, day)
        found = [*_unknown_keys(books), *_held_keys(books)]
        state = reading(books.accounts, ProviderUsage.objects, day, final_after=USAGE_FINAL_AFTER)
        found = [] if state.notice else found
        reopened = frozenset() if state.notice else runs.keep_found(run, found)
        _sum_up(run, books)
        run.provisional, run.data_refreshed_at = state.provisional, state.data_refreshed_at
        run.drift_usd = runs.open_amount(run)
        outcome = RunState.DIFFERENT if runs.is_open(run) else RunState.MATCHED
        runs.finish(run, state=RunState.UNREADABLE if state.notice else outcome, notice=state.notice)
        alerts.tell_of_bypasses(account, run, found, reopened=reopened)
    log.info("usage.reconciled", source=account.public_id, day=str(day), level=2, state=run.state)
    return run


def books_of(account: ProviderAccount, first: date, last: date) -> DayBooks:
    """Read both sides of the UTC days [first, last] of an account, and those joined to it. Seven queries."""
    names = names_at(account.provider)
    every = key_groups(account.provider)
    accounts = joined_accounts(every, account.pk)
    mine = [group for group in every if group.accounts & set(accounts)]
    return DayBooks(
        day=first,
        accounts=accounts,
        names=names,
        groups=mine,
        ledger=ledger_of(mine, names, first, last),
        told=told_of(accounts, mine, names, first, last),
        prices=prices_on(names, first),
    )


def first_joined(account: ProviderAccount) -> ProviderAccount:
    """Return the account under which this one is compared: the first of those joined to it. Two queries."""
    joined = joined_accounts(key_groups(account.provider), account.pk)
    return account if joined[0] == account.pk else ProviderAccount.objects.get(pk=joined[0])


def _unknown_keys(books: DayBooks) -> Iterable[Found]:
    """Give every key that is not registered, with what its usage is worth at our price."""
    keys = sorted({told.key for told in books.told if told.holder is Holder.UNKNOWN})
    for key in keys:
        mine = [told for told in books.told if told.holder is Holder.UNKNOWN and told.key == key]
        if all(told.counted.is_nothing() for told in mine):
            continue
        worth = sum((_worth(books, told) for told in mine), ZERO)
        unpriced = {told.model for told in mine if not told.counted.is_nothing() and not _rate(books, told)}
        yield Found(
            kind=DiscrepancyClass.BYPASS_UNKNOWN_KEY,
            external_id=key,
            amount_usd=worth,
            model_name=mine[0].model if len({told.model for told in mine}) == 1 else "",
            detail={
                "key": key,
                "models": sorted({told.model for told in mine}),
                "provider": _shown(summed(told.counted for told in mine)),
                **_without_price(unpriced),
            },
        )


def _held_keys(books: DayBooks) -> Iterable[Found]:
    """Give every group of keys and model on which the provider and we counted otherwise."""
    places = {(told.group.name, told.model) for told in books.told if told.group}
    for name, model in sorted(places | set(books.ledger)):
        mine = [told for told in books.told if told.group and (told.group.name, told.model) == (name, model)]
        ledger = books.ledger.get((name, model), Ledger())
        one = _judged(books, name, model, ledger, mine)
        if one:
            yield one


def _judged(books: DayBooks, name: str, model: str, ledger: Ledger, told: Sequence[Told]) -> Found | None:
    theirs = same_kinds(summed(each.counted for each in told), ledger.counted)
    more = theirs.minus(ledger.counted)
    rate = books.rates(model, ledger, dominant_context(told))
    worth = more.worth(rate) if rate else ZERO
    if rate and not beyond(more.distance(rate), ledger.usd):
        return None
    if not rate and replace(more, calls=0).is_nothing():
        return None
    is_bypass = excess_calls(theirs, ledger.counted) >= BYPASS_CALLS and (
        worth > BYPASS_SHARE * ledger.usd or not rate
    )
    return Found(
        kind=DiscrepancyClass.BYPASS_SHARED_KEY if is_bypass else DiscrepancyClass.TOKEN_MISMATCH,
        external_id=f"{name} {model}",
        amount_usd=worth,
        model_name=model,
        detail={
            "key": name,
            "portal": _shown(ledger.counted, ledger.usd),
            "provider": _shown(theirs),
            **_without_price(() if rate else (model,)),
        },
    )


def excess_calls(theirs: Counted, ours: Counted) -> int:
    """Return how many calls more the provider counted; where it counts none, as many as their tokens make."""
    if theirs.calls is not None:
        return theirs.calls - (ours.calls or 0)
    our_tokens = ours.tokens.input_tokens + ours.tokens.output_tokens
    more = theirs.tokens.input_tokens + theirs.tokens.output_tokens - our_tokens
    if more <= 0:
        return 0
    if not ours.calls or our_tokens <= 0:
        return BYPASS_CALLS  # nothing of ours says how large a call is: any usage is suspicious
    return int(more * ours.calls / our_tokens)


def same_kinds(theirs: Counted, ours: Counted) -> Counted:
    """Return the provider's count with ours of what it does not tell.

    That is the reasoning tokens where it does not tell them apart, and all tokens where it counts a model in
    seconds, characters or images.
    """
    if theirs.units and theirs.tokens == Counted().tokens:
        return replace(theirs, tokens=ours.tokens)
    if theirs.tokens.reasoning_tokens or not ours.tokens.reasoning_tokens:
        return theirs
    tokens = theirs.tokens
    reasoning_tokens = min(ours.tokens.reasoning_tokens, tokens.output_tokens)
    return replace(theirs, tokens=replace(tokens, reasoning_tokens=reasoning_tokens))


def dominant_context(told: Sequence[Told]) -> str:
    """Return the service class of most tokens; the standard one where the provider tells of none."""
    sizes: dict[str, int] = {}
    for each in told:
        tokens = each.counted.tokens
        sizes[each.context] = sizes.get(each.context, 0) + tokens.input_tokens + tokens.output_tokens
    return max(sizes, key=lambda context: sizes[context], default="standard")


def _rate(books: DayBooks, told: Told) -> Rates | None:
    return books.rates(told.model, None, told.context)


def _worth(books: DayBooks, told: Told) -> Decimal:
    rate = _rate(books, told)
    return told.counted.worth(rate) if rate else ZERO


def _without_price(models: Collection[str]) -> dict[str, Any]:
    """Return what a difference says of models whose worth nobody knows."""
    return {"unpriced": sorted(models)} if models else {}


def _sum_up(run: ReconciliationRun, books: DayBooks) -> None:
    ours = summed(ledger.counted for ledger in books.ledger.values())
    theirs = summed(told.counted for told in books.told if told.holder is not Holder.ELSEWHERE)
    run.portal_calls, run.gateway_calls = ours.calls or 0, theirs.calls or 0
    run.portal_input_tokens, run.gateway_input_tokens = ours.tokens.input_tokens, theirs.tokens.input_tokens
    run.portal_output_tokens = ours.tokens.output_tokens
    run.gateway_output_tokens = theirs.tokens.output_tokens
    run.portal_cost_usd = quantise(sum((ledger.usd for ledger in books.ledger.values()), ZERO))


def summed(counts: Iterable[Counted]) -> Counted:
    """Return all together."""
    whole = Counted()
    for each in counts:
        whole = whole.plus(each)
    return whole


def _shown(counted: Counted, usd: Decimal | None = None) -> dict[str, Any]:
    tokens = counted.tokens
    return {
        "calls": counted.calls,
        "input": tokens.input_tokens,
        "cached": tokens.cached_tokens,
        "cache_write": tokens.cache_write_tokens,
        "output": tokens.output_tokens,
        "cost_usd": None if usd is None else f"{usd:f}",
        "units": {name: f"{count:f}" for name, count in counted.units.items()},
    }
