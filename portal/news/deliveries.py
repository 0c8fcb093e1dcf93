"""Deliveries: what was sent, what waits, what was given up, for administrators."""

from dataclasses import dataclass
from datetime import datetime

from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST, require_safe

from core import addresses, clock
from core.errors import NotFoundError
from core.models import DeliveryAttempt, Outbox, OutboxKind
from core.shapes import Tab, Tone
from core.sorting import Head, Table
from core.spreadsheets import Cell, csv_stream, in_batches, iso
from portal.context import require_admin_here
from portal.news.selectors import ALL, STATES, MessageState, state_of
from portal.services.deliveries import put_aside, send_again
from teams.types import PersonRequest

TONES = {
    MessageState.DELIVERED: "ok",
    MessageState.GIVEN_UP: "bad",
    MessageState.PUT_ASIDE: "",
    MessageState.NOT_WANTED: "",
    MessageState.IN_DIGEST: "ok",
    MessageState.RETRIED: "warn",
}
KEPT = ("state", "webhook", "sort")
PAGE_ROWS = 50
TABLE = Table(
    usual="-made",
    heads=(
        Head(label="Message"),
        Head(label="To"),
        Head(label="State"),
        Head(label="Attempts", numeric=True),
        Head(label="Made", sort="made", falls=True),
    ),
)
CSV_HEAD = (
    *("message", "message_id", "channel", "topic", "recipient", "state", "attempts", "last_error", "made_at"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One message, without its text."""

    public_id: str
    channel: str
    topic: str
    subject: str
    recipient: str
    state: Tone
    attempts: int
    last_error: str
    created_at: datetime
    is_given_up: bool
    is_put_aside: bool


@require_safe
def list_deliveries(request: PersonRequest) -> HttpResponseBase:
    """List messages, the newest first or by `?sort=`, in a state, of one `?webhook=`; as CSV with
    `?format=csv`.
    """
    require_admin_here(request, "see deliveries")
    state, webhook = addresses.choice(request, "state", STATES, ALL), request.GET.get("webhook", "")
    order = TABLE.order(request)
    rows = Outbox.objects.filter(STATES[state][1]).order_by(*order.sql({"made": "pk"}))
    if webhook:
        rows = rows.filter(kind=OutboxKind.WEBHOOK, recipient=webhook.replace("\0", ""))
    if request.GET.get("format") == "csv":
        every = in_batches(rows, lambda found: map(_line, found))
        return csv_stream(request, f"deliveries-{clock.now():%Y-%m-%d}", CSV_HEAD, map(_cells, every))
    if before := request.GET.get("before", "").replace("\0", ""):
        further = "pk__lt" if order.falls else "pk__gt"
        rows = rows.filter(**{further: Outbox.objects.filter(public_id=before).values("pk")[:1]})
    found = list(rows[: PAGE_ROWS + 1])
    shown = found[:PAGE_ROWS]
    has_more = len(found) > PAGE_ROWS
    context = {
        "lines": [_line(message) for message in shown],
        "columns": TABLE.columns(request, KEPT),
        "tabs": [
            Tab(label=label, url=addresses.link(request, KEPT, state=value), current=value == state)
            for value, (label, _) in STATES.items()
        ],
        "state": state,
        "is_of_one": bool(webhook),
        "all_url": addresses.link(request, ("state", "sort")),
        "csv_url": addresses.link(request, KEPT, format="csv"),
        "next_url": addresses.link(request, KEPT, before=shown[-1].public_id) if has_more else "",
        "first_url": addresses.link(request, KEPT) if before else "",
    }
    return render(request, "portal/deliveries.html", context)


@require_safe
def show_delivery(request: PersonRequest, public_id: str) -> HttpResponse:
    """Show one message and every attempt to deliver it."""
    message = _find(request, public_id)
    attempts = [
        {"at": attempt.at, "channel": OutboxKind(attempt.channel).label, "ok": attempt.delivered,
         "detail": attempt.detail}
        for attempt in DeliveryAttempt.objects.filter(message=message)
    ]  # fmt: skip
    return render(request, "portal/delivery.html", {"line": _line(message), "attempts": attempts})


@require_POST
def deliver_again(request: PersonRequest, public_id: str) -> HttpResponse:
    """Try a message again that was given up."""
    message = _find(request, public_id)
    send_again(actor=request.user, message=message)
    messages.success(request, "The message is on its way again.")
    return redirect("deliveries:detail", public_id)


@require_POST
def lay_aside(request: PersonRequest, public_id: str) -> HttpResponse:
    """Put a message aside that was given up."""
    message = _find(request, public_id)
    put_aside(actor=request.user, message=message)
    messages.success(request, "The message is put aside.")
    return redirect("deliveries:detail", public_id)


def routes() -> tuple[list[URLPattern], str]:
    """Return the pages of deliveries with their name space."""
    patterns = [
        path("", list_deliveries, name="list"),
        path("<str:public_id>/", show_delivery, name="detail"),
        path("<str:public_id>/again/", deliver_again, name="again"),
        path("<str:public_id>/aside/", lay_aside, name="aside"),
    ]
    return patterns, "deliveries"


def _find(request: PersonRequest, public_id: str) -> Outbox:
    require_admin_here(request, "see deliveries")
    message = Outbox.objects.filter(public_id=public_id).first()
    if message is None:
        raise NotFoundError("There is no such message.")
    return message


def _line(message: Outbox) -> Line:
    state = state_of(message)
    return Line(
        public_id=message.public_id,
        channel=OutboxKind(message.kind).label,
        topic=message.topic,
        subject=message.payload.get("subject") or message.topic,
        recipient=message.recipient,
        state=Tone(tone=TONES.get(state, "info"), text=str(state.label)),
        attempts=message.attempts,
        last_error=message.last_error,
        created_at=message.created_at,
        is_given_up=message.dead_at is not None,
        is_put_aside=message.put_aside_at is not None,
    )


def _cells(line: Line) -> tuple[Cell, ...]:
    return (
        line.subject,
        line.public_id,
        line.channel,
        line.topic,
        line.recipient,
        line.state.text,
        line.attempts,
        line.last_error,
        iso(line.created_at),
    )
