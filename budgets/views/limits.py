"""Changing a limit: now, from a later day on, for a while; and taking a plan back."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.http import HttpResponse
from django.views.decorators.http import require_http_methods

from budgets import selectors
from budgets.authority import Powers, room
from budgets.forms import LimitForm, PlanForm, TopUpForm
from budgets.models import Budget, Window
from budgets.ports import Neighbours
from budgets.services import limits
from budgets.types import BudgetRow
from budgets.views.common import ConfirmText, FormPage, confirm_page, find, form_page, line_of, powers_here
from budgets.windows import midnight
from core import clock
from core.errors import NotFoundError
from core.money import ZERO, format_usd
from teams.types import PersonRequest

MAY_NOT = "You may not set this limit."
FORM_METHODS = ["GET", "HEAD", "POST"]


@require_http_methods(FORM_METHODS)
def change_budget(request: PersonRequest, public_id: str, *, neighbours: Neighbours) -> HttpResponse:
    """Change a limit; below what is spent and held only after a page that names the consequences."""
    row = find(request, neighbours, public_id)
    may = powers_here(request, row, MAY_NOT)
    line = line_of(request, neighbours, row)

    def act(entered: dict[str, Any]) -> str:
        limit_usd = entered["limit_usd"]
        limits.change_limit(
            actor=request.user,
            budget=Budget.objects.get(pk=row.id),
            amount_usd=limit_usd,
            reason=entered["reason"],
            confirm="confirm" in request.POST,
        )
        limit = "no limit" if limit_usd is None else f"a limit of {format_usd(limit_usd)}"
        return f"{line.name} now has {limit} {line.window}, in force on the next call."

    page = FormPage(
        title=f"Change the limit of {line.name}, {line.window}",
        text="A change is in force on the next call. The old limit stays in the history.",
        url=line.change_url,
        submit_text="Change the limit",
        cancel_url=line.url,
        room_text=_room_text(row, may),
        ask_url=_ask_url(neighbours, row),
    )
    confirm = ConfirmText(
        title=f"Lower the limit of {line.name} below what is spent?", submit_text="Lower the limit"
    )
    form = LimitForm(request.POST or None)
    return form_page(request, neighbours, page=page, form=form, act=act, line=line, confirm=confirm)


@require_http_methods(FORM_METHODS)
def plan_limit(request: PersonRequest, public_id: str, *, neighbours: Neighbours) -> HttpResponse:
    """Enter a limit ahead: it comes into force at the start of a day, in the budget's zone."""
    row = find(request, neighbours, public_id)
    powers_here(request, row, MAY_NOT)
    line = line_of(request, neighbours, row)

    def act(entered: dict[str, Any]) -> str:
        limits.change_limit(
            actor=request.user,
            budget=Budget.objects.get(pk=row.id),
            amount_usd=entered["limit_usd"],
            reason=entered["reason"],
            valid_from=midnight(entered["starts_on"], row.time_zone),
            confirm="confirm" in request.POST,
        )
        limit = (
            "no limit" if entered["limit_usd"] is None else f"a limit of {format_usd(entered['limit_usd'])}"
        )
        return f"{line.name} is going to have {limit} {line.window} from {entered['starts_on']:%-d %B %Y} on."

    page = FormPage(
        title=f"Plan a limit of {line.name}, {line.window}",
        text=f"The limit of now stays until that day begins in {row.time_zone}. A plan can be withdrawn"
        " before it.",
        url=line.plan_url,
        submit_text="Plan the limit",
        cancel_url=line.url,
        ask_url=_ask_url(neighbours, row),
    )
    confirm = ConfirmText(
        title=f"Plan a limit of {line.name} below what is spent?", submit_text="Plan the limit"
    )
    form = PlanForm(request.POST or None)
    return form_page(request, neighbours, page=page, form=form, act=act, line=line, confirm=confirm)


