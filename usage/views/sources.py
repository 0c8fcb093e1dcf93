"""Sources: how far every gateway and provider was read, what is wrong with it, and when it is asked again."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from core import addresses, clock
from core.shapes import Tone
from core.sorting import Head, Table
from core.spreadsheets import Cell, csv_response, iso
from teams.types import PersonRequest
from usage import services
from usage.models import ImportCursor, ProviderAccount, SourceKind
from usage.ports import SourceNames
from usage.selectors.accounts import all_accounts, all_cursors
from usage.selectors.doubt import Doubt, doubts_by_gateway
from usage.selectors.sources import SEPARATOR, SourceState, accounts_by_id, state_of
from usage.views.access import keeps_the_books, require_books, tabs

TONES = {
    SourceState.READ: "ok",
    SourceState.NEVER: "warn",
    SourceState.LATE: "warn",
    SourceState.FAILING: "bad",
    SourceState.NO_CREDENTIAL: "bad",
    SourceState.CLOSED: "",
    SourceState.ALONE: "info",
}
REPORTS = (SourceKind.USAGE, SourceKind.COST)
KEPT = ("sort",)
TABLE = Table(
    usual="name",
    heads=(
        Head(label="Source", sort="name"),
        Head(label="State", sort="state"),
        Head(label="Last read", sort="read", falls=True),
        Head(label="Figures up to", sort="upto", falls=True),
        Head(label="Rows read", sort="rows", numeric=True),
        Head(label="Next attempt", sort="next"),
        Head(label="Actions"),
    ),
)
CSV_HEAD = (
    *("source", "kind", "state", "notice", "leases_in_doubt", "most_in_doubt_usd"),
    *("last_read_at", "figures_up_to", "rows_read", "failures", "next_attempt_at"),
)
DOUBTED_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """One source; without `read_url` nobody can have it read. `doubt` is of a gateway's leases."""

    name: str
    kind: str
    url: str
    state: SourceState
    status: Tone
    notice: str
    doubt: Doubt | None
    last_success_at: datetime | None
    last_row_at: datetime | None
    rows: int
    failures: int
    next_attempt_at: datetime | None
    read_url: str


SORTS: dict[str, Callable[[SourceRow], str | int | datetime | None]] = {
    "name": lambda row: row.name,
    "state": lambda row: row.status.text,
    "read": lambda row: row.last_success_at,
    "upto": lambda row: row.last_row_at,
    "rows": lambda row: row.rows,
    "next": lambda row: row.next_attempt_at,
}


@require_safe
def list_sources(request: PersonRequest, *, names_of_sources: SourceNames) -> HttpResponse:
    """List every source, those of gateways and those of providers, by `?sort=`; as CSV with `?format=csv`."""
    require_books(request)
    accounts = accounts_by_id(all_accounts())
    names = names_of_sources()
    cursors = all_cursors()
    told = {name for cursor in cursors for name in (cursor.source, cursor.gateway)}
    alone = [ImportCursor(source=source) for source in names.keys() - told]
    doubts = doubts_by_gateway(since=clock.now() - timedelta(days=DOUBTED_DAYS))
    rows = _rows([*cursors, *alone], accounts, names, doubts)
    order = TABLE.order(request)
    gateways = order.of((row for row, kind in rows if kind not in REPORTS), SORTS)
    providers = order.of(
        (row for row, kind in rows if kind in REPORTS and row.state != SourceState.CLOSED), SORTS
    )
    if request.GET.get("format") == "csv":
        return csv_response(f"sources-{clock.now():%Y-%m-%d}", CSV_HEAD, map(_cells, (*gateways, *providers)))
    context = {
        "gateways": gateways,
        "providers": providers,
        "columns": TABLE.columns(request, KEPT)[: None if keeps_the_books(request) else -1],
        "csv_url": addresses.link(request, KEPT, format="csv"),
        "doubted_days": DOUBTED_DAYS,
        "unread": sum(row.status.tone == "bad" for row, _ in rows),
        "may_read": keeps_the_books(request),
        "tabs": tabs("sources:list"),
    }
    return render(request, "usage/sources.html", {"sources": context})


@require_POST
def read_now(request: PersonRequest, source: str) -> HttpResponse:
    """Have a source read with the next scan."""
    require_books(request)
    services.read_now(actor=request.user, source=source)
    messages.success(request, "It is read within a minute. Open this page again to see what came of it.")
    return redirect("sources:list")


def _rows(
    cursors: Iterable[ImportCursor],
    accounts: dict[str, ProviderAccount],
    names: Mapping[str, str],
    doubts: Mapping[str, Doubt],
) -> list[tuple[SourceRow, SourceKind]]:
    rows = [
        (_row(cursor, state, accounts, names, doubts), SourceKind(cursor.kind))
        for cursor in cursors
        for state in [state_of(cursor, accounts) if cursor.pk else SourceState.ALONE]
    ]
    return sorted(rows, key=lambda one: (one[0].name, one[1].label))


def _row(
    cursor: ImportCursor,
    state: SourceState,
    accounts: Mapping[str, ProviderAccount],
    names: Mapping[str, str],
    doubts: Mapping[str, Doubt],
) -> SourceRow:
    account = accounts.get(cursor.source.partition(SEPARATOR)[0])
    readable = state not in {SourceState.NO_CREDENTIAL, SourceState.CLOSED, SourceState.ALONE}
    return SourceRow(
        name=str(account) if account else names.get(cursor.source, cursor.source),
        kind="Gateway" if state == SourceState.ALONE else SourceKind(cursor.kind).label,
        url=reverse("providers:detail", args=[account.public_id]) if account else "",
        state=state,
        status=Tone(tone=TONES[state], text=state.label),
        notice=_notice(cursor, state),
        doubt=doubts.get(cursor.source) if cursor.kind == SourceKind.JOURNAL else None,
        last_success_at=cursor.last_success_at,
        last_row_at=cursor.last_row_at,
        rows=cursor.rows_read,
        failures=cursor.failures,
        next_attempt_at=cursor.next_attempt_at if readable else None,
        read_url=reverse("sources:read", args=[cursor.source]) if readable else "",
    )


def _notice(cursor: ImportCursor, state: SourceState) -> str:
    """Say what is wrong, if anything."""
    match state:
        case SourceState.NO_CREDENTIAL:
            return "No admin credential is entered, so nothing is known of what the provider counted."
        case SourceState.FAILING:
            return cursor.last_error
        case SourceState.ALONE:
            return "It keeps no journal or log that Purser reads, so its calls stand in no second book."
        case SourceState.LATE:
            return "It was not read when it should have been. Is the worker running?"
        case _:
            return ""


def _cells(row: SourceRow) -> tuple[Cell, ...]:
    doubt = row.doubt
    return (
        row.name,
        row.kind,
        row.status.text,
        row.notice,
        doubt.leases if doubt else None,
        doubt.most_usd if doubt else None,
        iso(row.last_success_at),
        iso(row.last_row_at),
        row.rows,
        row.failures,
        iso(row.next_attempt_at),
    )
