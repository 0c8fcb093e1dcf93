"""Usage in the API: the days that pages show, what was refused, and the export for FinOps tools."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from core.errors import InvalidInputError
from core.rest.fields import id_pattern
from core.rest.pages import page_response, unknown_cursor
from core.rest.renderers import CsvRenderer
from core.rest.repeats import Repeatable
from core.rest.schema import problems
from core.rest.views import ListViewSet
from core.spreadsheets import csv_stream
from teams.models import User
from teams.selectors import roles_of
from usage import focus
from usage.selectors import (
    blocked_hours,
    custom,
    last_days,
    organisation_today,
    scope_for,
    this_month,
    watched_by,
)
from usage.selectors.blocked import BlockedLine
from usage.selectors.export import export_rows
from usage.selectors.lines import UsageLine, usage_lines
from usage.selectors.periods import day_starts_at, month_of
from usage.selectors.runs import require_books
from usage.serializers import (
    BlockedCallsOut,
    BlockedCallsQuery,
    FocusQuery,
    UsageDayOut,
    UsageDayQuery,
)

FIRST_YEAR, LAST_YEAR = 2000, 2999
MAX_DAYS = 366
SEPARATOR = "."
PLACE_PATTERN = r"\.".join(
    [r"(\d{4}-\d\d-\d\d)", *(f"({id_pattern(prefix)})" for prefix in ("prj", "tem", "mdl")), "([1-9])"]
)
HOUR = "%Y-%m-%dT%H"
BLOCKED_DAYS = 7
BLOCKED_ONLY = {"project": "project__public_id", "code": "code", "budget": "budget__public_id"}
BLOCKED_PLACE_PATTERN = r"\.".join(
    [
        r"(\d{4}-\d\d-\d\dT\d\d)",
        *(f"({id_pattern(prefix)})" for prefix in ("key", "prj", "tem")),
        "([a-z_]{1,40})",
        f"({id_pattern('bdg')}|)",
        "([a-z]{0,16})",
        "([a-z_]{0,24})",
    ]
)
ONLY = {
    "project": "project__public_id",
    "team": "team__public_id",
    "model": "model__public_id",
    "tier": "tier_id",
}


class UsageDayViewSet(ListViewSet):
    """What the person's teams used, by day, project and model; the figures of the Overview, line by line."""

    noun = "line"
    out = UsageDayOut
    list_query = UsageDayQuery

    def list(self, request: Request) -> Response:
        """Return a page of lines, the newest day first."""
        limit = self.query["limit"]
        found = usage_lines(
            scope_for(self.actor),
            custom(*period_of(self.query)),
            only={lookup: str(self.query[name]) for name, lookup in ONLY.items() if name in self.query},
            after=place_of(self.query["cursor"]) if "cursor" in self.query else None,
            limit=limit + 1,
        )
        last = found[limit - 1] if len(found) > limit else None
        return page_response(request, self.shown(found[:limit]), last and cursor_of(last))


class FocusViewSet(Repeatable):
    """The usage of the whole organisation for FinOps tools; for finance, auditors and administrators."""

    http_method_names = ["get", "head"]
    renderer_classes = (JSONRenderer, CsvRenderer)

    @extend_schema(
        parameters=[FocusQuery],
        responses={(200, "text/csv"): OpenApiTypes.STR, **problems({400, 401, 403, 406, 422})},
    )
    @action(detail=False)
    def focus(self, request: Request) -> StreamingHttpResponse:
        """Return a month as FOCUS 1.0 rows, sent while they are read."""
        query = FocusQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        require_books(cast("User", request.user))
        asked = query.validated_data.get("month", f"{organisation_today():%Y-%m}")
        period = month_of(asked)
        if period.first_day > organisation_today():
            raise InvalidInputError("This month is still to come.", field="month")
        return csv_stream(request._request, f"focus-{asked}", focus.HEAD, focus.rows(export_rows(period)))  # noqa: SLF001  Django's own request


class BlockedCallsViewSet(ListViewSet):
    """Refused calls of the person's own keys and of what he oversees, by hour, key, project and reason."""

    noun = "line"
    out = BlockedCallsOut
    list_query = BlockedCallsQuery

    def list(self, request: Request) -> Response:
        """Return a page of lines, the newest hour first."""
        limit = self.query["limit"]
        first, last = period_of(self.query, default_days=BLOCKED_DAYS)
        found = blocked_hours(
            watched_by(self.actor, roles_of(self.actor)),
            day_starts_at(first),
            day_starts_at(last + timedelta(days=1)),
            only={BLOCKED_ONLY[name]: self.query[name] for name in BLOCKED_ONLY if name in self.query},
            after=blocked_place_of(self.query["cursor"]) if "cursor" in self.query else None,
            limit=limit + 1,
        )
        end = found[limit - 1] if len(found) > limit else None
        return page_response(request, self.shown(found[:limit]), end and blocked_cursor_of(end))


def period_of(query: Mapping[str, Any], *, default_days: int | None = None) -> tuple[date, date]:
    """Return the first and last day that parameters ask for: by default this month or so many days.

    Raises InvalidInputError for a period that cannot be, or is longer than a year.
    """
    last = query.get("to", organisation_today())
    if not FIRST_YEAR <= last.year <= LAST_YEAR:
        raise InvalidInputError(f"Choose days from {FIRST_YEAR} to {LAST_YEAR}.", field="to")
    shortest = this_month(last) if default_days is None else last_days(last, default_days)
    first = query.get("from", shortest.first_day)
    if not timedelta(0) <= last - first < timedelta(days=MAX_DAYS):
        raise InvalidInputError(
            f"Choose a last day that is not before the first, {MAX_DAYS} days at most.", field="to"
        )
    return first, last


def parsed_day(text: str) -> date | None:
    """Return the day, or None for text that is none: nothing has it."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def cursor_of(line: UsageLine) -> str:
    """Return the place of a line, as the next page is asked for."""
    return SEPARATOR.join(str(part) for part in line.place)


def place_of(cursor: str) -> tuple[Any, ...]:
    """Return the place that a cursor names. Raises InvalidInputError for one of another shape."""
    match = re.fullmatch(PLACE_PATTERN, cursor)
    day = parsed_day(match[1]) if match else None
    if match is None or day is None:
        raise unknown_cursor()
    return (day, *match.groups()[1:])


def blocked_cursor_of(line: BlockedLine) -> str:
    """Return the place of refused calls, as the next page is asked for."""
    hour, *others = line.place
    return SEPARATOR.join([f"{hour.astimezone(UTC):{HOUR}}", *others])


def blocked_place_of(cursor: str) -> tuple[Any, ...]:
    """Return the place that a cursor names. Raises InvalidInputError for one of another shape."""
    match = re.fullmatch(BLOCKED_PLACE_PATTERN, cursor)
    if match is None:
        raise unknown_cursor()
    try:
        hour = datetime.strptime(match[1], HOUR).replace(tzinfo=UTC)
    except ValueError as error:
        raise unknown_cursor() from error
    return (hour, *match.groups()[1:])
