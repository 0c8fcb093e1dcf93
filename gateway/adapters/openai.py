"""OpenAI's own figures: usage and costs of an organisation, by UTC day.

Source of the shapes: OpenAI API reference, Usage and Costs (buckets of 1d, 31 and 180 at most). Each kind of
work has an address of its own. Input tokens are inclusive of cached and cache-write tokens; audio tokens are
told beside them. Storage, sessions of the code interpreter and searches of files name no model and mostly no
key: they are part of the costs alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from catalog.models import Context, Unit
from core.money import quantise
from gateway.adapters.buckets import DayTold, added_up, daily, side_by_side
from gateway.adapters.calls import number, secret_of, text_of, whole_number
from usage.models import ProviderAccount
from usage.ports import CostDayRead, CostFigure, SourceUnavailableError, UsageDayRead, UsageFigure

WHO = "OpenAI"
ADDRESS = "https://api.openai.com"
USAGE_PATH, COSTS_PATH = "/v1/organization/usage/", "/v1/organization/costs"
GROUPS = ("project_id", "api_key_id", "model")
COST_GROUPS = ("project_id", "line_item", "api_key_id")
DAYS_A_PAGE = 7
CONTEXTS = {"flex": Context.FLEX, "priority": Context.PRIORITY, "batch": Context.BATCH}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One kind of work: the name of its report, what it is grouped by, and its field for each of our units.

    Where `tells_calls` is false its model requests are those of another report.
    """

    name: str
    groups: tuple[str, ...] = GROUPS
    units: Mapping[str, str] = field(default_factory=dict)
    tells_calls: bool = True


AUDIO_TOKENS = {name: name for name in ("input_audio_tokens", "output_audio_tokens")}
WORKS = (
    Work(name="completions", groups=(*GROUPS, "batch", "service_tier"), units=AUDIO_TOKENS),
    Work(name="embeddings"),
    Work(name="moderations"),
    Work(name="images", units={Unit.IMAGE: "images"}),
    Work(name="audio_speeches", units={Unit.CHARACTER: "characters"}),
    Work(name="audio_transcriptions", units={Unit.SECOND: "seconds"}),
    Work(name="web_search_calls", units={Unit.SEARCH: "num_requests"}, tells_calls=False),
)


class OpenAiReports:
    """The reports of one organisation. Implements usage.ports.ProviderReports."""

    def __init__(self, account: ProviderAccount) -> None:
        self._account = account

    def usage(self, first: date, last: date) -> Iterator[UsageDayRead]:
        """Give the usage of the days [first, last]. Raises SourceUnavailableError."""
        reports = [self._days(USAGE_PATH + work.name, work.groups, first, last) for work in WORKS]
        for day, told in side_by_side(reports):
            figures = (
                _usage(result, WORKS[place]) for place, part in told.items() for result in part.results
            )
            yield UsageDayRead(day=day, figures=added_up(figures))

    def costs(self, first: date, last: date) -> Iterator[CostDayRead]:
        """Give the costs of the days [first, last]. Raises SourceUnavailableError."""
        for told in self._days(COSTS_PATH, COST_GROUPS, first, last):
            yield CostDayRead(day=told.day, figures=added_up(_cost(result) for result in told.results))

    def _days(self, path: str, groups: tuple[str, ...], first: date, last: date) -> Iterator[DayTold]:
        asked = [
            ("start_time", _seconds(first)),
            ("end_time", _seconds(last + timedelta(days=1))),
            ("bucket_width", "1d"),
            ("limit", DAYS_A_PAGE),
            *(("group_by[]", group) for group in groups),
        ]
        headers = {"Authorization": f"Bearer {secret_of(self._account.admin_credential)}"}
        return daily(
            self._account, address=ADDRESS, path=path, asked=asked, headers=headers, day_of=_day, who=WHO
        )


def _seconds(day: date) -> int:
    return int(datetime.combine(day, time.min, tzinfo=UTC).timestamp())


def _day(bucket: Mapping[str, Any]) -> date:
    try:
        return datetime.fromtimestamp(int(bucket["start_time"]), UTC).date()
    except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
        raise SourceUnavailableError(f"{WHO} tells of a day without its date.") from error


def _usage(result: Mapping[str, Any], work: Work) -> UsageFigure:
    tier = Context.BATCH if result.get("batch") is True else CONTEXTS.get(str(result.get("service_tier")))
    counts = {unit: number(result, name, who=WHO) for unit, name in work.units.items()}
    requests = result.get("num_model_requests") if work.tells_calls else 0
    return UsageFigure(
        upstream_key=text_of(result, "api_key_id"),
        upstream_project=text_of(result, "project_id"),
        model_name=text_of(result, "model"),
        context=tier or Context.STANDARD,
        input_tokens=whole_number(result, "input_tokens", who=WHO),
        cached_tokens=whole_number(result, "input_cached_tokens", who=WHO),
        cache_write_tokens=whole_number(result, "input_cache_write_tokens", who=WHO),
        output_tokens=whole_number(result, "output_tokens", who=WHO),
        requests=requests and whole_number(result, "num_model_requests", who=WHO),
        units={str(unit): count for unit, count in counts.items() if count},
    )


def _cost(result: Mapping[str, Any]) -> CostFigure:
    amount = result.get("amount")
    value = amount.get("value") if isinstance(amount, dict) else None
    if not isinstance(amount, dict) or isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise SourceUnavailableError(f"{WHO} tells of a cost without an amount.")
    if str(amount.get("currency")).lower() != "usd":
        raise SourceUnavailableError(f"{WHO} does not charge in US dollars, which Purser keeps.")
    item = text_of(result, "line_item", most=200)
    model, comma, _ = item.rpartition(", ")  # such as "gpt-5-mini-2026-08-07, cached input"
    return CostFigure(
        upstream_key=text_of(result, "api_key_id"),
        upstream_project=text_of(result, "project_id"),
        line_item=item,
        model_name=model[:100] if comma else "",
        amount_usd=quantise(Decimal(value)),
    )
