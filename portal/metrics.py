"""`GET /metrics` for Prometheus: the very figures of the pages, with a bounded number of series.

It has tokens of its own (METRICS_TOKENS), because a scraper is nobody who signs in.
"""

import hmac
from collections.abc import Mapping, Sequence
from decimal import Decimal

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from core import clock
from core.exposition import CONTENT_TYPE, Kind, Metric, Number, Sample, exposition
from usage.selectors import forecast_budgets
from usage.selectors.metrics import (
    MonthBudget,
    SpendSeries,
    held_by_project,
    month_budgets,
    open_drift_usd,
    refusals,
    spend_series,
    told_by,
    usage_lag_seconds,
)

Amounts = Mapping[int, Decimal | None]
ALLOWED, DENIED, SETTLED = "allow", "deny", "settled"


@login_not_required
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with all metrics to who sends one of METRICS_TOKENS; 404 while there are none."""
    refused = _refusal(request)
    if refused is not None:
        return refused
    response = HttpResponse(exposition(collected()), content_type=CONTENT_TYPE)
    response["Cache-Control"] = "no-store"
    return response


def collected() -> list[Metric]:
    """Return every metric as it stands now. Twelve queries at most, whatever there is."""
    limit: int = settings.METRICS_MAX_SERIES
    series = spend_series(limit=limit)
    return [*_spend(series), _decisions(series, limit), *_budgets(limit), *_health()]


def _refusal(request: HttpRequest) -> HttpResponse | None:
    if not settings.METRICS_TOKENS:
        return HttpResponse("Metrics are switched off: METRICS_TOKENS names no token.\n", "text/plain", 404)
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    matches = [hmac.compare_digest(given.strip().encode(), token) for token in settings.METRICS_TOKENS]
    if scheme.lower() == "bearer" and any(matches):
        return None
    response = HttpResponse("Send one of METRICS_TOKENS as a bearer token.\n", "text/plain", 401)
    response["WWW-Authenticate"] = 'Bearer realm="metrics"'
    return response


def _spend(series: Sequence[SpendSeries]) -> list[Metric]:
    spent = [_sample(_labels(each), each.usd) for each in series]
    credited = [_sample(_labels(each), each.credits_usd) for each in series if each.credits_usd]
    return [
        Metric(
            name="purser_spend_usd_total",
            kind=Kind.COUNTER,
            help="Spend since the beginning, before credits, in US dollars.",
            samples=spent,
        ),
        Metric(
            name="purser_spend_credits_usd_total",
            kind=Kind.COUNTER,
            help="What corrections took off since the beginning, in US dollars.",
            samples=credited,
        ),
    ]


def _decisions(series: Sequence[SpendSeries], limit: int) -> Metric:
    """Count what was allowed and settled by team, and what was refused by team and reason."""
    allowed: dict[str, int] = {}
    for each in series:
        allowed[each.team] = allowed.get(each.team, 0) + each.calls
    samples = [
        _sample({"team": team, "decision": ALLOWED, "reason": SETTLED}, calls)
        for team, calls in allowed.items()
    ]
    samples += [
        _sample({"team": each.team, "decision": DENIED, "reason": each.code}, each.calls)
        for each in refusals(limit=limit)
    ]
    return Metric(
        name="purser_decisions_total",
        kind=Kind.COUNTER,
        help="Decisions on calls: allowed ones as they are booked, corrections too; refused ones by reason.",
        samples=samples,
    )


def _budgets(limit: int) -> list[Metric]:
    budgets = month_budgets(limit=limit)
    forecasts = forecast_budgets([each.row for each in budgets])
    held = [
        _sample({"team": each.team, "project": each.project}, each.usd)
        for each in held_by_project(limit=limit)
    ]
    limits: Amounts = {each.row.id: each.row.limit_usd for each in budgets}
    spent: Amounts = {each.row.id: each.row.spent_usd for each in budgets}
    expected: Amounts = {pk: forecast.end_usd for pk, forecast in forecasts.items()}
    return [
        Metric(
            name="purser_reserved_usd",
            kind=Kind.GAUGE,
            help="Held for calls in flight and by leases, in US dollars.",
            samples=held,
        ),
        _of_budgets("limit", "Limit of the running month with top-ups", budgets, limits),
        _of_budgets("spent", "Spent of the running month with carry and corrections", budgets, spent),
        _of_budgets("forecast", "Forecast of the end of the running month", budgets, expected),
    ]


def _of_budgets(what: str, text: str, budgets: Sequence[MonthBudget], amounts: Amounts) -> Metric:
    samples = [
        _sample({"team": each.team, "project": each.project}, amount)
        for each in budgets
        if (amount := amounts.get(each.row.id)) is not None
    ]
    name, in_full = f"purser_budget_{what}_usd", f"{text}, in US dollars."
    return Metric(name=name, kind=Kind.GAUGE, help=in_full, samples=samples)


def _health() -> list[Metric]:
    told = told_by()
    lags, drifts = usage_lag_seconds(told, clock.now()), open_drift_usd(told)
    return [
        Metric(
            name="purser_usage_lag_seconds",
            kind=Kind.GAUGE,
            help="Seconds since the stalest source of usage was read, of the gateways or of a provider.",
            samples=[_sample({"provider": provider}, lag) for provider, lag in lags.items()],
        ),
        Metric(
            name="purser_reconciliation_drift_usd",
            kind=Kind.GAUGE,
            help="What open differences with the gateways or a provider amount to, in US dollars.",
            samples=[_sample({"provider": provider}, usd) for provider, usd in drifts.items()],
        ),
    ]


def _labels(each: SpendSeries) -> dict[str, str]:
    return {"team": each.team, "project": each.project, "model": each.model, "tier": each.tier}


def _sample(labels: dict[str, str], value: Number) -> Sample:
    return Sample(labels=labels, value=value)
