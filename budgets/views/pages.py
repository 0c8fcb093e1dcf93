"""Budgets: what may be spent, what is spent and held, what happens at the limit, and changing it."""

from collections.abc import Iterable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from budgets import selectors
from budgets.authority import Authority, Slot, authority, may_change, who_may_change
from budgets.errors import NeedsConfirmationError
from budgets.forms import ConfirmLimitForm, LimitForm
from budgets.models import Budget, ScopeKind
from budgets.services.limits import change_limit
from budgets.types import BudgetRow
from core.errors import InvalidInputError
from core.money import format_usd
from keys.models import ApiKey
from keys.selectors import key_labels
from portal.context import roles_here
from portal.home.budget_lines import (
    MODE_TEXTS,
    WINDOW_TEXTS,
    BudgetFacts,
    budget_groups,
    budget_line,
    notice,
    path_lines,
)
from teams.errors import RoleNeededError
from teams.types import PersonRequest
from usage.selectors import forecast_budgets
from usage.types import Forecast

# A service names its arguments as the business does; the form has one field for two of them.
FIELDS = {"amount_usd": "limit_usd", "reason": "reason"}


@require_safe
def budget_list(request: PersonRequest) -> HttpResponse:
    """List the budgets of what the person may see, the widest scope first."""
    rows = selectors.list_budgets(request.user, key_ids=_visible_keys(request), roles=roles_here(request))
    names = key_labels([row.scope_id for row in rows if row.scope_kind is ScopeKind.KEY])
    groups = budget_groups(rows, names=names, forecasts=forecast_budgets(rows))
    return render(request, "budgets/list.html", {"groups": groups})


@require_safe
def budget_detail(request: PersonRequest, public_id: str) -> HttpResponse:
    """Show one budget: its window, every limit so far, and what else binds the same calls."""
    row = _find(request, public_id)
    forecast = forecast_budgets([row]).get(row.id)
    context = {"budget": budget_line(row, _names(row), forecast), "facts": _facts(request, row, forecast)}
    return render(request, "budgets/detail.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def budget_change(request: PersonRequest, public_id: str) -> HttpResponse:
    """Change a limit; below what is spent and held only after a page that names the consequences."""
    row = _find(request, public_id)
    allowed = _authority(request, row)
    form = LimitForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        answer = _apply(request, row, form)
        if answer is not None:
            return answer
    return render(
        request,
        "budgets/change.html",
        {"budget": budget_line(row, _names(row)), "highest_text": _highest_text(allowed), "form": form},
        status=422 if form.errors else 200,
    )


def _apply(request: PersonRequest, row: BudgetRow, form: LimitForm) -> HttpResponse | None:
    """Change the limit and go to the budget, or ask to confirm, or return None with the reason in the form."""
    entered = form.cleaned_data
    try:
        change_limit(
            actor=request.user,
            budget=Budget.objects.get(pk=row.id),
            amount_usd=entered["limit_usd"],
            reason=entered["reason"],
            confirm="confirm" in request.POST,
        )
    except NeedsConfirmationError as error:
        return _confirmation(request, row, error)
    except InvalidInputError as error:
        form.add_error(FIELDS.get(error.field or ""), error.detail)
        return None
    limit = "no limit" if entered["limit_usd"] is None else format_usd(entered["limit_usd"])
    name = budget_line(row, _names(row)).name
    messages.success(
        request, f"{name} has {limit} {WINDOW_TEXTS[row.window]} now, in force on the next call."
    )
    return redirect("budgets:detail", row.public_id)


def _confirmation(request: HttpRequest, row: BudgetRow, error: NeedsConfirmationError) -> HttpResponse:
    line = budget_line(row, _names(row))
    keys = sorted(key_labels(error.key_ids).values())
    confirm = {
        "title": f"Lower the limit of {line.name} below what is spent?",
        "text": error.detail,
        "consequences": [f"Calls with {key} are refused with 429." for key in keys],
        "url": line.change_url,
        "submit_text": "Lower the limit",
        "cancel_url": line.url,
    }
    form = ConfirmLimitForm(initial={**request.POST.dict(), "confirm": "yes"})
    return render(request, "confirm.html", {"confirm": confirm, "form": form}, status=error.status)


def _find(request: PersonRequest, public_id: str) -> BudgetRow:
    return selectors.find_budget(
        request.user, public_id, key_ids=_visible_keys(request), roles=roles_here(request)
    )


def _visible_keys(request: PersonRequest) -> Iterable[int]:
    return ApiKey.objects.visible_to(request.user).values_list("pk", flat=True)


def _authority(request: PersonRequest, row: BudgetRow) -> Authority:
    """Return what the person may enter. Raises RoleNeededError when that is nothing."""
    slot = Slot(
        place=selectors.scope_place(row.scope_kind, row.scope_id),
        window=row.window,
        only_tier=row.only_tier,
        only_model_id=row.only_model_id,
    )
    allowed = authority(request.user, slot, current=row)
    if not allowed.may_change:
        raise RoleNeededError(f"You may not set this limit. Ask {allowed.who_may}.")
    return allowed


def _highest_text(allowed: Authority) -> str:
    if allowed.highest is None:
        return ""
    return f"{format_usd(allowed.highest.usd)}: {allowed.highest.why}. For more ask {allowed.who_may}."


def _names(row: BudgetRow) -> dict[int, str]:
    return key_labels([row.scope_id]) if row.scope_kind is ScopeKind.KEY else {}


def _facts(request: PersonRequest, row: BudgetRow, forecast: Forecast | None) -> BudgetFacts:
    place = selectors.scope_place(row.scope_kind, row.scope_id)
    others = selectors.binding_with(row, place)
    return BudgetFacts(
        may_change=may_change(roles_here(request), place),
        notice=notice(row, forecast),
        in_force_since=row.in_force_since,
        forecast_usd=forecast.end_usd if forecast else None,
        mode_text=MODE_TEXTS[row.mode],
        window_starts_at=row.window_starts_at,
        who_may_change=who_may_change(place),
        tightest=selectors.tightest([row, *others]) == row,
        history=selectors.limit_history(row.id),
        path=path_lines(row, others, visible=_visible_among(request, others)),
    )


def _visible_among(request: PersonRequest, rows: Iterable[BudgetRow]) -> frozenset[int]:
    visible = selectors.visible_budgets(
        request.user, key_ids=_visible_keys(request), roles=roles_here(request)
    )
    return frozenset(visible.filter(pk__in=[row.id for row in rows]).values_list("pk", flat=True))
