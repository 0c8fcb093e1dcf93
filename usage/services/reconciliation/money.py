"""Level 3: the ledger against a provider's money, for one UTC day or the period of a bill."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from django.db import transaction

from catalog.models import Unit
from catalog.pricing import PriceRow, Rates
from catalog.selectors import price_rows
from core.money import ZERO, quantise
from usage.models import (
    DiscrepancyClass,
    Invoice,
    Level,
    ProviderAccount,
    ProviderCost,
    ReconciliationRun,
    RunState,
)
from usage.selectors.provider_books import Ledger, holder_of, model_of, registry_of, unit_of
from usage.services.reconciliation import runs
from usage.services.reconciliation.reading import COST_FINAL_AFTER, reading
from usage.services.reconciliation.runs import Found
from usage.services.reconciliation.volumes import (
    DayBooks,
    books_of,
    dominant_context,
    first_joined,
    same_kinds,
    summed,
)
from usage.variance import (
    PRICE_SHARE,
    Counted,
    Holder,
    ModelBooks,
    Variance,
    beyond,
    variance,
)

log = structlog.get_logger(__name__)

PRICE_SCALE = Decimal("1e-15")
WHOLE = "all models"
NO_MODEL = "charges without a model"


@dataclass(slots=True, kw_only=True)
class Charged:
    """What a provider charged for one model: by who holds the key, without a key, and by unit."""

    by_holder: dict[Holder, Decimal] = field(default_factory=lambda: defaultdict(lambda: ZERO))
    to_all: Decimal = ZERO
    by_unit: dict[str, Decimal] = field(default_factory=lambda: defaultdict(lambda: ZERO))

    def add(self, amount_usd: Decimal, holder: Holder | None, unit: str) -> None:
        """Add one charge."""
        if holder is None:
            self.to_all += amount_usd
        else:
            self.by_holder[holder] += amount_usd
        if holder in {None, Holder.GATEWAY}:
            self.by_unit[unit] += amount_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """The difference of a period cut into its parts, and what of it somebody must look at."""

    ledger_usd: Decimal
    provider_usd: Decimal
    parts: Variance
    found: tuple[Found, ...]


def reconcile_costs(*, account: ProviderAccount, day: date) -> ReconciliationRun:
    """Compare what a provider says a UTC day cost with the ledger, and write the run with what differs.

    The difference is cut into usage on keys nobody knows, volume at our price and the provider's volume at
    another price; the parts add up to it exactly, which a constraint of the run holds. Where the provider
    charges another price for the same volume, the discrepancy proposes it. Running it again updates the run.
    """
    account = first_joined(account)
    with transaction.atomic():
        run = runs.locked_run(source=account.public_id, day=day, level=Level.MONEY)
        books = books_of(account, day, day)
        costs = ProviderCost.objects.filter(account__in=books.accounts, day=day, superseded_at__isnull=True)
        state = reading(books.accounts, ProviderCost.objects, day, final_after=COST_FINAL_AFTER)
        explained = _explain(books, _charged(books, costs.order_by("pk")), proposes=True)
        run.provisional, run.data_refreshed_at = state.provisional, state.data_refreshed_at
        _write(run, explained, notice=state.notice)
    return run


def reconcile_invoice(*, invoice: Invoice) -> ReconciliationRun:
    """Compare a bill with the ledger of its period, as `reconcile_costs` compares a day."""
    account = first_joined(invoice.account)
    with transaction.atomic():
        run = runs.locked_run(
            source=invoice.public_id,
            day=invoice.period_start,
            level=Level.MONEY,
            period_end=invoice.period_end,
        )
        last = invoice.period_end - timedelta(days=1)
        books = books_of(account, invoice.period_start, last)
        spans = _spans(account, books, last)
        charged: dict[str, Charged] = defaultdict(Charged)
        for line in invoice.lines.order_by("pk"):
            name = books.names.of(line.model_name) if line.model_name else ""
            charged[name].add(line.amount_usd, None, "")
        _write(run, _explain(books, charged, proposes=False, spans=spans), notice="")
    return run


def _charged(books: DayBooks, rows: Iterable[ProviderCost]) -> dict[str, Charged]:
    registry = registry_of(books.accounts)
    charged: dict[str, Charged] = defaultdict(Charged)
    for row in rows:
        charged[model_of(books.names, row)].add(
            row.amount_usd, holder_of(registry, row), unit_of(row.line_item)
        )
    return charged


def _spans(account: ProviderAccount, books: DayBooks, last: date) -> list[DayBooks]:
    """Return the books of a period by the spans of days in which no price changed; none for a single one.

    A day has the prices of its noon, as it has where it is compared by itself.
    """
    edges = {edge for rows in price_rows(_ids(books)).values() for row in rows for edge in _edges(row)}
    starts = sorted({books.day, *(day for day in map(_first_noon, edges) if books.day < day <= last)})
    if len(starts) == 1:
        return []
    ends = [*(start - timedelta(days=1) for start in starts[1:]), last]
    return [books_of(account, start, end) for start, end in zip(starts, ends, strict=True)]


def _ids(books: DayBooks) -> list[int]:
    return [pk for ids in books.names.ids.values() for pk in ids]


def _edges(row: PriceRow) -> list[datetime]:
    return [edge for edge in (row.valid_from, row.valid_until) if edge is not None]


def _first_noon(edge: datetime) -> date:
    """Return the first UTC day whose noon is not before a moment."""
    return (edge.astimezone(UTC) + timedelta(hours=12) - timedelta(microseconds=1)).date()


def _explain(
    books: DayBooks, charged: Mapping[str, Charged], *, proposes: bool, spans: Sequence[DayBooks] = ()
) -> Explained:
    """Cut the difference model by model; in one piece where the provider charges without naming models."""
    by_model = _by_model(books, charged, spans)
    if set(charged) <= {""}:
        return _explain_whole(by_model, charged.get("", Charged()))
    parts, found = Variance(), []
    for model, one in by_model.items():
        mine = variance(one)
        parts = parts.plus(mine)
        difference = _price_difference(
            books, model, one, mine, charged.get(model, Charged()), proposes=proposes
        )
        if difference:
            found.append(difference)
    ledger_usd = sum((one.ledger_usd for one in by_model.values()), ZERO)
    nameless = charged.get("", Charged())
    other_usd = nameless.to_all + sum(nameless.by_holder.values(), ZERO)
    parts = parts.plus(Variance(other_usd=other_usd))
    if beyond(other_usd, ledger_usd):
        found.append(Found(kind=DiscrepancyClass.PRICE_MISMATCH, external_id=NO_MODEL, amount_usd=other_usd))
    provider_usd = other_usd + sum((_all_of(each) for model, each in charged.items() if model), ZERO)
    return Explained(ledger_usd=ledger_usd, provider_usd=provider_usd, parts=parts, found=tuple(found))


def _explain_whole(by_model: Mapping[str, ModelBooks], charged: Charged) -> Explained:
    """Cut a difference of which only the sum is told: volumes are known by model, the rest is price."""
    ledger_usd = sum((one.ledger_usd for one in by_model.values()), ZERO)
    volume_usd = sum((one.volume_usd or ZERO for one in by_model.values()), ZERO)
    worth = {
        holder: sum((one.worth_of(holder) or ZERO for one in by_model.values()), ZERO) for holder in Holder
    }
    provider_usd = _all_of(charged)
    keyed = charged.by_holder
    outside = {
        holder: keyed.get(holder, ZERO) if keyed else worth[holder]
        for holder in (Holder.ELSEWHERE, Holder.UNKNOWN)
    }
    price_usd = provider_usd - ledger_usd - volume_usd - sum(outside.values(), ZERO)
    parts = Variance(
        elsewhere_usd=outside[Holder.ELSEWHERE],
        unknown_key_usd=outside[Holder.UNKNOWN],
        volume_usd=volume_usd,
        price_usd=price_usd,
    )
    found = []
    if beyond(price_usd, ledger_usd + volume_usd):
        found.append(Found(kind=DiscrepancyClass.PRICE_MISMATCH, external_id=WHOLE, amount_usd=price_usd))
    return Explained(ledger_usd=ledger_usd, provider_usd=provider_usd, parts=parts, found=tuple(found))


def _by_model(
    books: DayBooks, charged: Mapping[str, Charged], spans: Sequence[DayBooks]
) -> dict[str, ModelBooks]:
    """Return both sides of every model. Without any usage figures the provider's volume is taken as ours."""
    models = {model for _, model in books.ledger} | {told.model for told in books.told} | set(charged) - {""}
    whole = {model: _model_books(books, model, charged.get(model, Charged())) for model in sorted(models)}
    if not spans:
        return whole
    nothing, told = Charged(), bool(books.told)
    return {
        model: replace(one, spans=tuple(_model_books(span, model, nothing, is_told=told) for span in spans))
        for model, one in whole.items()
    }


