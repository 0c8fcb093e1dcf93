"""What a source of usage must offer. Adapters in `gateway` implement it; this app knows no product."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class UsagePage:
    """One page of a source's journal: raw rows, where to go on, and whether there is more now."""

    rows: Sequence[dict[str, Any]]
    next_cursor: str
    has_more: bool


class SourceUnavailableError(Exception):
    """The source could not be read; nothing was lost, the cursor stands.

    `retry_after_seconds` is how long the source asks to be left alone, if it says so. The text is shown to
    people: it holds no secret and nothing that the source sent.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class UsageSource(Protocol):
    """A gateway's own record of finished calls. A page asked again gives the same rows."""

    @property
    def name(self) -> str:
        """Return the source's stable name, the public id of its gateway."""

    def page(self, cursor: str, *, limit: int) -> UsagePage:
        """Return the rows after `cursor` (empty: from the start). Raises SourceUnavailableError."""


class SourceNames(Protocol):
    """Knows what people call the sources."""

    def __call__(self) -> Mapping[str, str]:
        """Return the name of each source by its stable one. One query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    """One call as a gateway's ordinary log has it. `reservation` is ours, empty for a call that Purser never
    decided; `key` is the gateway's own name of the caller's key, never the key. Tokens are inclusive totals.
    `context` is the service class that was served, empty where the log does not tell it, and `units` what is
    counted beside the totals, as far as the log tells it.
    `cost_usd` is what the gateway reckons: it is compared, and never booked.
    """

    external_id: str
    reservation: str
    at: datetime
    key: str
    model: str
    tokens: Mapping[str, int]
    finish: str
    cache_hit: bool
    provider_id: str
    raw: Mapping[str, Any]
    context: str = ""
    units: Mapping[str, int | float] = field(default_factory=dict)
    cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRow:
    """A line of a log that cannot be read, and why."""

    raw: Any
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedCall:
    """A call for which no provider worked, as the gateway's log has it: what is held for it is to be freed.

    `reservation` is empty where the portal's answer never arrived; then `request_id` names the question.
    """

    reservation: str
    request_id: str
    at: datetime
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """One page of a log. `skipped` counts lines about calls that were refused or whose use is unknown."""

    rows: Sequence[LogRow]
    refused: Sequence[RefusedRow]
    skipped: int
    next_cursor: str
    has_more: bool
    unused: Sequence[UnusedCall] = ()


class UsageLog(Protocol):
    """A gateway's ordinary log. Late lines are found: the last cursor of a pull lies before the end."""

    @property
    def name(self) -> str:
        """Return the name of the source, under which its cursor is kept."""

    @property
    def gateway(self) -> str:
        """Return the public id of the gateway whose calls these are."""

    def page(self, cursor: str, *, limit: int) -> LogPage:
        """Return rows from `cursor` on (empty: where a new log begins). Raises SourceUnavailableError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFigure:
    """What a provider counted for one upstream key, project, model and service class on one UTC day.

    Tokens are inclusive totals. `requests` is None where the provider does not count them; `units` holds what
    is counted besides, such as audio tokens, by the provider's name for it.
    """

    upstream_key: str
    upstream_project: str
    model_name: str
    context: str
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    requests: int | None
    reasoning_tokens: int = 0
    units: Mapping[str, int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostFigure:
    """What a provider charged for one line item on one UTC day, in US dollars; credits are negative."""

    upstream_key: str
    upstream_project: str
    line_item: str
    model_name: str
    amount_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageDayRead:
    """All that a provider says of the usage of one UTC day: every page of it, or it is not told at all.

    `refreshed_at` is up to when it says that it has counted; None where it does not say.
    """

    day: date
    figures: Sequence[UsageFigure]
    refreshed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostDayRead:
    """All that a provider says of the cost of one UTC day, as UsageDayRead has its usage."""

    day: date
    figures: Sequence[CostFigure]
    refreshed_at: datetime | None = None


class ProviderReports(Protocol):
    """A provider's own figures. Both give whole days in their order, each once, while there is time; what was
    given stands when a later page fails. Raise SourceUnavailableError.
    """

    def usage(self, first: date, last: date) -> Iterator[UsageDayRead]:
        """Give the usage of the days [first, last]."""

    def costs(self, first: date, last: date) -> Iterator[CostDayRead]:
        """Give the costs of the days [first, last]."""