@require_http_methods(FORM_METHODS)
def top_up_budget(request: PersonRequest, public_id: str, *, neighbours: Neighbours) -> HttpResponse:
    """Add to a limit until the end of a day, in the budget's zone."""
    row = find(request, neighbours, public_id)
    may = powers_here(request, row, MAY_NOT)
    line = line_of(request, neighbours, row)

    def act(entered: dict[str, Any]) -> str:
        limits.top_up(
            actor=request.user,
            budget=Budget.objects.get(pk=row.id),
            amount_usd=entered["amount_usd"],
            valid_until=midnight(entered["ends_on"] + timedelta(days=1), row.time_zone),
            reason=entered["reason"],
        )
        return (
            f"{line.name} has {format_usd(entered['amount_usd'])} more until the end of"
            f" {entered['ends_on']:%-d %B %Y}, in force on the next call."
        )

    page = FormPage(
        title=f"Top up {line.name}, {line.window}",
        text="A top-up is in force on the next call and ends by itself. In a window that starts again before"
        " its end it counts once more.",
        url=line.top_up_url,
        submit_text="Top up",
        cancel_url=line.url,
        room_label="You may add up to",
        room_text=_room_text(row, may, on_top=True),
        ask_url=_ask_url(neighbours, row),
    )
    form = TopUpForm(request.POST or None, initial=_last_day(row))
    return form_page(request, neighbours, page=page, form=form, act=act, line=line)


@require_http_methods(FORM_METHODS)
def withdraw_plan(request: PersonRequest, public_id: str, *, neighbours: Neighbours) -> HttpResponse:
    """Take back what is planned for the moment `?valid_from=`, after a page that asks why."""
    row = find(request, neighbours, public_id)
    powers_here(request, row, MAY_NOT)
    line = line_of(request, neighbours, row)
    valid_from = _moment(request.GET.get("valid_from", ""))

    def act(reason: str) -> str:
        budget = Budget.objects.get(pk=row.id)
        limits.withdraw_plan(actor=request.user, budget=budget, valid_from=valid_from, reason=reason)
        return f"The plan of {line.name} is withdrawn."

    confirm = {
        "title": f"Withdraw the plan of {line.name}?",
        "text": f"What is planned for {valid_from:%-d %B %Y, %H:%M} UTC does not come into force.",
        "consequences": ["The limit from before goes on. The plan stays in the history as replaced."],
        "url": request.get_full_path(),
        "submit_text": "Withdraw the plan",
        "cancel_url": line.url,
    }
    return confirm_page(request, neighbours, confirm=confirm, act=act, done_url=line.url)


def _room_text(row: BudgetRow, may: Powers, *, on_top: bool = False) -> str:
    """Say how high the limit may be set now, or how much may come on top, why, and who may more.

    Three queries.
    """
    now = clock.now()
    around = selectors.neighbourhood(row.place, row.window)
    node = next(each for each in around if each.id == row.id)
    highest = room(node, around, as_lead=may.as_lead, now=now).highest
    base = node.schedule.base_at(now)
    if highest is None:
        return ""
    base_usd = base.amount_usd if base is not None and base.amount_usd is not None else ZERO
    usd = max(highest.usd - base_usd, ZERO) if on_top else highest.usd
    beside = " beside the top-ups in force" if node.schedule.top_ups_at(now) else ""
    return f"{format_usd(usd)}{beside}: {highest.why}. For more ask {may.who_may}."


def _ask_url(neighbours: Neighbours, row: BudgetRow) -> str:
    return neighbours.ask_for_more(row.public_id) if neighbours.ask_for_more else ""


def _last_day(row: BudgetRow) -> dict[str, Any]:
    """Suggest the end of the window, unless it has none."""
    if row.window is Window.LIFETIME:
        return {}
    last = row.window_ends_at - timedelta(microseconds=1)
    return {"ends_on": last.astimezone(ZoneInfo(row.time_zone)).date()}


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min  # noqa: DTZ901  it is refused below
    if moment.tzinfo is None:
        raise NotFoundError("No limit is planned for this moment.")
    return moment.astimezone(UTC)
