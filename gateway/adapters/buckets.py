"""Reports that come as pages of daily buckets: put together to whole days, or not told at all."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlencode

from django.conf import settings

from core import clock
from gateway.adapters.calls import moment_of, read_json
from usage.models import ProviderAccount
from usage.ports import CostFigure, SourceUnavailableError, UsageFigure

Result = Mapping[str, Any]
MAX_PAGES = 500
MAX_READING = timedelta(seconds=50)  # a task may run for 60 seconds
_Figure = TypeVar("_Figure", UsageFigure, CostFigure)
ADDED = frozenset(
    {
        *("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"),
        *("requests", "units", "amount_usd"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayTold:
    """All results of one day. `refreshed_at` is up to when the provider says that it has counted, if so."""

    day: date
    results: list[Result]
    refreshed_at: datetime | None = None


def daily(
    account: ProviderAccount,
    *,
    address: str,
    path: str,
    asked: Sequence[tuple[str, object]],
    headers: Mapping[str, str],
    day_of: Callable[[Result], date],
    who: str,
) -> Iterator[DayTold]:
    """Read a report from an account's own address, or the provider's, and give the results of each day.

    Raises SourceUnavailableError.
    """
    base = account.base_url.rstrip("/") or address

    def read(token: str) -> dict[str, Any]:
        query = urlencode([*asked, ("page", token)] if token else asked)
        url = f"{base}{path}?{query}"
        return read_json(url, who=who, headers=headers, networks=settings.PROVIDER_ALLOWED_NETWORKS)

    return whole_days(pages(read, who=who), day_of=day_of, who=who)


def pages(
    read: Callable[[str], dict[str, Any]], *, who: str
) -> Iterator[tuple[list[dict[str, Any]], datetime | None]]:
    """Give the buckets of each page, and up to when the provider says that it has counted; `read` takes the
    token of a page, empty for the first.

    Raises SourceUnavailableError for a page that is none, for pages that lead in a circle, and when there is
    no time left for another one.
    """
    token, seen, started = "", set[str](), clock.now()
    for _ in range(MAX_PAGES):
        if clock.now() - started > MAX_READING:
            raise SourceUnavailableError(f"{who} is too slow: the report could not be read in time.")
        document = read(token)
        buckets = document.get("data")
        if not isinstance(buckets, list) or not all(isinstance(bucket, dict) for bucket in buckets):
            raise SourceUnavailableError(f"{who} answered with something that is not a report.")
        yield buckets, _refreshed_at(document, who)
        if document.get("has_more") is not True:
            return
        token = document.get("next_page") or ""
        if not isinstance(token, str) or not token or token in seen:
            raise SourceUnavailableError(f"{who} says that there is more, and not where.")
        seen.add(token)
    raise SourceUnavailableError(f"{who} has more than {MAX_PAGES} pages.")


def whole_days(
    found: Iterable[tuple[list[dict[str, Any]], datetime | None]],
    *,
    day_of: Callable[[dict[str, Any]], date],
    who: str,
) -> Iterator[DayTold]:
    """Give the results of each day as soon as it is whole: a later day has begun, or the pages are at an end.

    A day may be spread over several pages; the one that was counted up to the earliest moment says how fresh
    it is. Raises SourceUnavailableError when days are out of order.
    """
    current: DayTold | None = None
    for buckets, refreshed_at in found:
        for bucket in buckets:
            day, told = day_of(bucket), bucket.get("results")
            if not isinstance(told, list) or not all(isinstance(one, dict) for one in told):
                raise SourceUnavailableError(f"{who} tells of a day without results.")
            if current is not None and day < current.day:
                raise SourceUnavailableError(f"{who} tells of days that are out of order.")
            if current is not None and day == current.day:
                moments = [at for at in (current.refreshed_at, refreshed_at) if at is not None]
                told = [*current.results, *told]
                current = DayTold(day=day, results=told, refreshed_at=min(moments, default=None))
                continue
            if current is not None:
                yield current
            current = DayTold(day=day, results=told, refreshed_at=refreshed_at)
    if current is not None:
        yield current


def side_by_side(reports: Sequence[Iterator[DayTold]]) -> Iterator[tuple[date, dict[int, DayTold]]]:
    """Give each day with what every report tells of it, by the place of the report, once all of them are past
    it: what was given stands when one of them fails later. Raises what reading raises.
    """
    heads = [next(report, None) for report in reports]
    while days := [head.day for head in heads if head is not None]:
        day = min(days)
        is_told = [head is not None and head.day == day for head in heads]
        yield day, {place: head for place, head in enumerate(heads) if head is not None and is_told[place]}
        heads = [
            next(report, None) if told else head
            for report, told, head in zip(reports, is_told, heads, strict=True)
        ]


def added_up(figures: Iterable[_Figure]) -> list[_Figure]:
    """Return one figure for each identity: a provider may split what we keep together. Zeros are left out."""
    sums: dict[Hashable, _Figure] = {}
    for figure in figures:
        identity = tuple(getattr(figure, name) for name in _names(figure) if name not in ADDED)
        sums[identity] = _plus(sums[identity], figure) if identity in sums else figure
    return [figure for figure in sums.values() if any(getattr(figure, name) for name in _counted(figure))]


def _refreshed_at(document: Mapping[str, Any], who: str) -> datetime | None:
    """Return `data_refreshed_at` of a page, which Anthropic's reports for analytics have."""
    text = document.get("data_refreshed_at")
    try:
        return None if text is None else moment_of(str(text))
    except ValueError as error:
        raise SourceUnavailableError(f"{who} says up to when it has counted, and it is no moment.") from error


def _plus(one: _Figure, other: _Figure) -> _Figure:
    return replace(one, **{name: _sum(getattr(one, name), getattr(other, name)) for name in _counted(one)})


def _sum(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping):
        return {name: one.get(name, 0) + other.get(name, 0) for name in sorted({*one, *other})}
    return one if other is None else other if one is None else one + other


def _names(figure: UsageFigure | CostFigure) -> list[str]:
    return [field.name for field in fields(figure)]


def _counted(figure: UsageFigure | CostFigure) -> list[str]:
    return [name for name in _names(figure) if name in ADDED]
