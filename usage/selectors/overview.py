"""The Overview: spend of a scope over a period against its budget, projects, models, the worst breach."""

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from budgets.models import ScopeKind
from budgets.selectors import standings_of_scopes
from budgets.types import BudgetStanding, BudgetStandings
from core import clock
from core.money import ZERO
from teams.models import NamedKind, Project
from teams.selectors import former_names
from usage.selectors.blocked import blocked_today, in_words
from usage.selectors.freshness import freshness
from usage.selectors.projects import Account, month_budget, project_row, projects_of, share, worst_breach
from usage.selectors.spend import SHOWN_TIERS, day_rows
from usage.selectors.summary import Summary, make_moment, read_summary
from usage.types import Blocked, DayRow, Figures, ModelRow, Overview, Period, Scope, Status

STEADY_PERCENT = 10  # a change from week to week below this is no news


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a page has read before it asks for its Overview: its one project, from `with_top_tier`, what was
    refused today, and whether a price is known to change in the running month.
    """

    project: Project
    blocked_today: Sequence[Blocked]
    prices_change: bool


def overview(
    scope: Scope, *, period: Period | None = None, at: datetime | None = None, known: Known | None = None
) -> Overview:
    """Return everything that the Overview shows of money. Six queries for any number of projects, three
    where the rest is known.

    A period that is over costs one query more: it bears the names of then.

    `period` is this month unless given; only whole months are held against limits. Limits and balances are
    those of the database's clock, unless `at` is given.
    """
    moment = make_moment(at or clock.now(), period)
    summary = read_summary(scope, moment, prices_change=known is None or known.prices_change)
    found = [known.project] if known else list(projects_of(scope, summary.project_ids, moment.now))
    shown = [each for each in found if each.archived_at is None or each.pk in summary.project_ids]
    projects = _as_called(shown, moment.named_at)
    budgets = _budgets(scope, [project.pk for project in projects], moment.budgets_at or at)
    accounts = {
        project.pk: _account(
            project.name,
            project.code,
            summary.by_project_day.get(project.pk, {}),
            month_budget(budgets, (ScopeKind.PROJECT, project.pk)),
            summary,
            project_ids=(project.pk,),
        )
        for project in projects
    }
    whole = _account(
        scope.label,
        "",
        summary.by_day,
        month_budget(budgets, scope.budget),
        summary,
        project_ids=tuple(summary.rising),
    )
    days = day_rows(dict(summary.by_day_tier), moment.period, moment.today)
    rows = [project_row(project, summary, budgets, accounts[project.pk]) for project in projects]
    tiers = len(days[0].by_tier_usd) if days else SHOWN_TIERS
    return Overview(
        scope=scope.label,
        period=moment.period,
        today=moment.today,
        tier_names=tuple(f"Tier {number}" for number in range(1, tiers + 1)),
        figures=_figures(
            summary, days, whole, known.blocked_today if known else blocked_today(scope, at=moment.now)
        ),
        days=tuple(days),
        projects=tuple(sorted(rows, key=lambda row: (-row.spent_usd, row.name))),
        models=_models(summary),
        breach=worst_breach([*accounts.values(), whole], summary) if not moment.is_past else None,
        freshness=freshness(),
    )


def _as_called(projects: Sequence[Project], then: datetime | None) -> Sequence[Project]:
    """Give projects the names that they had at a moment, so that the past keeps its labels."""
    if then is None:
        return projects
    named, projects = former_names(then), [copy(project) for project in projects]
    for project in projects:
        project.name = named.at(then, NamedKind.PROJECT, project.pk, project.name)
    return projects


def _budgets(scope: Scope, project_ids: Sequence[int], at: datetime | None) -> BudgetStandings:
    wanted: dict[ScopeKind, list[int]] = {ScopeKind.PROJECT: list(project_ids)}
    if scope.budget:
        kind, scope_id = scope.budget
        wanted[kind] = [*wanted.get(kind, []), scope_id]
    return standings_of_scopes(wanted, at=at)


def _account(
    name: str,
    code: str,
    by_day: Mapping[date, Decimal],
    budget: BudgetStanding | None,
    summary: Summary,
    *,
    project_ids: Collection[int],
) -> Account:
    month = summary.moment.account_period
    spent_usd = sum((usd for day, usd in by_day.items() if month.first_day <= day <= month.last_day), ZERO)
    return Account(
        name=name,
        project_code=code,
        spent_usd=spent_usd,
        forecast=summary.forecast(by_day, spent_usd, project_ids=project_ids),
        budget=budget,
    )


def _figures(summary: Summary, days: Sequence[DayRow], whole: Account, blocked: Sequence[Blocked]) -> Figures:
    moment = summary.moment
    spent_usd = days[-1].to_date_usd if days else ZERO
    limit_usd = whole.limit_usd if moment.has_limits else None
    forecast = whole.forecast if moment.is_running else None
    end_usd = forecast.end_usd if forecast else None
    last_usd, previous_usd = summary.per_day(7), summary.per_day(7, before=7)
    change = 100 * (last_usd - previous_usd) / previous_usd if previous_usd else None
    return Figures(
        spent_usd=spent_usd,
        limit_usd=limit_usd,
        spent_percent=share(spent_usd, limit_usd),
        period_ends_on=moment.period.last_day,
        forecast_usd=end_usd,
        forecast_percent=share(end_usd, limit_usd),
        low_usd=forecast.low_usd if forecast else None,
        high_usd=forecast.high_usd if forecast else None,
        forecast_method=f"80% range, {forecast.method}" if forecast else "",
        over_usd=end_usd - limit_usd
        if end_usd is not None and limit_usd is not None and end_usd > limit_usd
        else None,
        last7_per_day_usd=last_usd,
        previous7_per_day_usd=previous_usd,
        change_percent=change,
        change=_change(change),
        blocked_today=sum(row.calls for row in blocked),
        blocked_reason=in_words(blocked),
    )


def _change(percent: Decimal | None) -> Status | None:
    if percent is None:
        return None
    if abs(percent) < STEADY_PERCENT:
        return Status(tone="info", text="About the same")
    return (
        Status(tone="warn", text=f"Up {percent:.0f}%")
        if percent > 0
        else Status(tone="ok", text=f"Down {-percent:.0f}%")
    )


def _models(summary: Summary) -> tuple[ModelRow, ...]:
    total_usd = sum(summary.by_model.values(), ZERO)
    ranked = sorted(summary.by_model.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(
        ModelRow(name=name, spent_usd=usd, share_percent=100 * usd / total_usd if total_usd else ZERO)
        for name, usd in ranked
    )