def _model_books(books: DayBooks, model: str, charged: Charged, *, is_told: bool | None = None) -> ModelBooks:
    mine = [ledger for (_, name), ledger in books.ledger.items() if name == model]
    ours = summed(ledger.counted for ledger in mine)
    told = [each for each in books.told if each.model == model]
    theirs = {
        holder: summed(each.counted for each in told if each.holder is holder)
        for holder in {each.holder for each in told}
    }
    tells = bool(books.told) if is_told is None else is_told
    theirs[Holder.GATEWAY] = same_kinds(theirs.get(Holder.GATEWAY, Counted()), ours) if tells else ours
    dearest = max(mine, key=lambda ledger: ledger.usd, default=None)
    return ModelBooks(
        ledger_usd=sum((ledger.usd for ledger in mine), ZERO),
        ours=ours,
        theirs=theirs,
        rates=books.rates(model, dearest or Ledger(), dominant_context(told)),
        charged=dict(charged.by_holder),
        charged_to_all=charged.to_all,
    )


def _price_difference(
    books: DayBooks, model: str, one: ModelBooks, parts: Variance, charged: Charged, *, proposes: bool
) -> Found | None:
    """Return that a model's price differs, with the prices that the provider seems to charge."""
    at_our_price = one.ledger_usd + parts.volume_usd
    if not beyond(parts.price_usd, at_our_price):  # without any price of ours all of it is volume
        return None
    theirs_usd = at_our_price + parts.price_usd
    is_change = proposes and beyond(parts.price_usd, at_our_price, PRICE_SHARE)
    is_change = is_change and at_our_price > 0 and theirs_usd > 0
    proposal = _proposal(books, one, charged, theirs_usd, at_our_price) if is_change else None
    if proposal:
        proposal |= _place(books, model)
    if proposal and not proposal["prices"]:
        proposal = None  # every unit costs there what it costs here: the ledger charged something else
    return Found(
        kind=DiscrepancyClass.PRICE_CHANGE if proposal else DiscrepancyClass.PRICE_MISMATCH,
        external_id=model,
        model_name=model,
        amount_usd=parts.price_usd,
        detail={"ours_usd": f"{at_our_price:f}", "theirs_usd": f"{theirs_usd:f}"},
        proposal=proposal,
    )


