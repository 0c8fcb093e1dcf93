"""LiteLLM's spend logs, for gateways that keep a database: every call that went through, ours or not.

Source of the shape: LiteLLM 1.106.2, `GET /spend/logs/v2`: start_date and end_date in UTC, both included, to
the second; page_size up to 1,000; `total` is counted to 10,000 only (total_is_capped). Rows appear some time
after their call and carry its start, so a pull ends an overlap before now. Rows of one moment have no order,
so a window is made smaller until one page holds it, and paged only where it cannot be. Money there is a float
that LiteLLM reckons: it is compared, and never booked. The service class is what the provider's usage tells
(`speed`, `service_tier`), else the one that LiteLLM priced the answer in,
`metadata.cost_breakdown.service_tier` (CostBreakdown of its types/utils.py), which is null both for the
standard class and where it knows of none.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.conf import settings

from core import clock
from core.money import told_usd
from gateway.adapters.calls import moment_of, read_json, secret_of, text_of
from gateway.adapters.parts import FAST, context_of, units_of
from gateway.models import GatewayLog
from usage.models import Finish, QuarantineReason
from usage.ports import LogPage, LogRow, RefusedRow, SourceUnavailableError
from usage.tokens import TokenCountError, checked_tokens

WHO = "LiteLLM"
PATH = "/spend/logs/v2"
PAGE_ROWS = 1_000
MAX_PAGES = 30  # of one smallest window
WIDEST, SMALLEST = timedelta(hours=1), timedelta(seconds=1)
OVERLAP = timedelta(hours=2)
FIRST = timedelta(days=1)
RESERVATION = "purser_reservation"
CONTENT = frozenset({"messages", "response", "proxy_server_request"})  # what people wrote is not kept
FORMAT = "%Y-%m-%d %H:%M:%S"


class LiteLlmSpendLogs:
    """The spend logs of one LiteLLM gateway. Implements usage.ports.UsageLog."""

    def __init__(self, log: GatewayLog) -> None:
        self._log = log
        self._width = WIDEST

    @property
    def name(self) -> str:
        """Return the public id of the log."""
        return str(self._log.public_id)

    @property
    def gateway(self) -> str:
        """Return the public id of the gateway."""
        return str(self._log.gateway.public_id)

    def page(self, cursor: str, *, limit: int) -> LogPage:
        """Return the rows of one closed window after `cursor`, however many; the last one ends before now.

        Raises SourceUnavailableError.
        """
        now = clock.now().replace(microsecond=0)
        start = min(moment_of(cursor), now) if cursor else now - FIRST
        end, found = self._window(start, now)
        has_more = end < now
        rows, refused, skipped = _read(found)
        return LogPage(
            rows=rows,
            refused=refused,
            skipped=skipped,
            next_cursor=(end if has_more else now - OVERLAP).isoformat(),
            has_more=has_more,
        )

    def _window(self, start: datetime, now: datetime) -> tuple[datetime, list[Any]]:
        """Return where a window ends that one page holds, and its rows."""
        while True:
            end = min(start + self._width, now)
            first, total = self._ask(start, end, 1)
            if total <= PAGE_ROWS and len(first) < PAGE_ROWS:
                if total < PAGE_ROWS // 4:
                    self._width = min(self._width * 2, WIDEST)
                return end, first
            if self._width <= SMALLEST:
                return end, self._every_page(start, end, first)
            self._width = max(self._width / 2, SMALLEST)

    def _every_page(self, start: datetime, end: datetime, first: list[Any]) -> list[Any]:
        """Return all rows of a window that cannot be smaller: to the short page, for the total is capped."""
        found = first
        for number in range(2, MAX_PAGES + 1):
            rows, _ = self._ask(start, end, number)
            found = [*found, *rows]
            if len(rows) < PAGE_ROWS:
                return found
        raise SourceUnavailableError(f"{WHO} has too many rows of {start:{FORMAT}} to page.")

    def _ask(self, start: datetime, end: datetime, page: int) -> tuple[list[Any], int]:
        query = urlencode(
            {
                "start_date": f"{start:{FORMAT}}",
                "end_date": f"{end:{FORMAT}}",
                "page": page,
                "page_size": PAGE_ROWS,
                "sort_by": "startTime",
                "sort_order": "asc",
            }
        )
        document = read_json(
            f"{self._log.place.rstrip('/')}{PATH}?{query}",
            who=WHO,
            headers={"Authorization": f"Bearer {secret_of(self._log.admin_credential)}"},
            networks=settings.GATEWAY_ALLOWED_NETWORKS,
        )
        rows, total = document.get("data"), document.get("total")
        if not isinstance(rows, list) or not isinstance(total, int):
            raise SourceUnavailableError(f"{WHO} answered with something that is no page of spend logs.")
        return rows, total


def recounted(cursor: str, since: datetime) -> str:
    """Return a cursor from which everything since a moment is read again."""
    return min(moment_of(cursor), since).isoformat() if cursor else cursor


def _read(found: list[Any]) -> tuple[list[LogRow], list[RefusedRow], int]:
    rows: list[LogRow] = []
    refused: list[RefusedRow] = []
    skipped = 0
    for raw in found:
        if isinstance(raw, dict) and raw.get("status") == "failure":
            skipped += 1  # one failed attempt, which consumed nothing
            continue
        try:
            rows.append(_row(raw))
        except TokenCountError as error:
            refused.append(RefusedRow(raw=raw, reason=QuarantineReason.BAD_TOKENS, detail=str(error)))
        except (KeyError, TypeError, ValueError) as error:
            detail = f"The row cannot be read ({type(error).__name__}: {str(error)[:80]})."
            refused.append(RefusedRow(raw=raw, reason=QuarantineReason.MALFORMED, detail=detail))
    return rows, refused, skipped


def _row(raw: Mapping[str, Any]) -> LogRow:
    external_id = text_of(raw, "request_id")
    if not external_id:
        raise ValueError("request_id is missing")
    metadata = _object(raw.get("metadata"))  # a key of ours has its public id as its alias there
    named = _object(metadata.get("spend_logs_metadata"))
    told = _told(metadata)
    tokens = checked_tokens(_tokens(raw, told))
    return LogRow(
        external_id=external_id,
        reservation=text_of(named, RESERVATION, most=40),
        at=moment_of(str(raw["startTime"])),
        key=text_of(metadata, "user_api_key_alias", most=40) or text_of(raw, "api_key"),
        model=text_of(raw, "model_group") or text_of(raw, "model"),
        tokens=tokens,
        context=_context(told, _object(metadata.get("cost_breakdown"))),
        units=units_of(told, tokens),
        finish=Finish.STOP,
        cache_hit=str(raw.get("cache_hit")).lower() == "true",
        provider_id=external_id,
        cost_usd=told_usd(raw.get("spend")),
        raw={name: raw[name] for name in sorted(raw) if name not in CONTENT},
    )


def _context(told: Mapping[str, Any], priced: Mapping[str, Any]) -> str:
    if told.get("speed") == FAST:
        return FAST
    return context_of(told.get("service_tier")) or context_of(priced.get("service_tier"))


def _told(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the provider's own usage, whole or what LiteLLM kept of it besides the totals."""
    return {**_object(metadata.get("additional_usage_values")), **_object(metadata.get("usage_object"))}


def _tokens(raw: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """Return inclusive totals. The columns have them; their parts stand in the provider's own usage."""
    inputs, outputs = (
        _object(told.get("prompt_tokens_details")),
        _object(told.get("completion_tokens_details")),
    )
    cached = told.get("cache_read_input_tokens") or inputs.get("cached_tokens") or 0
    written = told.get("cache_creation_input_tokens") or inputs.get("cache_creation_tokens") or 0
    return {
        "input_tokens": raw.get("prompt_tokens", 0),
        "output_tokens": raw.get("completion_tokens", 0),
        "cached_tokens": cached,
        "cache_write_tokens": written,
        "reasoning_tokens": outputs.get("reasoning_tokens") or 0,
    }


def _object(value: Any) -> Mapping[str, Any]:
    """Return an object, also one that was written as text; anything else is an empty one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}
