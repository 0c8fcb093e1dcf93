"""Period close: how far each month is closed, what stands in the way, and closing or reopening it."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from core.errors import InvalidInputError
from core.spreadsheets import csv_response
from teams.types import PersonRequest
from usage import services
from usage.forms.reconciliation import ReopenForm
from usage.models import PeriodClose, PeriodState
from usage.selectors.closing import Month, adjustments, checklist, find_month, months
from usage.services.reconciliation.resolving import KEEPERS, require_keeper
from usage.views.access import require_books
from usage.views.lines import period_tone

NEWEST_SHOWN = 2  # also where nothing was used
CSV_HEAD = ("month", "state", "cost_usd", "soft_closed_at", "closed_at", "reopened_at", "reason")


@require_safe
def list_periods(request: PersonRequest) -> HttpResponse:
    """List the last 13 months, from the first that was used, with their state; as CSV with `?format=csv`."""
    require_books(request)
    found = months()
    used = [number for number, month in enumerate(found) if month.cost_usd or month.period]
    found = found[: max([*used, NEWEST_SHOWN - 1]) + 1]
    if request.GET.get("format") == "csv":
        return csv_response("periods", CSV_HEAD, map(_cells, found))
    lines = [
        {
            "month": month,
            "period": month.period or PeriodClose(month=month.first_day),
            "status": period_tone(month.state),
            "url": reverse("reconciliation:period", args=[month.name]),
        }
        for month in found
    ]
    return render(request, "usage/periods.html", {"periods": lines})


@require_safe
def show_period(request: PersonRequest, month: str) -> HttpResponse:
    """Show one month: its checks, who closed it, and what came after."""
    require_books(request)
    found = find_month(month)
    return render(request, "usage/period.html", _context(request, found))


@require_POST
def close_softly(request: PersonRequest, month: str) -> HttpResponse:
    """Close a month softly."""
    return _act(
        request, month, services.soft_close_period, "{} is softly closed: statements are provisional."
    )


@require_POST
def close_for_good(request: PersonRequest, month: str) -> HttpResponse:
    """Close a month for good."""
    return _act(
        request, month, services.close_period, "{} is closed. What comes later is booked in the open month."
    )


@require_http_methods(["GET", "HEAD", "POST"])
def reopen(request: PersonRequest, month: str) -> HttpResponse:
    """Ask why a closed month is opened again, then open it."""
    require_books(request)
    found = find_month(month)
    require_keeper(request.user, "reopen months")
    form = ReopenForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            services.reopen_period(
                actor=request.user, month=found.first_day, reason=form.cleaned_data["reason"]
            )
        except InvalidInputError as error:
            form.add_error(error.field if error.field in form.fields else None, error.detail)
        else:
            messages.success(request, f"{found.first_day:%B %Y} is open again.")
            return redirect("reconciliation:period", month)
    confirm = {
        "title": f"Reopen {found.first_day:%B %Y}",
        "text": "Its figures may change again until it is closed anew.",
        "consequences": [
            "Corrections and late calls of the month are booked in the month itself.",
            "What was written down at its close stays, and shows what has changed.",
        ],
        "url": reverse("reconciliation:reopen", args=[month]),
        "submit_text": "Reopen the month",
        "cancel_url": reverse("reconciliation:period", args=[month]),
    }
    status = 422 if form.errors else 200
    return render(request, "confirm.html", {"confirm": confirm, "form": form}, status=status)


def _act(request: PersonRequest, month: str, service: Callable[..., Any], done: str) -> HttpResponse:
    require_books(request)
    found = find_month(month)
    try:
        service(actor=request.user, month=found.first_day)
    except InvalidInputError as error:
        context = {**_context(request, found), "problem": error.detail}
        return render(request, "usage/period.html", context, status=422)
    messages.success(request, done.format(f"{found.first_day:%B %Y}"))
    return redirect("reconciliation:period", month)


def _context(request: PersonRequest, month: Month) -> dict[str, Any]:
    checks = checklist(month.first_day)
    is_closed = month.state is PeriodState.CLOSED
    return {
        "month": month,
        "status": period_tone(month.state),
        "checks": checks,
        "adjustments": adjustments(month.period) if month.period and month.period.closed_at else None,
        "may_act": bool(set(KEEPERS) & request.roles_held.organisation_wide),
        "may_soft_close": not is_closed and month.state is not PeriodState.SOFT and checks[0].holds,
        "may_close": month.state is PeriodState.SOFT and all(check.holds for check in checks),
        "may_reopen": is_closed and month.period is not None and month.period.closed_by_id != request.user.pk,
    }


def _cells(month: Month) -> tuple[Any, ...]:
    period = month.period
    moments = (period.soft_closed_at, period.closed_at, period.reopened_at) if period else (None,) * 3
    return (
        month.name,
        month.state.label,
        month.cost_usd,
        *(moment.isoformat() if moment else "" for moment in moments),
        period.reason if period else "",
    )
