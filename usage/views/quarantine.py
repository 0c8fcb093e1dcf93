"""Quarantine: rows that could not be booked, why, and what becomes of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from core import addresses
from core.errors import AlreadyDoneError, InvalidInputError
from core.shapes import Column, Tab, Tone
from core.sorting import Head, Table
from teams.models import Role
from teams.selectors import require_admin
from teams.types import PersonRequest
from usage.forms.quarantine import AssignForm, DismissForm
from usage.models import Quarantine, QuarantineOutcome, QuarantineReason
from usage.ports import SourceNames
from usage.redaction import redacted_text
from usage.selectors.quarantine import (
    OPEN,
    STATES,
    Counts,
    assignable_models,
    counts,
    find_quarantined,
    quarantine_for,
)
from usage.services.quarantine import AssignedCall, assign_quarantined, can_be_assigned, dismiss_quarantined
from usage.told import facts, told
from usage.views.access import require_books

KEPT = ("state", "reason", "source", "before", "sort")
TABLE = Table(
    usual="-read",
    heads=(
        Head(label="Call"),
        Head(label="Reason"),
        Head(label="What it tells"),
        Head(label="Source"),
        Head(label="Read", sort="read", falls=True),
        Head(label="State"),
    ),
)
PAGE_ROWS = 50
NOTHING = "—"
OUTCOME_TONES = {
    "": Tone(tone="warn", text="Open"),
    QuarantineOutcome.BOOKED: Tone(tone="ok", text="Booked"),
    QuarantineOutcome.DISMISSED: Tone(tone="", text="Dismissed"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One choice of a filter, with how many rows it would leave."""

    value: str
    label: str
    rows: int
    current: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row that was set aside, with what it tells and what became of it."""

    public_id: str
    external_id: str
    reason: str
    detail: str
    source: str
    told: str
    seen_at: datetime
    state: Tone
    is_open: bool
    may_be_assigned: bool
    resolved_at: datetime | None
    resolved_by: str
    resolution: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinePage:
    """What the list shows."""

    tabs: tuple[Tab, ...]
    state: str
    state_value: str
    reasons: tuple[Option, ...]
    sources: tuple[Option, ...]
    lines: tuple[Line, ...]
    rows: int
    is_filtered: bool
    columns: tuple[Column, ...]
    falls: bool
    is_first: bool
    all_url: str
    newest_url: str
    older_url: str


@require_safe
def list_quarantine(request: PersonRequest, *, names_of_sources: SourceNames) -> HttpResponse:
    """List rows that were set aside, the newest first or by `?sort=`, by state, reason and source."""
    require_books(request)
    state = addresses.choice(request, "state", STATES, OPEN)
    wanted = {name: request.GET.get(name, "").replace("\x00", "") for name in ("reason", "source")}
    rows = quarantine_for(request.user).filter(STATES[state][1])
    order = TABLE.order(request)
    rows = rows.filter(**{name: value for name, value in wanted.items() if value})
    rows = rows.order_by(*order.sql({"read": "pk"}))
    total = rows.count()
    if before := request.GET.get("before", "").replace("\x00", ""):
        further = "pk__lt" if order.falls else "pk__gt"
        rows = rows.filter(**{further: Quarantine.objects.filter(public_id=before).values("pk")[:1]})
    found = list(rows[: PAGE_ROWS + 1])
    shown = found[:PAGE_ROWS]
    names, counted = names_of_sources(), counts(state)
    page = QuarantinePage(
        tabs=_tabs(request, state, counted),
        state=STATES[state][0],
        state_value="" if state == OPEN else state,
        reasons=_options(counted.by_reason, wanted["reason"], dict(QuarantineReason.choices)),
        sources=_options(counted.by_source, wanted["source"], names),
        lines=tuple(_line(entry, names) for entry in shown),
        rows=total,
        is_filtered=any(wanted.values()),
        columns=TABLE.columns(request, ("state", "reason", "source", "sort")),
        falls=order.falls,
        is_first=not before,
        all_url=addresses.link(request, ("state", "sort")),
        newest_url=addresses.link(request, KEPT, before="") if before else "",
        older_url=addresses.link(request, KEPT, before=shown[-1].public_id) if len(found) > PAGE_ROWS else "",
    )
    return render(request, "usage/quarantine_list.html", {"quarantine": page})


@require_safe
def show_quarantined(
    request: PersonRequest, public_id: str, *, names_of_sources: SourceNames
) -> HttpResponse:
    """Show one row with all that it says, and the ways to close it."""
    entry = _find(request, public_id)
    context = {
        "line": _line(entry, names_of_sources()),
        "facts": facts(entry.row),
        "may_act": entry.resolved_at is None and Role.ADMIN in request.roles_held.organisation_wide,
    }
    return render(request, "usage/quarantine_detail.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def assign_row(request: PersonRequest, public_id: str, *, names_of_sources: SourceNames) -> HttpResponse:
    """Ask for what a row lacks, with what it says already filled in; on POST book the call."""
    entry = _find_for_act(request, public_id, "book rows that were set aside")
    names = assignable_models()
    form = AssignForm(request.POST or None, models=names, initial=_initial(entry, names))
    if request.method == "POST" and form.is_valid():
        try:
            assign_quarantined(
                actor=request.user, entry=entry, call=_call(form), reason=form.cleaned_data["reason"]
            )
        except InvalidInputError as error:
            form.add_error(error.field if error.field in form.fields else None, error.detail)
        else:
            messages.success(request, "The call is booked, in the window of its own time.")
            return redirect("quarantine:list")
    context = {"line": _line(entry, names_of_sources()), "facts": facts(entry.row), "form": form}
    return render(request, "usage/quarantine_assign.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def dismiss_row(request: PersonRequest, public_id: str) -> HttpResponse:
    """Say what dismissing means and ask for a reason; on POST close the row."""
    entry = _find_for_act(request, public_id, "dismiss rows that were set aside")
    form = DismissForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        dismiss_quarantined(actor=request.user, entry=entry, reason=form.cleaned_data["reason"])
        messages.success(request, "The row is dismissed.")
        return redirect("quarantine:list")
    confirm = {
        "title": "Dismiss this row?",
        "text": f"{QuarantineReason(entry.reason).label}: {redacted_text(entry.detail)}",
        "consequences": (
            "Nothing is booked for it, and no budget changes.",
            "If it tells of a call that was made, the bill is higher than our books by its cost.",
            "It stays on the page of dismissed rows with your reason. It cannot be booked later.",
        ),
        "url": reverse("quarantine:dismiss", args=[public_id]),
        "submit_text": "Dismiss the row",
        "cancel_url": reverse("quarantine:detail", args=[public_id]),
    }
    return render(
        request, "confirm.html", {"confirm": confirm, "form": form}, status=422 if form.errors else 200
    )


def _find(request: PersonRequest, public_id: str) -> Quarantine:
    require_books(request)
    return find_quarantined(request.user, public_id.replace("\x00", ""))


def _find_for_act(request: PersonRequest, public_id: str, act: str) -> Quarantine:
    entry = _find(request, public_id)
    require_admin(request.user, act)
    if entry.resolved_at is not None:
        who, outcome = entry.resolved_by or "Purser", QuarantineOutcome(entry.outcome).label.lower()
        raise AlreadyDoneError(f"This row was {outcome} by {who}: {entry.resolution}")
    return entry


def _tabs(request: HttpRequest, current: str, counted: Counts) -> tuple[Tab, ...]:
    return tuple(
        Tab(
            label=label,
            url=addresses.link(request, KEPT, state="" if value == OPEN else value, before=""),
            current=value == current,
            count=counted.by_state.get(value, 0),
        )
        for value, (label, _) in STATES.items()
    )


def _options(counted: Mapping[str, int], wanted: str, labels: Mapping[str, str]) -> tuple[Option, ...]:
    """Return the choices of a filter by their labels; what the address asks for is one of them."""
    known = {**({wanted: 0} if wanted else {}), **counted}
    return tuple(
        sorted(
            (
                Option(value=value, label=str(labels.get(value, value)), rows=rows, current=value == wanted)
                for value, rows in known.items()
            ),
            key=lambda option: (option.label.casefold(), option.value),
        )
    )


def _line(entry: Quarantine, names: Mapping[str, str]) -> Line:
    return Line(
        public_id=entry.public_id,
        external_id=redacted_text(entry.external_id) or NOTHING,
        reason=QuarantineReason(entry.reason).label,
        detail=redacted_text(entry.detail),
        source=names.get(entry.source, entry.source),
        told=_in_short(entry),
        seen_at=entry.seen_at,
        state=OUTCOME_TONES[entry.outcome],
        is_open=entry.resolved_at is None,
        may_be_assigned=can_be_assigned(entry),
        resolved_at=entry.resolved_at,
        resolved_by=str(entry.resolved_by or "Purser"),
        resolution=entry.resolution,
    )


def _in_short(entry: Quarantine) -> str:
    """Write the call that a row tells of: `gpt-5-mini, 1,020 in, 33 out`; a dash where it tells of none."""
    call = told(entry.row, external_id=entry.external_id)
    counted = (("in", call.tokens["input_tokens"]), ("out", call.tokens["output_tokens"]))
    parts = [redacted_text(call.model)] if call.model else []
    parts += [f"{count:,} {word}" for word, count in counted if count]
    return ", ".join(parts) or NOTHING


def _initial(entry: Quarantine, names: Iterable[str]) -> dict[str, object]:
    call = told(entry.row, external_id=entry.external_id)
    return {
        "external_id": call.external_id,
        "at": call.at.isoformat().replace("+00:00", "Z") if call.at else "",
        "key": call.key,
        "model": call.model if call.model in set(names) else "",
        "finish": call.finish or "stop",
        **call.tokens,
    }


def _call(form: AssignForm) -> AssignedCall:
    entered = form.cleaned_data
    return AssignedCall(
        external_id=entered["external_id"],
        at=entered["at"],
        key=entered["key"],
        model=entered["model"],
        tokens=form.tokens(),
        finish=entered["finish"],
    )
