"""The periods and views that the Overview and the page of a project offer, as their addresses name them."""

from collections.abc import Collection, Mapping

from django.http import HttpRequest

from core import addresses
from core.money import format_usd
from core.shapes import Tab
from usage import selectors
from usage.types import Overview, Period

PERIODS = {"7d": "7 days", "mtd": "This month", "last": "Last month"}
VIEWS = {"cumulative": "To date", "daily": "Daily"}
MONTH, CUMULATIVE = "mtd", "cumulative"


def period_asked(request: HttpRequest) -> Period:
    """Return the period that `?p=` names, by default this month."""
    today = selectors.organisation_today()
    match addresses.choice(request, "p", PERIODS, MONTH):
        case "7d":
            return selectors.last_days(today)
        case "last":
            return selectors.last_month(today)
        case _:
            return selectors.this_month(today)


def period_tabs(request: HttpRequest, kept: Collection[str]) -> tuple[Tab, ...]:
    """Return the ways to the other periods."""
    current = addresses.choice(request, "p", PERIODS, MONTH)
    return tabs(request, kept, name="p", labels=PERIODS, current=current, default=MONTH)


def tabs(
    request: HttpRequest,
    kept: Collection[str],
    *,
    name: str,
    labels: Mapping[str, str],
    current: str,
    default: str,
) -> tuple[Tab, ...]:
    """Return a tab for each value of a parameter; the default is not written into the address."""
    return tuple(
        Tab(
            label=label,
            url=addresses.link(request, kept, **{name: "" if value == default else value}),
            current=value == current,
        )
        for value, label in labels.items()
    )


def chart_summary(figures: Overview) -> str:
    """Say what the chart shows, for those who do not see it."""
    sums, period = figures.figures, figures.period
    if not sums.spent_usd:
        return f"Nothing was spent in {period.label}."
    last = min(period.last_day, figures.today)
    text = f"Spend reached {format_usd(sums.spent_usd)} on {last:%-d %B}"
    if sums.forecast_usd is not None:
        text += f" and is forecast to reach {format_usd(sums.forecast_usd)} by {period.last_day:%-d %B}"
    if sums.limit_usd is not None:
        text += f", against a budget of {format_usd(sums.limit_usd)}"
    return f"{text}."


def limit_note(*, period: str, has_budget: bool) -> str:
    """Say why there is no limit to hold the spend against."""
    if period == "7d":
        return "Budgets are by the month"
    return "No monthly budget is set" if has_budget else "Each team has its own budget"
