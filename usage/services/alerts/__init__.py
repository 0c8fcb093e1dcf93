"""Alerts of budgets: which shares of their limits were passed, who is told, and in what words."""

from usage.services.alerts.passing import tell_of_forecasts, tell_of_spend

__all__ = ["tell_of_forecasts", "tell_of_spend"]
