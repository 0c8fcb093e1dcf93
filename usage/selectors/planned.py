"""What prices that are known to change will do to what is spent: on pages, and in forecasts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

from django.db.models import F, Q, QuerySet, Sum

from catalog.models import Mode, Price
from catalog.ports import OwnUse, PlannedEffect, TeamEffect
from catalog.pricing import (
    STANDARD,
    PriceRow,
    TokenUsage,
    Use,
    charge,
    is_priced,
    monthly_estimate,
    multiple_against,
    rates,
)
from catalog.selectors import price_rows
from core import clock
from core.money import ZERO, quantise
from teams.models import User
from teams.selectors import RolesHeld
from usage.selectors.periods import last_days, organisation_today
from usage.selectors.rollup import EVERYTHING, TOKENS, days_of

DAYS = 30
HORIZON = timedelta(days=92)
JUST_BEFORE = timedelta(microseconds=1)
DAY_SECONDS = Decimal(86_400)
WHOLE = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """From `at` on, one model's use costs `factor` times what it costs now."""

    at: datetime
    factor: Decimal


Rises = Mapping[int, Sequence[Step]]


def planned_effects(roles: RolesHeld, *, at: datetime | None = None) -> list[PlannedEffect]:
    """Return the known changes that move what the teams of a person pay, the next first. Three queries."""
    now = at or clock.now()
    changes = _changes(now, now + HORIZON)
    if not changes:
        return []
    prices = price_rows(changes)
    uses = _uses(days_of(EVERYTHING).filter(_visible(roles), model_id__in=changes), now)
    found = [
        _effect(each, prices[model], moment)
        for model, group in groupby(uses, key=lambda use: use.model_id)
        for each in [list(group)]
        for moment in changes[model]
    ]
    return sorted((each for each in found if each.monthly_usd), key=lambda each: (each.at, each.model))


def price_rises(now: datetime, until: datetime | None = None) -> Rises:
    """Return by how much each model's use of the last 30 days will cost more, by model id.

    One query when no price is known to change before `until`, else three.
    """
    changes = _changes(now, min(until or now + HORIZON, now + HORIZON))
    if not changes:
        return {}
    prices = price_rows(changes)
    uses = _uses(days_of(EVERYTHING).filter(model_id__in=changes), now)
    found: dict[int, list[Step]] = {}
    for model, group in groupby(uses, key=lambda use: use.model_id):
        use = _together(each.use for each in group)
        before = _cost(use, prices[model], now)
        if before > 0:
            found[model] = [
                Step(at=moment, factor=_cost(use, prices[model], moment) / before)
                for moment in changes[model]
            ]
    return found


def extra_usd(
    per_day_usd: Mapping[int, Decimal], rises: Rises, *, now: datetime, ends_at: datetime
) -> Decimal:
    """Return what known changes of prices add until a window ends, when each model goes on at this pace."""
    extra = ZERO
    for model, per_day in per_day_usd.items():
        factor = WHOLE
        for step in rises.get(model, ()):
            days = Decimal(str(max((ends_at - max(step.at, now)).total_seconds(), 0))) / DAY_SECONDS
            extra += per_day * days * (step.factor - factor)
            factor = step.factor
    return extra


def own_use(user: User, *, at: datetime | None = None) -> OwnUse | None:
    """Return what a person's own keys used in the last 30 days, and what that costs a month on each model.

    Chat models only, and those whose price is in force. Two queries, one without any use.
    """
    now = at or clock.now()
    uses = [each for each in _uses(days_of(EVERYTHING).filter(owner=user), now) if each.mode == Mode.CHAT]
    if not uses:
        return None
    use = _together(each.use for each in uses)
    prices = price_rows(at=now)
    return OwnUse(
        calls=use.calls,
        cost_usd=sum((each.cost_usd for each in uses), ZERO),
        used={each.model_id: each.cost_usd for each in uses},
        monthly_usd={
            model: monthly_estimate(use, rows, at=now, days=DAYS)
            for model, rows in prices.items()
            if is_priced(rows, at=now, has_output=True)
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Used:
    model_id: int
    model: str
    mode: str
    team: str
    use: Use
    cost_usd: Decimal


def changing_prices(now: datetime, until: datetime) -> QuerySet[Price]:
    """Return the standard prices that begin or end in a time."""
    edge = Q(valid_from__gt=now, valid_from__lte=until) | Q(valid_until__gt=now, valid_until__lte=until)
    return Price.objects.filter(edge, context=STANDARD, model__retired_at__isnull=True)


def _changes(now: datetime, until: datetime) -> dict[int, list[datetime]]:
    """Return when standard prices of each model begin or end in a time, by model id. One query."""
    found: dict[int, set[datetime]] = {}
    for row in changing_prices(now, until).order_by("model_id"):
        if row.valid_from != row.valid_until:
            edges = {row.valid_from, row.valid_until}
            found.setdefault(row.model_id, set()).update(
                edge for edge in edges if edge is not None and now < edge <= until
            )
    return {model: sorted(edges) for model, edges in found.items()}


def _visible(roles: RolesHeld) -> Q:
    if roles.sees_everything:
        return Q()
    return Q(team_id__in=roles.works_in) | Q(department_id__in=roles.directs)


def _uses(rows: QuerySet[Any], now: datetime) -> list[_Used]:
    """Return the use of the last 30 days by model and team. One query."""
    period = last_days(organisation_today(now), DAYS)
    grouped = (
        rows.filter(day__gte=period.first_day, day__lte=period.last_day)
        .values("model_id", "team_id")
        .annotate(
            model_name=F("model__name"),
            model_mode=F("model__mode"),
            team_name=F("team__name"),
            all_calls=Sum("calls"),
            usd=Sum("cost_usd"),
            **{f"all_{name}": Sum(name) for name in TOKENS},
        )
        .order_by("model_id", "team_id")
    )
    return [_used(row) for row in grouped]


def _used(row: Mapping[str, Any]) -> _Used:
    tokens = TokenUsage(**{name: row[f"all_{name}"] for name in TOKENS})
    return _Used(
        model_id=row["model_id"],
        model=row["model_name"] or "",
        mode=row["model_mode"] or "",
        team=row["team_name"] or "",
        use=Use(calls=row["all_calls"], tokens=tokens),
        cost_usd=row["usd"],
    )


def _effect(uses: Sequence[_Used], prices: Sequence[PriceRow], moment: datetime) -> PlannedEffect:
    before = {each.team: _cost(each.use, prices, moment - JUST_BEFORE) for each in uses}
    after = {each.team: _cost(each.use, prices, moment) for each in uses}
    teams = [TeamEffect(team=team, monthly_usd=after[team] - before[team]) for team in before]
    total_before, total_after = sum(before.values(), ZERO), sum(after.values(), ZERO)
    return PlannedEffect(
        model=uses[0].model,
        at=moment,
        times=multiple_against(total_after, total_before),
        monthly_usd=quantise(total_after - total_before),
        teams=tuple(sorted(teams, key=lambda each: (-abs(each.monthly_usd), each.team))),
    )


def _together(uses: Iterable[Use]) -> Use:
    every = list(uses)
    sums = {name: sum(getattr(use.tokens, name) for use in every) for name in TOKENS}
    return Use(calls=sum(use.calls for use in every), tokens=TokenUsage(**sums))


def _cost(use: Use, prices: Sequence[PriceRow], at: datetime) -> Decimal:
    rate = rates(prices, at=at, input_tokens=use.input_tokens_per_call)
    return charge(use.tokens, rate, calls=use.calls)