def _proposal(
    books: DayBooks, one: ModelBooks, charged: Charged, theirs_usd: Decimal, ours_usd: Decimal
) -> dict[str, Any]:
    """Return the prices that a provider seems to charge from this day on.

    By unit where it tells its charges by unit; otherwise every unit moves by what the whole did.
    """
    rates = one.rates or Rates()
    now_usd = {
        Unit.INPUT: rates.input_usd,
        Unit.CACHED: rates.cached_usd,
        Unit.CACHE_WRITE: rates.cache_write_usd,
        Unit.OUTPUT: rates.output_usd,
    }
    holders = [Holder.GATEWAY] if charged.by_holder else list(Holder)
    volumes = summed(one.theirs.get(holder, Counted()) for holder in holders).parts()
    by_unit = dict(zip(now_usd, volumes, strict=True))
    is_by_unit = bool(charged.by_unit) and "" not in charged.by_unit
    prices = {}
    for unit, before in now_usd.items():
        if is_by_unit and by_unit[unit] > 0 and unit in charged.by_unit:
            after = charged.by_unit[unit] / by_unit[unit]
        else:
            after = before if is_by_unit else before * theirs_usd / ours_usd
        if before > 0 and abs(after - before) > PRICE_SHARE * before:
            prices[unit.value] = {"before": f"{before:f}", "after": f"{after.quantize(PRICE_SCALE):f}"}
    return {"from": books.day.isoformat(), "by_unit": is_by_unit, "prices": prices}


def _place(books: DayBooks, model: str) -> dict[str, Any]:
    """Return where a proposed price stands: the service class of most of the usage, and the step of its
    average call. `others` are classes with usage too, which the money does not tell apart, and `steps_above`
    longer inputs that have a price of their own.
    """
    told = [each for each in books.told if each.model == model]
    context = dominant_context(told)
    mine = [ledger for (_, name), ledger in books.ledger.items() if name == model]
    dearest = max(mine, key=lambda ledger: ledger.usd, default=None)
    step, above = books.step(model, dearest or Ledger(), context)
    used = {each.context for each in told if not each.counted.is_nothing()}
    others = sorted(used - {context})
    return {"context": context, "tier_start": step, "others": others, "steps_above": above}


def _write(run: ReconciliationRun, explained: Explained, *, notice: str) -> None:
    parts = explained.parts
    if not notice:
        runs.keep_found(run, explained.found)
    run.portal_cost_usd = quantise(explained.ledger_usd)
    run.provider_cost_usd = quantise(explained.provider_usd)
    run.elsewhere_usd, run.unknown_key_usd = parts.elsewhere_usd, parts.unknown_key_usd
    run.volume_usd, run.price_usd, run.other_usd = parts.volume_usd, parts.price_usd, parts.other_usd
    run.drift_usd = parts.total_usd - parts.elsewhere_usd
    different = runs.is_open(run) or beyond(run.drift_usd, run.portal_cost_usd)
    state = RunState.DIFFERENT if different else RunState.MATCHED
    runs.finish(run, state=RunState.UNREADABLE if notice else state, notice=notice)
    log.info("usage.reconciled", source=run.source, day=str(run.day), level=3, state=run.state)


def _all_of(charged: Charged) -> Decimal:
    return charged.to_all + sum(charged.by_holder.values(), ZERO)
