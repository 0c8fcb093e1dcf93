"""What a request costs: its models at today's prices, what is left, where budgets go with it, what would be
cheaper. The same facts stand beside the questions before anything is asked, and before whoever decides.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

from django.db.models import Q

from approvals import policy
from approvals.eligibility import role_phrase
from approvals.models import AccessRequest, Policy
from approvals.services.asking import passable_stages
from budgets.models import ScopeKind, Window
from budgets.selectors import budget_rows, open_budgets_above
from budgets.types import BudgetRow, ScopePlace
from catalog.models import LlmModel, Mode
from catalog.pricing import TOKENS_PER_PRICE, PriceRow, Use, rates
from catalog.selectors import models_with_prices
from core import clock
from core.money import ZERO, format_usd
from teams.models import Project, User
from teams.selectors import role_holders
from usage.selectors import forecast_budgets, project_usage_last_30_days, reprice, total_use
from usage.types import Alternative, Forecast, ModelUse

MONTH_DAYS = 30
# A request goes on into the next window, so it is set against a whole one; a longer one only until its end.
WHOLE_WINDOW_DAYS = {Window.WEEK: 7, Window.MONTH: MONTH_DAYS}
NOT_FORECAST = (Window.DAY, Window.LIFETIME)
CHEAPER_SHOWN = 6
WORTH_TELLING = Decimal("1.5")  # times cheaper; less is within what a month's use varies by
SIZES = ((10**9, "B"), (10**6, "M"), (10**3, "k"))

Offered = Mapping[LlmModel, Sequence[PriceRow]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants; no model ids means every model of the tier, None that no cost was entered yet."""

    project: Project
    tier: int
    model_ids: tuple[int, ...] = ()
    days: int = MONTH_DAYS
    expected_usd: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrice:
    """A model asked for, with US dollars for a million tokens; None when it has no price now."""

    name: str
    input_usd: Decimal | None
    output_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetOutlook:
    """A budget that the calls must fit, and where its window ends without and with the request."""

    name: str
    spent_usd: Decimal
    limit_usd: Decimal | None
    left_usd: Decimal | None
    spent_percent: Decimal | None
    forecast_without_usd: Decimal | None
    forecast_with_usd: Decimal | None
    forecast_with_percent: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """All that is known about the cost of a wish; `basis` says where the figures come from.

    `spent_usd` is what the project cost in the last 30 days.
    """

    models: tuple[ModelPrice, ...]
    spent_usd: Decimal
    basis: str
    repriced_usd: Decimal | None
    alternatives: tuple[Alternative, ...]
    budgets: tuple[BudgetOutlook, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """Who would decide a request under the policy in force, by when, and for how long it could be granted."""

    role_text: str
    deciders: tuple[str, ...]
    decide_by: datetime


def wish_of(request: AccessRequest) -> Wish:
    """Return what a request asks for."""
    return Wish(
        project=request.project,
        tier=request.tier_id,
        model_ids=tuple(request.model_ids),
        days=request.duration_days,
        expected_usd=request.expected_monthly_usd,
    )


def money_of(wish: Wish) -> Money:
    """Return what a wish would cost and do to the budgets. Four queries."""
    offered = models_with_prices()
    usage = project_usage_last_30_days(wish.project)
    asked = asked_models(wish, offered)
    as_used, as_expected = _repriced(wish, offered, usage, asked)
    budgets = budgets_above(wish)
    return Money(
        models=tuple(_price(model, offered.get(model, ())) for model in asked),
        spent_usd=sum((row.cost_usd for row in usage), ZERO),
        basis=_basis(wish, total_use(usage), as_used),
        repriced_usd=_dearest_asked(as_used) if usage else None,
        alternatives=shown(as_expected),
        budgets=budget_outlooks(wish, budgets, forecast_budgets(budgets)),
    )


def asked_models(wish: Wish, offered: Offered) -> list[LlmModel]:
    """Return the models that a wish is about, those without a price too. No query unless one has none."""
    if not wish.model_ids:
        return [model for model in offered if model.tier_id == wish.tier]
    found = {model.pk: model for model in offered if model.pk in wish.model_ids}
    missing = set(wish.model_ids) - found.keys()
    if missing:
        found |= LlmModel.objects.in_bulk(missing)
    return sorted(found.values(), key=lambda model: model.name)


def offered_models(tier: int) -> dict[str, tuple[int, ModelPrice]]:
    """Return the models of a tier that can be asked for, with id and prices, by name. One query."""
    offered = models_with_prices()
    return {
        model.name: (model.pk, _price(model, rows))
        for model, rows in offered.items()
        if model.tier_id == tier
    }


def model_prices(wish: Wish) -> tuple[ModelPrice, ...]:
    """Return the prices of the models that a wish is about. One query."""
    offered = models_with_prices()
    return tuple(_price(model, offered.get(model, ())) for model in asked_models(wish, offered))


def budgets_above(wish: Wish) -> list[BudgetRow]:
    """Return the limited budgets that calls of this project and tier must fit, widest first. One query."""
    project = wish.project
    place = ScopePlace(
        kind=ScopeKind.PROJECT,
        id=project.pk,
        project_id=project.pk,
        team_id=project.team_id,
        department_id=project.team.department_id,
    )
    matching = Q(only_tier__isnull=True) | Q(only_tier=wish.tier)
    rows = budget_rows(open_budgets_above(place).filter(matching, only_model__isnull=True))
    return [row for row in rows if row.limit_usd is not None]


def budget_outlooks(
    wish: Wish, rows: Sequence[BudgetRow], forecasts: Mapping[int, Forecast]
) -> tuple[BudgetOutlook, ...]:
    """Set a wish against budgets, the narrowest first. No query."""
    return tuple(_outlook(wish, row, forecasts.get(row.id)) for row in reversed(rows))


def prospect(user: User, project: Project, terms: Policy) -> Prospect:
    """Return who would decide if the user asked for this under these terms now. One query.

    Raises NobodyCanApproveError, which submitting would raise too.
    """
    draft = AccessRequest(requester=user, beneficiary=user, project=project, tier=terms.tier)
    holders = role_holders(project)
    first, *_ = passable_stages(draft, terms, holders)
    people = policy.may_decide(first.role, holders.for_project(project), draft.askers)
    return Prospect(
        role_text=role_phrase(first.role, draft),
        deciders=tuple(sorted(holders.names[person] for person in people)),
        decide_by=policy.deadline(clock.now(), terms.decide_within_hours),
    )


def _repriced(
    wish: Wish, offered: Offered, usage: Sequence[ModelUse], asked: Collection[LlmModel]
) -> tuple[list[Alternative], list[Alternative]]:
    """Return what the last 30 days would cost on every model, and that scaled to the expected cost."""
    models, ids = list(offered), [model.pk for model in asked]
    prices = {model.pk: rows for model, rows in offered.items()}
    as_used = reprice(usage, models, asked=ids, prices=prices)
    if wish.expected_usd is None:
        return as_used, as_used if usage else []
    return as_used, reprice(usage, models, asked=ids, expected_usd=wish.expected_usd, prices=prices)


def shown(rows: Sequence[Alternative]) -> tuple[Alternative, ...]:
    """Keep what is asked for, and of what is much cheaper the nearest and the cheapest."""
    asked = [row for row in rows if row.asked and row.monthly_usd is not None]
    if not asked:
        return ()
    cheaper = [row for row in rows if not row.asked and (row.times_cheaper or 0) >= WORTH_TELLING]
    if len(cheaper) > CHEAPER_SHOWN:
        cheaper = [*cheaper[: CHEAPER_SHOWN // 2], *cheaper[-CHEAPER_SHOWN // 2 :]]
    return (*asked, *cheaper)


def _dearest_asked(rows: Sequence[Alternative]) -> Decimal | None:
    costs = [row.monthly_usd for row in rows if row.asked and row.monthly_usd is not None]
    return max(costs, default=None)


def _basis(wish: Wish, use: Use | None, rows: Sequence[Alternative]) -> str:
    """Say what the project's last 30 days would cost on what is asked for, as a second opinion."""
    if use is None:
        return (
            f"{wish.project} used nothing in the last 30 days, so this is the requester's own figure,"
            " and models are compared at a chat's usual mix of tokens."
        )
    tokens = f"{short(use.tokens.input_tokens)} tokens in, {short(use.tokens.output_tokens)} out"
    asked = [row for row in rows if row.asked and row.monthly_usd is not None]
    if not asked:
        return f"{wish.project} used {tokens} in the last 30 days."
    dearest, cheapest = asked[0], asked[-1]
    costs = f"{format_usd(dearest.monthly_usd)} on {dearest.name}"
    if cheapest is not dearest:
        costs = f"from {format_usd(cheapest.monthly_usd)} on {cheapest.name} to {costs}"
    return f"What {wish.project} used in the last 30 days ({tokens}) would cost {costs}."


def short(number: int) -> str:
    """Write a large number with three digits at most: `57M`, `3.1M`, `812k`."""
    for size, letter in SIZES:
        if number >= size:
            value = Decimal(number) / size
            places = Decimal(1) if value >= 10 else Decimal("0.1")
            return f"{value.quantize(places, rounding=ROUND_HALF_EVEN):f}{letter}"
    return str(number)


def _price(model: LlmModel, rows: Sequence[PriceRow]) -> ModelPrice:
    if not rows:
        return ModelPrice(name=model.name, input_usd=None, output_usd=None)
    rate = rates(rows, at=clock.now())
    return ModelPrice(
        name=model.name,
        input_usd=rate.input_usd * TOKENS_PER_PRICE,
        output_usd=None if model.mode == Mode.EMBEDDING else rate.output_usd * TOKENS_PER_PRICE,
    )


def _outlook(wish: Wish, row: BudgetRow, forecast: Forecast | None) -> BudgetOutlook:
    without_usd = forecast.end_usd if forecast else _unused(row)
    with_usd = None
    if without_usd is not None and wish.expected_usd is not None:
        with_usd = without_usd + wish.expected_usd * _days_in(row, wish.days) / MONTH_DAYS
    return BudgetOutlook(
        name=_name(row),
        spent_usd=row.spent_usd,
        limit_usd=row.limit_usd,
        left_usd=row.left_usd,
        spent_percent=row.spent_percent,
        forecast_without_usd=None if with_usd is None else without_usd,
        forecast_with_usd=with_usd,
        forecast_with_percent=100 * with_usd / row.limit_usd
        if with_usd is not None and row.limit_usd
        else None,
    )


def _unused(row: BudgetRow) -> Decimal | None:
    """Return the forecast of a window without any spend, which is nothing; None where one cannot say."""
    return ZERO if row.window not in NOT_FORECAST and not row.spent_usd else None


def _days_in(row: BudgetRow, days: int) -> int:
    """Return on how many days of the budget's window the request would spend."""
    left = (row.window_ends_at - clock.now()).days + 1
    return min(days, WHOLE_WINDOW_DAYS.get(row.window, left))


def _name(row: BudgetRow) -> str:
    window = "lifetime" if row.window is Window.LIFETIME else f"each {row.window_label.lower()}"
    only = f", {row.only} alone" if row.only else ""
    return f"{row.name} budget ({window}{only})"
