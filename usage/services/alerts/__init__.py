"""Alerts: budgets that passed a share of their limit, projects that spend more than they usually do."""

from usage.services.alerts.passing import tell_of_forecasts, tell_of_spend
from usage.services.alerts.watching import forget_pace, watch_spend

__all__ = ["forget_pace", "tell_of_forecasts", "tell_of_spend", "watch_spend"]
