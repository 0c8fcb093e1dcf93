"""Every money figure that is shown anywhere: pages, CSV, API and metrics read usage here and nowhere else."""

from usage.selectors.blocked import blocked_hours, blocked_lines, blocked_since, blocked_today, watched_by
from usage.selectors.exposure import key_exposure
from usage.selectors.freshness import freshness
from usage.selectors.outlook import forecast_budgets
from usage.selectors.overview import overview
from usage.selectors.periods import custom, last_days, last_month, organisation_today, this_month
from usage.selectors.planned import own_use, planned_effects
from usage.selectors.repricing import project_usage_last_30_days, reprice, reprice_use, total_use
from usage.selectors.scopes import (
    department_scope,
    home_scope,
    organisation_scope,
    project_scope,
    scope_for,
    team_scope,
)
from usage.selectors.spend import (
    by_key,
    by_model,
    by_project,
    by_tier,
    key_spend,
    key_use,
    key_use_columns,
    month_to_date,
    spend_by_day,
    spend_by_month,
    totals,
)

__all__ = [
    "blocked_hours",
    "blocked_lines",
    "blocked_since",
    "blocked_today",
    "by_key",
    "by_model",
    "by_project",
    "by_tier",
    "custom",
    "department_scope",
    "forecast_budgets",
    "freshness",
    "home_scope",
    "key_exposure",
    "key_spend",
    "key_use",
    "key_use_columns",
    "last_days",
    "last_month",
    "month_to_date",
    "organisation_scope",
    "organisation_today",
    "overview",
    "own_use",
    "planned_effects",
    "project_scope",
    "project_usage_last_30_days",
    "reprice",
    "reprice_use",
    "scope_for",
    "spend_by_day",
    "spend_by_month",
    "team_scope",
    "this_month",
    "total_use",
    "totals",
    "watched_by",
]
