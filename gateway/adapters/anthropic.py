"""Anthropic's own figures: usage of messages and cost of an organisation, by UTC day.

Source of the shapes: Anthropic Admin API, Get Messages Usage Report and Get Cost Report (31 buckets of 1d at
most). Input is told in parts that do not overlap; amounts are texts in cents with fractions ("123.45" is
$1.2345). Requests are not counted there; the costs of the priority tier are not told.
"""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from catalog.models import Context
from core.money import quantise
from gateway.adapters.buckets import DayTold, added_up, daily
from gateway.adapters.calls import moment_of, secret_of, text_of, whole_number
from usage.models import ProviderAccount
from usage.ports import CostDayRead, CostFigure, SourceUnavailableError, UsageDayRead, UsageFigure

WHO = "Anthropic"
ADDRESS = "https://api.anthropic.com"
VERSION = "2023-06-01"
USAGE_PATH, COSTS_PATH = "/v1/organizations/usage_report/messages", "/v1/organizations/cost_report"
USAGE_GROUPS = ("api_key_id", "workspace_id", "model", "service_tier")
COST_GROUPS = ("workspace_id", "description")
DAYS_A_PAGE = 7
CENTS = Decimal(100)
CONTEXTS = {
    "batch": Context.BATCH,
    "priority": Context.PRIORITY,
    "priority_on_demand": Context.PRIORITY,
    "flex": Context.FLEX,
    "flex_discount": Context.FLEX,
}
HOUR_WRITES, SEARCHES = "cache_write_1h_tokens", "search"


class AnthropicReports:
    """The reports of one organisation. Implements usage.ports.ProviderReports."""

    def __init__(self, account: ProviderAccount) -> None:
        self._account = account

    def usage(self, first: date, last: date) -> Iterator[UsageDayRead]:
        """Give the usage of the days [first, last]. Raises SourceUnavailableError."""
        for told in self._days(USAGE_PATH, USAGE_GROUPS, first, last):
            figures = added_up(_usage(result) for result in told.results)
            yield UsageDayRead(day=told.day, figures=figures, refreshed_at=told.refreshed_at)

    def costs(self, first: date, last: date) -> Iterator[CostDayRead]:
        """Give the costs of the days [first, last]. Raises SourceUnavailableError."""
        for told in self._days(COSTS_PATH, COST_GROUPS, first, last):
            figures = added_up(_cost(result) for result in told.results)
            yield CostDayRead(day=told.day, figures=figures, refreshed_at=told.refreshed_at)

    def _days(self, path: str, groups: tuple[str, ...], first: date, last: date) -> Iterator[DayTold]:
        asked = [
            ("starting_at", f"{first}T00:00:00Z"),
            ("ending_at", f"{last + timedelta(days=1)}T00:00:00Z"),
            ("bucket_width", "1d"),
            ("limit", DAYS_A_PAGE),
            *(("group_by[]", group) for group in groups),
        ]
        headers = {
            "x-api-key": secret_of(self._account.admin_credential),
            "anthropic-version": VERSION,
        }
        return daily(
            self._account, address=ADDRESS, path=path, asked=asked, headers=headers, day_of=_day, who=WHO
        )


def _day(bucket: Mapping[str, Any]) -> date:
    try:
        return moment_of(str(bucket.get("starting_at"))).date()
    except ValueError as error:
        raise SourceUnavailableError(f"{WHO} tells of a day without its date.") from error


def _usage(result: Mapping[str, Any]) -> UsageFigure:
    written = _inner(result, "cache_creation")
    short = whole_number(written, "ephemeral_5m_input_tokens", who=WHO)
    hour = whole_number(written, "ephemeral_1h_input_tokens", who=WHO)
    cached = whole_number(result, "cache_read_input_tokens", who=WHO)
    searches = whole_number(_inner(result, "server_tool_use"), "web_search_requests", who=WHO)
    units = {HOUR_WRITES: hour, SEARCHES: searches}
    return UsageFigure(
        upstream_key=text_of(result, "api_key_id"),
        upstream_project=text_of(result, "workspace_id"),
        model_name=text_of(result, "model"),
        context=CONTEXTS.get(str(result.get("service_tier")), Context.STANDARD),
        input_tokens=whole_number(result, "uncached_input_tokens", who=WHO) + cached + short + hour,
        cached_tokens=cached,
        cache_write_tokens=short + hour,
        output_tokens=whole_number(result, "output_tokens", who=WHO),
        requests=None,
        units={name: count for name, count in units.items() if count},
    )


def _cost(result: Mapping[str, Any]) -> CostFigure:
    if str(result.get("currency")).upper() != "USD":
        raise SourceUnavailableError(f"{WHO} does not charge in US dollars, which Purser keeps.")
    try:
        cents = Decimal(str(result.get("amount")))
    except InvalidOperation:
        cents = Decimal("NaN")
    if not cents.is_finite():
        raise SourceUnavailableError(f"{WHO} tells of a cost without an amount.")
    return CostFigure(
        upstream_key="",
        upstream_project=text_of(result, "workspace_id"),
        line_item=text_of(result, "description", most=200),
        model_name=text_of(result, "model"),
        amount_usd=quantise(cents / CENTS),
    )


def _inner(result: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = result.get(name)
    return found if isinstance(found, dict) else {}
